package simulate

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// An order is a round as the sites hear of it.
type order struct {
	round.Manifest
	digest artifact.Digest
	bytes  int64 // of the manifest and the weights, which every site fetches
	groups []group
}

// A group is summed by itself.
type group struct {
	round.Cohort
	members []int // places of its sites, ascending
}

// byGroup returns the cohort with each group as a region of its own, which is
// how much of the quorum one of them must bring.
func (o order) byGroup() []round.Cohort {
	out := make([]round.Cohort, len(o.Cohort))
	for i, c := range o.Cohort {
		out[i] = round.Cohort{Region: c.Name(), Sites: c.Sites}
	}
	return out
}

// A share is what a group came to.
type share struct {
	counts   round.Counts
	spare    int
	late     int
	seconds  float64
	up, down int64
	partial  *aggregate.Partial
	updates  []aggregate.Update // single ones, where the rule asks for them and nothing hides them
	event    *dp.Event
	within   float64 // see [payload.Count]
}

// An outcome is what a round delivered.
type outcome struct {
	Round
	delivered []round.Counts // by region
	partials  []aggregate.Partial
	updates   []aggregate.Update
	counts    []payload.Count // by group, where the clipping norm adapts
}

// ask plans a round, plays it in all groups and adds up what it took.
func (s *simulation) ask(ctx context.Context, number int, kind round.Kind) (outcome, error) {
	o, err := s.order(number, kind)
	if err != nil {
		return outcome{}, err
	}
	shares := make([]share, len(o.groups))
	play := func(i int) (err error) { shares[i], err = s.plain(ctx, o, o.groups[i]); return err }
	if o.Secured {
		play = func(i int) (err error) { shares[i], err = s.hidden(ctx, o, o.groups[i]); return err }
	}
	workers := runtime.GOMAXPROCS(0)
	if !o.Secured {
		workers = 1 // the sites of a group are trained in parallel
	}
	if err := each(workers, len(shares), play); err != nil {
		return outcome{}, fmt.Errorf("round %d: %w", number, err)
	}
	out := outcome{Round: Round{Number: number, Kind: kind, Secured: o.Secured, Groups: len(o.groups), Clip: s.clip}}
	regions := map[string]round.Counts{}
	for i, sh := range shares {
		g := o.groups[i]
		out.Asked += len(g.members)
		out.Answered += sh.counts.Accepted
		out.Spare += sh.spare
		out.Late += sh.late
		out.Seconds = max(out.Seconds, sh.seconds)
		out.Uploaded += sh.up
		out.Downloaded += sh.down
		if sh.event != nil {
			s.spent.release(*sh.event)
		}
		if sh.partial == nil {
			out.Lost++
			continue
		}
		out.partials = append(out.partials, *sh.partial)
		out.counts = append(out.counts, payload.Count{Sites: sh.counts.Accepted, Within: sh.within})
		out.updates = append(out.updates, sh.updates...)
		c := regions[g.Region]
		c.Selected, c.Accepted = c.Selected+len(g.members), c.Accepted+sh.counts.Accepted
		regions[g.Region] = c
	}
	out.Dropped = out.Asked - out.Answered - out.Spare
	for _, c := range regions {
		out.delivered = append(out.delivered, c)
	}
	out.Epsilon, err = s.spent.close(s.set.Params.Privacy)
	return out, err
}

// order plans a round: who is asked, in which groups, from which weights.
func (s *simulation) order(number int, kind round.Kind) (order, error) {
	p := s.set.Params
	asked := make([]site.Site, len(s.sites))
	for i, v := range s.sites {
		asked[i] = v.Site
	}
	seed := round.SampleSeed(p.Seed, number)
	if p.Sampled(kind) {
		asked = round.Sample(asked, p, seed)
	}
	secured := p.Secure.Secured(len(asked))
	seats := round.Plain(asked)
	if secured {
		var err error
		if seats, err = s.seats(round.Secured(asked), kind, seed); err != nil {
			return order{}, err
		}
	}
	weights, err := s.weights.Encode()
	if err != nil {
		return order{}, err
	}
	o := order{Manifest: round.Manifest{
		Run: "simulation", Number: number, Kind: kind, Tenant: "tenant", ModelID: s.set.Data.Name,
		Base: artifact.Describe(artifact.MediaTypeWeights, weights), Params: p, Cohort: round.Groups(seats),
		CohortRoot: round.CohortRoot(asked), Simulation: true, Secured: secured, SampleSeed: seed, Clip: s.clip,
	}}
	if p.Buffers(kind) {
		o.Starts = s.before.Successor()
	}
	s.remember(o.Manifest)
	content, err := artifact.Canonical(o.Manifest)
	if err != nil {
		return order{}, err
	}
	o.digest, o.bytes = artifact.DigestOf(content), int64(len(content)+len(weights))
	members := map[string][]int{}
	for _, seat := range seats {
		members[seat.Group] = append(members[seat.Group], s.known[seat.Tenant+"/"+seat.ID])
	}
	for _, c := range o.Cohort {
		slices.Sort(members[c.Name()])
		o.groups = append(o.groups, group{c, members[c.Name()]})
	}
	return o, nil
}

