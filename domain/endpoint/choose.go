package endpoint

import (
	"math/bits"
	"slices"

	"github.com/atom-fabric/fabric/domain/policy"
)

// An Ask is one request for an endpoint.
type Ask struct {
	Now           int64 // ns, see [Live]
	Near          string
	Only          string  // region, or "": any
	Kind          string  // or "": any
	MaxCostMicros int64   // 0: any
	LimitMillis   float64 // latency that scores 0, above 0
	Weights       policy.Weights
	Random        uint64
	Among         *Set    // who may answer; nil: every candidate
	Instead       *Set    // who may when nobody of Among does; nil: nobody
	Skip          []*Live // tried already
	Crowd         bool    // also those without room, to wait there

	// Probe is set by a pick: the request is the one that probes the endpoint.
	Probe bool
}

// Reasons for which a permitted candidate does not answer an ask.
const (
	RuleReady  = "health/not-ready"
	RuleLoaded = "health/model-not-ready"
	RuleTried  = "health/tried-already"
	RuleFull   = "health/full"
	RuleRegion = "preferences/region"
	RuleKind   = "preferences/kind"
	RuleCost   = "preferences/max_cost_micros"
)

// Refuses returns the rule by which the candidate does not fit the ask, or "".
// [Ask.Among] is for whoever made it to explain.
func (a *Ask) Refuses(c *Candidate) string {
	switch {
	case a.Only != "" && c.Region != a.Only:
		return RuleRegion
	case a.Kind != "" && c.Kind != a.Kind:
		return RuleKind
	case a.MaxCostMicros > 0 && c.CostMicros > a.MaxCostMicros:
		return RuleCost
	case len(a.Skip) > 0 && slices.Contains(a.Skip, c.Live):
		return RuleTried
	case !c.Live.Ready():
		return RuleReady
	case c.Unloaded != nil && c.Unloaded.Load():
		return RuleLoaded
	case !a.Crowd && !c.Live.Room():
		return RuleFull
	}
	return ""
}

// filter leaves in w.mask who fits what the ask says of itself.
func (p *Pool) filter(ask *Ask, w *Work) bool {
	from := &p.all
	if ask.Among != nil {
		from = ask.Among
	}
	copy(w.mask, from.words)
	if ask.Only != "" && !narrow(w.mask, p.regions, ask.Only) || ask.Kind != "" && !narrow(w.mask, p.kinds, ask.Kind) {
		return false
	}
	if len(ask.Skip) > 0 {
		for i := range p.slots {
			if slices.Contains(ask.Skip, p.slots[i].live) {
				w.mask[i/64] &^= 1 << (i % 64)
			}
		}
	}
	return true
}

// narrow takes out whoever is not of that name, and returns false if nobody is.
func narrow(mask []uint64, list []named, name string) bool {
	at := find(list, name)
	if at < 0 {
		return false
	}
	for i, word := range list[at].set.words {
		mask[i] &= word
	}
	return true
}

// Pick is [Pool.Choose] with what an ask only prefers: a region, if somebody
// there takes requests now, else anybody of Among, else of Instead; and when
// nobody at all does, the first of these that is set aside.
func (p *Pool) Pick(ask *Ask, w *Work) int {
	among, only := ask.Among, ask.Only
	first := -1
	for _, who := range [...]struct {
		set  *Set
		only string
		skip bool
	}{{among, only, false}, {among, "", only == ""}, {ask.Instead, only, ask.Instead == nil}, {ask.Instead, "", ask.Instead == nil || only == ""}} {
		if who.skip {
			continue
		}
		ask.Among, ask.Only = who.set, who.only
		i := p.Choose(ask, w)
		if i >= 0 && first < 0 {
			first = i
		}
		if i >= 0 && (ask.Probe || !p.slots[i].live.Ejected(ask.Now)) {
			first = i
			break
		}
	}
	ask.Among, ask.Only = among, only
	return first
}

