package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// Why a secured group cannot go on.
var (
	ErrNotOpened = errors.New("the stage before it was never opened")
	ErrNoSuch    = errors.New("no such step in a secured round")
)

// A Secure leads a group through the stages of secure aggregation.
//
// What a stage hands to sites is made of rows that no longer change, because
// the stage before is closed, and what was handed out first is what counts. So
// a second run, or two at once, tell no site two things.
type Secure struct {
	Blobs    Blobs
	Rounds   Rounds
	Verifier Verifier
	Now      func() time.Time
}

// AdvanceStage closes a stage, opens the one after it for those who may take
// part, and waits for them. Idempotent: see [Secure]. Sites whose messages are
// refused are named, and a group that cannot go on is a result with a cause;
// nobody is asked anything then.
// Final: [contract.BadPlan] when the rows do not lead here, [contract.BadPackage]
// for a survivor set that is not signed.
func (s *Secure) AdvanceStage(ctx context.Context, in contract.AdvanceInput) (contract.Advanced, error) {
	out := contract.Advanced{StageRef: in.StageRef}
	var ok bool
	if out.Stage, ok = in.Stage.Following(); !ok {
		return out, permanent(contract.BadPlan, about(in.Run, in.Number, fmt.Errorf("%w: after %s", ErrNoSuch, in.Stage.Or())))
	}
	state := resumed(ctx)
	g, err := loadGroup(ctx, s.Blobs, s.Rounds, in.StageRef)
	if err != nil {
		return out, about(in.Run, in.Number, err)
	}
	g.alive = func() { activity.RecordHeartbeat(ctx, state) }
	next, err := s.form(ctx, g, in)
	if err != nil {
		return out, about(in.Run, in.Number, err)
	}
	out.Refused, out.Dropped = next.refused.count, next.refused.names
	members, err := s.Rounds.Members(ctx, out.StageRef)
	if err != nil {
		return out, about(in.Run, in.Number, settled(err))
	}
	if len(members) == 0 {
		if out.Cause = next.cause; out.Cause != "" {
			return out, nil
		}
		// If we crash after this line, the stage is found open, with these members.
		if err := s.Rounds.OpenNext(ctx, out.StageRef, next.members, s.Now().Add(time.Duration(in.Seconds)*time.Second)); err != nil {
			return out, about(in.Run, in.Number, settled(err))
		}
		if members, err = s.Rounds.Members(ctx, out.StageRef); err != nil {
			return out, about(in.Run, in.Number, settled(err))
		}
	}
	out.Sites = len(members)
	graph, err := g.graph(ctx, members, out.Stage)
	if err != nil {
		return out, about(in.Run, in.Number, err)
	}
	var enough int
	out.Need, enough = floors(graph, out.Stage, out.Sites)
	if state.Deadline.IsZero() {
		state.Deadline = s.Now().Add(time.Duration(in.Seconds) * time.Second)
	}
	w := waiter{rounds: s.Rounds, now: s.Now, ref: out.StageRef, enough: enough}
	if out.Counts, err = w.wait(ctx, &state); err != nil {
		return out, about(in.Run, in.Number, err)
	}
	return out, nil
}

// floors returns below how many answers a stage leads nowhere, and after how
// many nobody else is waited for (0: after all).
//
// Who is late to share or mask is lost to the sum, and who is late to check
// may be one of the quorum. To unmask, a threshold of answers is enough where
// everybody holds a share of everybody; one more is waited for, so that a
// single lie can be told from the truth.
func floors(g secagg.Graph, stage round.Stage, sites int) (need, enough int) {
	switch stage {
	case round.StageCheck:
		return g.Quorum, 0
	case round.StageUnmask:
		if g.Degree < g.Sites-1 {
			return g.Threshold, 0
		}
		return g.Threshold, min(sites, g.Threshold+1)
	}
	return max(secagg.MinSites, g.Quorum, g.Threshold), 0
}

// An opening is what opens a stage, or why nothing does.
type opening struct {
	members []Member
	refused refusals
	cause   string
}

// form works out what the stage after in.Stage begins with. It closes in.Stage.
func (s *Secure) form(ctx context.Context, g *group, in contract.AdvanceInput) (opening, error) {
	switch in.Stage {
	case round.StageAdvertise:
		return s.formRoster(ctx, g)
	case round.StageShare:
		return s.formInboxes(ctx, g)
	case round.StageMask:
		return s.formCheck(ctx, g, in.Signature)
	}
	return s.formRequest(ctx, g)
}

