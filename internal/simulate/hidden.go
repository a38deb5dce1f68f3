package simulate

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// A hiding is a secure aggregation of one group, with both sides of it: what
// its sites do and what the coordinator does, in the order of the stages.
type hiding struct {
	s     *simulation
	o     order
	name  string // of the group
	form  payload.Form
	share share

	conducts map[int]conduct
	from     map[int]int              // round whose weights a site starts from
	tensors  map[int]artifact.Tensors // by place
	sites    map[int]*secagg.Site
	live     []int // who answered the last stage, ascending
	group    *secagg.Group
}

// hidden plays a group by the whole protocol. A group that cannot go on
// delivers nothing; only what no site or network can cause is an error.
func (s *simulation) hidden(ctx context.Context, o order, g group) (share, error) {
	form, err := payload.For(o.Manifest, o.digest, g.Name())
	if err != nil {
		return share{}, err
	}
	h := &hiding{
		s: s, o: o, name: g.Name(), form: form, live: g.members, conducts: map[int]conduct{}, from: map[int]int{}, tensors: map[int]artifact.Tensors{}, sites: map[int]*secagg.Site{},
		share: share{counts: round.Counts{Selected: len(g.members)}, down: o.bytes * int64(len(g.members))},
	}
	event, costs, err := form.Event()
	if err != nil {
		return share{}, err
	}
	if costs {
		h.share.event = &event // charged whatever becomes of the group
	}
	sum, err := h.play(ctx, s.seed("central "+g.Name(), o.Number, s.sites[g.members[0]]))
	if errors.Is(err, secagg.ErrTooFew) || errors.Is(err, secagg.ErrInfeasible) {
		return h.share, nil
	}
	if err != nil {
		return share{}, err
	}
	h.share.within = sum.Within
	h.share.partial = &aggregate.Partial{Region: g.Name(), Examples: sum.Weight / 1000, Sum: sum.Tensors}
	perUpdate(o, h.share.partial, h.share.counts.Accepted, 1)
	return h.share, nil
}

// play goes through the stages. Errors: [secagg.ErrTooFew] when too few are
// left; others are faults of the simulation.
func (h *hiding) play(ctx context.Context, central dp.Seed) (payload.Sum, error) {
	p := h.o.Params
	need := max(round.MinBucket, round.Need(p.Quorum, h.o.byGroup(), h.name))
	enough := p.Suffice(h.o.Kind, h.o.Cohort, h.name)
	if err := h.await(round.StageAdvertise, round.State{Need: min(need, len(h.live)), Extensions: p.Extensions}, enough); err != nil {
		return payload.Sum{}, err
	}
	ads, err := h.advertise(ctx)
	if err != nil {
		return payload.Sum{}, err
	}
	roster, _, err := secagg.FormRoster(h.form.Spec, ads, h.s.directory)
	if err != nil {
		return payload.Sum{}, err
	}
	if h.group, err = secagg.OpenGroup(h.form.Spec, roster); err != nil {
		return payload.Sum{}, err
	}
	routing, err := h.exchange(roster)
	if err != nil {
		return payload.Sum{}, err
	}
	sum, set, err := h.mask(routing)
	if err != nil {
		return payload.Sum{}, err
	}
	x, err := h.reveal(set)
	if err != nil {
		return payload.Sum{}, err
	}
	h.share.counts.Accepted = len(set.Survivors)
	for _, index := range set.Survivors {
		m := h.group.Member(index)
		at := h.s.known[m.Tenant+"/"+m.Site]
		if err := h.s.counted(h.o, h.s.sites[at], h.tensors[at]); err != nil {
			return payload.Sum{}, err
		}
		h.s.settled(h.o, h.s.sites[at], 0, h.from[at], true)
		if h.from[at] != h.o.Number {
			h.share.late++
		}
	}
	if err := sum.Mask(x, 0); err != nil {
		return payload.Sum{}, err
	}
	return h.form.Open(sum, len(set.Survivors), central)
}

// await waits for a stage. Below its need the group has ended.
func (h *hiding) await(stage round.Stage, state round.State, enough int) error {
	nth := slices.Index(stages(), stage)
	arrivals := make([]arrival, len(h.live))
	for i, at := range h.live {
		if nth == 0 {
			h.conducts[at] = h.s.conduct(h.o.Number, h.s.sites[at])
		}
		c := h.conducts[at]
		arrivals[i].site = at
		if nth > 0 {
			arrivals[i].at = c.replies[nth-1]
		} else {
			arrivals[i].at, h.from[at] = h.s.due(h.o, h.s.sites[at], c)
		}
		if c.gone(stage) {
			arrivals[i].at = never()
		}
		if nth == 0 || c.gone(stage) {
			h.s.settled(h.o, h.s.sites[at], arrivals[i].at, h.from[at], false)
		}
	}
	deadline := h.o.Params.DeadlineSeconds
	if nth > 0 {
		deadline = h.o.Params.Secure.StageSeconds
	}
	in, seconds, step := wait{state: state, deadline: float64(deadline), enough: enough}.until(arrivals)
	if nth == 0 {
		h.share.spare = spare(arrivals, len(in), enough)
	}
	h.live = in
	h.share.seconds += seconds
	if step != round.Proceed {
		return secagg.ErrTooFew
	}
	return nil
}

// later waits for a stage after the roster is there.
func (h *hiding) later(stage round.Stage, enough int) error {
	need := max(round.MinBucket, h.group.Graph().Quorum)
	if enough > 0 {
		enough = need
	}
	return h.await(stage, round.State{Need: need}, enough)
}

