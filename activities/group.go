package activities

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"slices"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// A group is what the rows say of one group of a secured round.
type group struct {
	blobs    Blobs
	rounds   Rounds
	ref      contract.StageRef
	manifest round.Manifest
	form     payload.Form
	alive    func() // shows that the work goes on
	sec      *secagg.Group
}

// loadGroup reads what was signed.
func loadGroup(ctx context.Context, blobs Blobs, rounds Rounds, ref contract.StageRef) (*group, error) {
	g := &group{blobs: blobs, rounds: rounds, ref: ref, alive: func() {}}
	manifest, plan, err := loadManifest(ctx, blobs, rounds, ref)
	if err != nil {
		return nil, err
	}
	if g.form, err = payload.For(manifest, plan, ref.Region); err != nil {
		return nil, permanent(contract.BadPlan, err)
	}
	g.manifest = manifest
	return g, nil
}

// loadManifest reads what the round was begun with.
func loadManifest(ctx context.Context, blobs Blobs, rounds Rounds, ref contract.StageRef) (manifest round.Manifest, plan artifact.Digest, err error) {
	begun, _, ok, err := rounds.Begun(ctx, ref.Tenant, ref.Run, ref.Number)
	if err == nil && !ok {
		err = settled(fmt.Errorf("its row: %w", ErrNotFound))
	}
	if err == nil {
		err = decode(ctx, blobs, begun.Digest, contract.BadPackage, &manifest)
	}
	return manifest, begun.Digest, err
}

func (g *group) at(stage round.Stage) contract.StageRef {
	ref := g.ref
	ref.Stage = stage
	return ref
}

// sites is how many were asked at first.
func (g *group) sites() int { return selected(g.manifest, g.ref.Region) }

// selected is how many sites a group has.
func selected(m round.Manifest, group string) int {
	for _, c := range m.Cohort {
		if c.Name() == group {
			return c.Sites
		}
	}
	return 0
}

// directory knows the keys that the sites enrolled with. A site that was
// revoked meanwhile is not known.
func (g *group) directory(ctx context.Context, ads []secagg.Advertisement) (secagg.Directory, error) {
	var tenants []string
	for _, ad := range ads {
		tenants = append(tenants, ad.Header.Tenant)
	}
	slices.Sort(tenants)
	sites, err := g.rounds.ActiveSites(ctx, slices.Compact(tenants))
	if err != nil {
		return nil, err
	}
	keys := make(map[string]*ecdsa.PublicKey, len(sites))
	for _, s := range sites {
		// What is no key was enrolled by nobody: the site stays unknown.
		if key, err := artifact.ParsePublicKey([]byte(s.PublicKey)); err == nil {
			keys[s.Tenant+"/"+s.ID] = key
		}
	}
	return func(tenant, site string) (*ecdsa.PublicKey, bool) {
		key, ok := keys[tenant+"/"+site]
		return key, ok
	}, nil
}

// open returns the group of the roster that was handed out.
func (g *group) open(ctx context.Context) (*secagg.Group, error) {
	if g.sec != nil {
		return g.sec, nil
	}
	members, err := g.members(ctx, round.StageShare)
	if err != nil {
		return nil, err
	}
	var roster secagg.Roster
	if err := decode(ctx, g.blobs, members[0].Inbox.Digest, contract.BadPlan, &roster); err != nil {
		return nil, err
	}
	if g.sec, err = secagg.OpenGroup(g.form.Spec, roster); err != nil {
		return nil, permanent(contract.BadPlan, err)
	}
	return g.sec, nil
}

// graph returns the graph of the group when the named stage is open.
func (g *group) graph(ctx context.Context, members []Member, stage round.Stage) (secagg.Graph, error) {
	if stage == round.StageShare { // the roster's
		graph, err := g.form.Spec.GraphFor(len(members))
		if err != nil {
			return graph, permanent(contract.BadPlan, err)
		}
		return graph, nil
	}
	sec, err := g.open(ctx)
	if err != nil {
		return secagg.Graph{}, err
	}
	return sec.Graph(), nil
}

// members returns who is asked in a stage that must be open.
func (g *group) members(ctx context.Context, stage round.Stage) ([]Member, error) {
	members, err := g.rounds.Members(ctx, g.at(stage))
	if err != nil {
		return nil, settled(err)
	}
	if len(members) == 0 {
		return nil, permanent(contract.BadPlan, fmt.Errorf("%w: %s", ErrNotOpened, stage))
	}
	return members, nil
}