// formRoster makes the roster of those who advertised with the key that they
// enrolled with.
func (s *Secure) formRoster(ctx context.Context, g *group) (opening, error) {
	ads, in, err := collect(ctx, g, round.StageAdvertise, func(m *secagg.Advertisement) secagg.Header { return m.Header })
	if err != nil {
		return opening{}, err
	}
	known, err := g.directory(ctx, ads)
	if err != nil {
		return opening{}, err
	}
	roster, dropped, err := secagg.FormRoster(g.form.Spec, ads, known)
	in.refused.take(dropped)
	if err != nil {
		return in.stopped(g.sites(), err), nil
	}
	inbox, err := keep(ctx, s.Blobs, artifact.MediaTypeSecagg, roster)
	if err != nil {
		return opening{}, err
	}
	o := opening{refused: in.refused}
	for _, m := range roster.Members {
		o.members = append(o.members, Member{m.Tenant, m.Site, inbox})
	}
	return o, nil
}

// formInboxes routes the shares: each participant gets the boxes for it.
func (s *Secure) formInboxes(ctx context.Context, g *group) (opening, error) {
	shares, in, err := collect(ctx, g, round.StageShare, func(m *secagg.Shares) secagg.Header { return m.Header })
	if err != nil {
		return opening{}, err
	}
	sec, err := g.open(ctx)
	if err != nil {
		return opening{}, err
	}
	routing, dropped, err := sec.FormShares(shares)
	if err != nil { // with too few there, nobody has enough holders: that is no fault of theirs
		dropped = slices.DeleteFunc(dropped, func(e *secagg.SiteError) bool { return errors.Is(e, secagg.ErrTooFew) })
	}
	in.refused.take(dropped)
	if err != nil {
		return in.stopped(sec.Graph().Sites, err), nil
	}
	o := opening{refused: in.refused}
	for _, index := range routing.Participants {
		g.alive()
		inbox, err := keep(ctx, s.Blobs, artifact.MediaTypeSecagg, routing.Inbox(index))
		if err != nil {
			return opening{}, err
		}
		m := sec.Member(index)
		o.members = append(o.members, Member{m.Tenant, m.Site, inbox})
	}
	return o, nil
}

// A signedSet is what opens stage check: the set that is written, and the
// bundle that says the control plane stands by it.
type signedSet struct {
	Set    secagg.SurvivorSet `json:"set"`
	Bundle string             `json:"bundle"`
}

// formCheck shows the survivors the set that was committed, signed.
func (s *Secure) formCheck(ctx context.Context, g *group, signature artifact.Descriptor) (opening, error) {
	set, committed, err := g.survivors(ctx)
	if err != nil {
		return opening{}, err
	}
	bundle, err := read(ctx, s.Blobs, signature.Digest)
	if err != nil {
		return opening{}, err
	}
	if _, err := s.Verifier.Verify(ctx, bundle, artifact.PredicateSurvivors, committed.Digest); err != nil {
		return opening{}, unverified(ctx, err)
	}
	if cause, err := g.withdrawn(ctx, set); err != nil || cause != "" {
		return opening{cause: cause}, err
	}
	inbox, err := keep(ctx, s.Blobs, artifact.MediaTypeSecagg, signedSet{Set: set, Bundle: string(bundle)})
	if err != nil {
		return opening{}, err
	}
	members, err := g.named(ctx, set.Survivors, inbox)
	return opening{members: members}, err
}

// formRequest asks the survivors for shares, with a quorum of their own
// signatures over the set that the request is for.
func (s *Secure) formRequest(ctx context.Context, g *group) (opening, error) {
	checks, in, err := collect(ctx, g, round.StageCheck, func(m *secagg.Check) secagg.Header { return m.Header })
	if err != nil {
		return opening{}, err
	}
	set, _, err := g.survivors(ctx)
	if err != nil {
		return opening{}, err
	}
	sec, err := g.open(ctx)
	if err != nil {
		return opening{}, err
	}
	if cause, err := g.withdrawn(ctx, set); err != nil || cause != "" {
		return opening{refused: in.refused, cause: cause}, err
	}
	request, dropped, err := sec.FormUnmask(set, checks)
	in.refused.take(dropped)
	if err != nil {
		return in.stopped(len(set.Survivors), err), nil
	}
	inbox, err := keep(ctx, s.Blobs, artifact.MediaTypeSecagg, request)
	if err != nil {
		return opening{}, err
	}
	members, err := g.named(ctx, set.Survivors, inbox)
	return opening{members: members, refused: in.refused}, err
}