// Choose returns the index of the candidate that answers, or -1 when none
// fits. It allocates nothing once w has seen a pool of this size.
//
// Of those that fit and take requests now, the ones whose total is within 0.05
// of the best are equally good; of two of them, drawn by chance, the one with
// the better total answers, and of equal ones a hash decides. Always taking
// the best would send every router's load to one endpoint at once. One ask in a
// hundred takes any that would be as good if it were as quick.
//
// One that is due for a probe, if no other request has it, answers at once: the
// request is hedged. If more are set aside than [MayEject] allows they take part
// with the latency that their failures gave them. If nobody takes requests now
// the one that is free first answers: an ejection ranks, it never leaves nobody.
func (p *Pool) Choose(ask *Ask, w *Work) int {
	w.fit(len(p.slots))
	if len(p.slots) == 0 || !p.filter(ask, w) {
		return -1
	}
	score := p.scorer(ask)
	best := ranked{total: -1, index: -1}
	hopeless := float32(-1) // less of what is fixed cannot be as good as the best, however quick it is
	spare, fits, open, passed := -1, 0, 0, false
	slots := p.slots
	for at, word := range w.mask {
		for ; word != 0; word &= word - 1 {
			i := at*64 + bits.TrailingZeros64(word)
			c := &slots[i]
			l := c.live
			gate, fixed := l.gate.Load(), score.fixed(c)
			if fixed < hopeless && gate == 0 {
				passed = true // whether or not it can answer
				continue
			}
			if !ask.takes(c) {
				continue
			}
			inflight := l.inflight.Load()
			fits++
			if gate != 0 || c.thin {
				switch p.standing(ask, i) {
				case Due:
					if l.Claim(ask.Now) {
						ask.Probe = true
						return i
					}
					fallthrough
				case Aside:
					w.away = append(w.away, int32(i))
					spare = p.sooner(spare, i)
					continue
				case Cold:
					spare = p.sooner(spare, i)
					continue
				}
			}
			r := ranked{fixed + score.moving(l.latency.Load(), inflight), int32(i)}
			w.open[open] = r
			open++
			if r.total > best.total {
				best = r
				hopeless = best.total - band - 2*score.speed - rounding
			}
		}
	}
	w.open = w.open[:open]
	if best.index < 0 {
		return spare
	}
	if passed && len(w.away) > 0 {
		fits = p.fitting(ask, w)
	}
	if len(w.away) > MayEject(fits) {
		for _, i := range w.away {
			l := p.slots[i].live
			r := ranked{score.fixed(&p.slots[i]) + score.moving(l.latency.Load(), l.inflight.Load()), i}
			w.open = append(w.open, r)
			if r.total > best.total {
				best = r
			}
		}
	}
	return p.pick(ask, &score, w, best)
}

// takes reports whether the candidate can answer and has room, whatever the ask
// says of its region and kind.
func (a *Ask) takes(c *slot) bool {
	l := c.live
	if l.unready.Load() || c.unloaded != nil && c.unloaded.Load() || a.MaxCostMicros > 0 && c.micros > a.MaxCostMicros {
		return false
	}
	limit := l.limit.Load()
	return limit == 0 || a.Crowd || l.queued.Load() == 0 && l.inflight.Load() < int64(limit)
}

// fitting counts who fits.
func (p *Pool) fitting(ask *Ask, w *Work) (fits int) {
	for at, word := range w.mask {
		for ; word != 0; word &= word - 1 {
			if ask.takes(&p.slots[at*64+bits.TrailingZeros64(word)]) {
				fits++
			}
		}
	}
	return fits
}

// standing is [Live.Standing], and Cold for an ask that passes the candidate's
// region over: such a region gets no more than its share.
func (p *Pool) standing(ask *Ask, i int) Standing {
	c := &p.candidates[i]
	s := c.Live.Standing(ask.Now, mix(c.Hash^ask.Random))
	if s == Open && c.Thin > 0 && float64(mix(Hash(c.Region)^ask.Random)>>11)/(1<<53) < c.Thin {
		return Cold
	}
	return s
}

// sooner returns the one of two that is free first.
func (p *Pool) sooner(a, b int) int {
	if a >= 0 && p.candidates[a].Live.Until() <= p.candidates[b].Live.Until() {
		return a
	}
	return b
}