// seats splits the secure groups: into the strategy's buckets, or where they
// are larger than a group may be.
func (s *simulation) seats(seats []round.Seat, kind round.Kind, seed uint64) ([]round.Seat, error) {
	for _, c := range round.Groups(seats) {
		size := 0
		if kind == round.Train {
			size = s.set.Params.Strategy.BucketSites
		}
		if most := s.set.GroupSites; size == 0 && most > 0 && c.Sites > most {
			size = c.Sites / ((c.Sites + most - 1) / most)
		}
		if size < round.MinBucket || c.Sites < 2*size {
			continue
		}
		var names []string
		for _, seat := range seats {
			if seat.Group == c.Name() {
				names = append(names, seat.Tenant+"/"+seat.ID)
			}
		}
		buckets, err := aggregate.Buckets(names, size, fmt.Appendf(nil, "bucket\n%d\n%s", seed, c.Name()))
		if err != nil {
			return nil, err
		}
		seats = round.Bucketed(seats, c.Name(), buckets)
	}
	return seats, nil
}

// plain plays a group whose updates are seen one by one.
func (s *simulation) plain(ctx context.Context, o order, g group) (share, error) {
	p := s.set.Params
	arrivals, from := make([]arrival, len(g.members)), map[int]int{}
	for i, at := range g.members {
		c := s.conduct(o.Number, s.sites[at])
		arrivals[i].site = at
		arrivals[i].at, from[at] = s.due(o, s.sites[at], c)
		if c.leaves != "" {
			arrivals[i].at = never()
		}
	}
	enough := p.Suffice(o.Kind, o.Cohort, g.Name())
	in, seconds, step := wait{
		state:    round.State{Need: round.Need(p.Quorum, o.byGroup(), g.Name()), Extensions: p.Extensions},
		deadline: float64(p.DeadlineSeconds), enough: enough,
	}.until(arrivals)
	sh := share{seconds: seconds, down: o.bytes * int64(len(g.members)), counts: round.Counts{Selected: len(g.members)}, spare: spare(arrivals, len(in), enough)}
	for _, a := range arrivals {
		s.settled(o, s.sites[a.site], a.at, from[a.site], slices.Contains(in, a.site))
	}
	if step != round.Proceed {
		return sh, nil
	}
	updates := make([]aggregate.Update, len(in))
	err := each(runtime.GOMAXPROCS(0), len(in), func(i int) error {
		v := s.sites[in[i]]
		tensors, err := s.work(ctx, o, v, from[in[i]])
		if errors.Is(err, trainer.ErrDiverged) {
			return nil // it has nothing to send
		}
		updates[i] = aggregate.Update{Tenant: v.Tenant, Site: v.ID, Examples: weigh(o, from[in[i]], v.rows.Len()), Tensors: tensors}
		return err
	})
	if err != nil {
		return sh, err
	}
	updates = slices.DeleteFunc(updates, func(u aggregate.Update) bool { return u.Tensors == nil })
	if len(updates) == 0 {
		return sh, nil
	}
	for _, u := range updates {
		at := s.known[u.Tenant+"/"+u.Site]
		if err := s.counted(o, s.sites[at], u.Tensors); err != nil {
			return sh, err
		}
		if from[at] != o.Number {
			sh.late++
		}
	}
	if sh.up, err = s.sent(o, updates); err != nil {
		return sh, err
	}
	sh.counts.Accepted = len(updates)
	sum := aggregate.SumOf(wide(p.Strategy.Update(p.Model, o.Kind)))
	slices.SortFunc(updates, func(a, b aggregate.Update) int { return strings.Compare(a.Site, b.Site) })
	if err := sum.Add(updates...); err != nil {
		return sh, err
	}
	partial, err := sum.Partial(g.Name())
	perUpdate(o, &partial, len(updates), 1000) // weights are thousandths
	sh.partial = &partial
	if p.Strategy.Robust() && o.Kind == round.Train {
		sh.updates = updates
	}
	return sh, err
}

// spare counts those who would have answered after enough had.
func spare(arrivals []arrival, in, enough int) int {
	if enough == 0 || in < enough {
		return 0
	}
	n := -in
	for _, a := range arrivals {
		if a.at < never() {
			n++
		}
	}
	return n
}

// each calls f for 0..n-1 on several goroutines and returns the error of the
// lowest.
func each(workers, n int, f func(i int) error) error {
	errs := make([]error, n)
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(workers, n) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				errs[i] = f(i)
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