// advertise trains and makes the keys of those who answered in time.
func (h *hiding) advertise(ctx context.Context) ([]secagg.Advertisement, error) {
	var ads []secagg.Advertisement
	var live []int
	for _, at := range h.live {
		v := h.s.sites[at]
		tensors, err := h.s.work(ctx, h.o, v, h.from[at])
		if errors.Is(err, trainer.ErrDiverged) {
			continue
		}
		if err != nil {
			return nil, err
		}
		secret := h.s.seed("secagg", h.o.Number, v)
		site, err := secagg.NewSite(secagg.Config{
			Spec: h.form.Spec, Tenant: v.Tenant, Name: v.ID, Key: v.key, Secret: secret[:], Directory: h.s.directory,
		}, secagg.State{})
		if err != nil {
			return nil, err
		}
		ad, err := site.Advertise()
		if err != nil {
			return nil, err
		}
		h.sites[at], h.tensors[at] = site, tensors
		ads, live = append(ads, ad), append(live, at)
		if err := h.sent(ad); err != nil {
			return nil, err
		}
	}
	h.live = live
	return ads, nil
}

// encode makes the vector of a site. The noise is shared by as many as are in
// the roster, so it waits for that.
func (h *hiding) encode(at int) (payload.Vector, error) {
	v := h.s.sites[at]
	vector, _, err := h.form.Encode(payload.Input{
		Tensors: h.tensors[at], Within: v.within, Metrics: round.Metrics{Examples: int64(v.rows.Len())}, Staleness: h.o.Number - h.from[at], RosterSites: h.group.Graph().Sites,
		Rounding: h.s.seed("rounding", h.o.Number, v), Noise: h.s.seed("noise", h.o.Number, v),
	})
	return vector, err
}

// exchange hands the roster out and routes the shares.
func (h *hiding) exchange(roster secagg.Roster) (*secagg.Routing, error) {
	if err := h.received(roster, len(h.live)); err != nil {
		return nil, err
	}
	if err := h.later(round.StageShare, 0); err != nil {
		return nil, err
	}
	var messages []secagg.Shares
	for _, at := range h.live {
		m, err := h.sites[at].Share(roster)
		if err != nil {
			return nil, err
		}
		if err := h.sent(m); err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
	routing, _, err := h.group.FormShares(messages)
	return routing, err
}

// mask adds the masked vectors of those who send theirs in time.
func (h *hiding) mask(routing *secagg.Routing) (payload.Vector, secagg.SurvivorSet, error) {
	sum := h.form.NewSum()
	inboxes := map[int]secagg.ShareInbox{}
	for _, at := range h.live {
		v := h.s.sites[at]
		inboxes[at] = routing.Inbox(h.group.Index(v.Tenant, v.ID))
		if err := h.received(inboxes[at], 1); err != nil {
			return sum, secagg.SurvivorSet{}, err
		}
	}
	if err := h.later(round.StageMask, 0); err != nil {
		return sum, secagg.SurvivorSet{}, err
	}
	var messages []secagg.Masked
	for _, at := range h.live {
		x, err := h.sites[at].Mask(inboxes[at])
		if err != nil {
			return sum, secagg.SurvivorSet{}, err
		}
		vector, err := h.encode(at)
		if err != nil {
			return sum, secagg.SurvivorSet{}, err
		}
		if err := vector.Mask(x, 0); err != nil {
			return sum, secagg.SurvivorSet{}, err
		}
		wire := vector.Bytes()
		m, err := h.sites[at].Masked(artifact.DigestOf(wire), int64(len(wire)))
		if err != nil {
			return sum, secagg.SurvivorSet{}, err
		}
		if err := h.sent(m); err != nil {
			return sum, secagg.SurvivorSet{}, err
		}
		h.share.up += int64(len(wire))
		if err := sum.AddAt(0, wire); err != nil {
			return sum, secagg.SurvivorSet{}, err
		}
		messages = append(messages, m)
	}
	set, _, err := h.group.FormSurvivors(routing.Participants, messages)
	return sum, set, err
}

// reveal has the survivors checked and gets the masks of the sum.
func (h *hiding) reveal(set secagg.SurvivorSet) (*secagg.Expander, error) {
	if err := h.received(set, len(h.live)); err != nil {
		return nil, err
	}
	if err := h.later(round.StageCheck, 0); err != nil {
		return nil, err
	}
	var checks []secagg.Check
	for _, at := range h.live {
		m, err := h.sites[at].Check(set)
		if err != nil {
			return nil, err
		}
		if err := h.sent(m); err != nil {
			return nil, err
		}
		checks = append(checks, m)
	}
	request, _, err := h.group.FormUnmask(set, checks)
	if err != nil {
		return nil, err
	}
	if err := h.received(request, len(h.live)); err != nil {
		return nil, err
	}
	if err := h.later(round.StageUnmask, 1); err != nil {
		return nil, err
	}
	var answers []secagg.Unmasking
	for _, at := range h.live {
		m, err := h.sites[at].Unmask(request)
		if err != nil {
			return nil, err
		}
		if err := h.sent(m); err != nil {
			return nil, err
		}
		answers = append(answers, m)
	}
	x, _, err := h.group.Reconstruct(set, answers)
	return x, err
}

// sent counts a message of a site, and received one for so many sites, by the
// bytes of their JSON.
func (h *hiding) sent(message any) error {
	content, err := json.Marshal(message)
	h.share.up += int64(len(content))
	return err
}

func (h *hiding) received(message any, sites int) error {
	content, err := json.Marshal(message)
	h.share.down += int64(len(content) * sites)
	return err
}

// directory knows the identity of every virtual site.
func (s *simulation) directory(tenant, name string) (*ecdsa.PublicKey, bool) {
	at, ok := s.known[strings.Join([]string{tenant, name}, "/")]
	if !ok || s.sites[at].key == nil {
		return nil, false
	}
	return &s.sites[at].key.PublicKey, true
}