// participants returns who shared keys: those that stage mask was opened for.
func (g *group) participants(ctx context.Context, sec *secagg.Group) ([]int, error) {
	members, err := g.members(ctx, round.StageMask)
	if err != nil {
		return nil, err
	}
	list := make([]int, len(members))
	for i, m := range members {
		list[i] = sec.Index(m.Tenant, m.Site)
	}
	slices.Sort(list)
	return list, nil
}

// survivors returns the set that was written.
func (g *group) survivors(ctx context.Context) (set secagg.SurvivorSet, written artifact.Descriptor, err error) {
	written, ok, err := g.rounds.Survivors(ctx, g.ref)
	switch {
	case err != nil:
		return set, written, settled(err)
	case !ok:
		return set, written, permanent(contract.BadPlan, fmt.Errorf("%w: no survivors are written", ErrNotOpened))
	}
	return set, written, decode(ctx, g.blobs, written.Digest, contract.BadPlan, &set)
}

// named returns the members with these indices, all with one inbox.
func (g *group) named(ctx context.Context, indices []int, inbox artifact.Descriptor) ([]Member, error) {
	sec, err := g.open(ctx)
	if err != nil {
		return nil, err
	}
	members := make([]Member, len(indices))
	for i, index := range indices {
		m := sec.Member(index)
		members[i] = Member{m.Tenant, m.Site, inbox}
	}
	return members, nil
}

// Why a message is not taken.
var (
	ErrMessageGone = errors.New("its message is not there")
	ErrMessage     = errors.New("its message cannot be read")
	ErrImpostor    = errors.New("its message names another sender")
)

// arrived is what a closed stage holds.
type arrived struct {
	stage   round.Stage
	answers int
	refused refusals
	updates map[string]artifact.Descriptor // masked vectors by "tenant/site"
}

// stopped says why the group ends here.
func (in arrived) stopped(asked int, err error) opening {
	return opening{refused: in.refused, cause: fmt.Sprintf("stage %s: %d of %d sites answered, %d were refused: %v",
		in.stage, in.answers, asked, in.refused.count, err)}
}

// collect closes a stage and reads its messages, by ascending tenant and site.
// The sender is who submitted it, whatever the message says: most carry no
// signature of their own.
func collect[M any](ctx context.Context, g *group, stage round.Stage, header func(*M) secagg.Header) ([]M, arrived, error) {
	in := arrived{stage: stage, updates: map[string]artifact.Descriptor{}}
	// If we crash after this line, the stage is found closed, with the same
	// submissions in it.
	submissions, err := g.rounds.CloseStage(ctx, g.at(stage))
	if err != nil {
		return nil, in, settled(err)
	}
	in.answers = len(submissions)
	var messages []M
	for _, s := range submissions {
		g.alive()
		message, reason, err := message[M](ctx, g.blobs, s)
		if err != nil {
			return nil, in, err
		}
		if h := header(&message); reason == nil && (h.Tenant != s.Tenant || h.Site != s.Site) {
			reason = ErrImpostor
		}
		if reason != nil {
			in.refused.add(s.Tenant, s.Site, reason.Error())
			continue
		}
		in.updates[s.Tenant+"/"+s.Site] = s.Update
		messages = append(messages, message)
	}
	return messages, in, nil
}

// message reads one message, or says why it does not count.
func message[M any](ctx context.Context, blobs Blobs, s Submission) (m M, reason, err error) {
	if s.Reason != "" {
		return m, errors.New(s.Reason), nil
	}
	if s.Message.Digest == "" {
		return m, ErrMessageGone, nil
	}
	text, err := read(ctx, blobs, s.Message.Digest)
	switch {
	case errors.Is(err, ErrNotFound):
		return m, ErrMessageGone, nil
	case errors.Is(err, ErrTooLong):
		return m, ErrMessage, nil
	case err != nil:
		return m, nil, err
	}
	if err := artifact.DecodeStrict(text, &m); err != nil {
		return m, fmt.Errorf("%w: %w", ErrMessage, err), nil
	}
	return m, nil, nil
}

// refusals counts who was refused and names the first of them.
type refusals struct {
	count int
	names []string
}

func (r *refusals) add(tenant, site, reason string) {
	r.count++
	if len(r.names) < maxDropped {
		r.names = append(r.names, tenant+"/"+site+": "+reason)
	}
}

// take adds what the protocol refused.
func (r *refusals) take(dropped []*secagg.SiteError) {
	for _, e := range dropped {
		r.add(e.Tenant, e.Site, e.Err.Error())
	}
}
