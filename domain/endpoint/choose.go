package endpoint

import (
	"sync/atomic"

	"github.com/atom-fabric/fabric/domain/policy"
)

// A Candidate is an endpoint that may answer, with the scores that do not
// change between two snapshots.
type Candidate struct {
	Name       string
	Region     string
	Kind       string
	CostMicros int64
	Cost       float64 // score, see [CostScore]
	Fabric     float64 // score, 0..100 as [0,1]
	Hash       uint64  // of the name; breaks ties
	Live       *Live
	Unloaded   *atomic.Bool // its readiness check of the model says no; nil: not asked
}

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
	Skip          *Live // tried already, or nil
}

// Scores are how good a candidate is in each respect: in [0,1], 1 is best.
type Scores struct {
	Latency  float64 `json:"latency"`  // 1 - expected latency / limit
	Cost     float64 `json:"cost"`     // 1 - cost / dearest
	Fabric   float64 `json:"fabric"`   // scorecard / 100
	Locality float64 `json:"locality"` // 1 in the near region, else 0
	Load     float64 `json:"load"`     // 1 / (1 + requests under way / 32)
	Total    float64 `json:"total"`    // weighted mean
}

// Reasons for which a permitted candidate does not answer an ask.
const (
	RuleReady  = "health/not-ready"
	RuleLoaded = "health/model-not-ready"
	RuleTried  = "health/tried-already"
	RuleRegion = "preferences/region"
	RuleKind   = "preferences/kind"
	RuleCost   = "preferences/max_cost_micros"
)

// halfLoad is how many requests under way halve the score of the load. With the
// default weights this is also where a near endpoint spills over to a far one.
const halfLoad = 32

// band is how far below the best a total counts as equally good. Within it the
// load is spread; beyond it a worse endpoint would be chosen for no reason.
const band = 0.05

// CostScore returns 1 for what costs nothing and 0 for the dearest.
func CostScore(costMicros, dearest int64) float64 {
	if dearest <= 0 {
		return 1
	}
	return 1 - float64(costMicros)/float64(dearest)
}

// Refuses returns the rule by which the candidate does not fit the ask, or "".
func (a *Ask) Refuses(c *Candidate) string {
	switch {
	case a.Only != "" && c.Region != a.Only:
		return RuleRegion
	case a.Kind != "" && c.Kind != a.Kind:
		return RuleKind
	case a.MaxCostMicros > 0 && c.CostMicros > a.MaxCostMicros:
		return RuleCost
	case c.Live == a.Skip:
		return RuleTried
	case !c.Live.Ready():
		return RuleReady
	case c.Unloaded != nil && c.Unloaded.Load():
		return RuleLoaded
	}
	return ""
}

// Score returns the scores of a candidate for the ask. What is under way at an
// endpoint is latency to come, so the load has the weight of the latency.
func (a *Ask) Score(c *Candidate) Scores {
	s := Scores{Cost: c.Cost, Fabric: c.Fabric, Load: 1 / (1 + float64(max(c.Live.InFlight(), 0))/halfLoad)}
	s.Latency = max(0, 1-c.Live.Latency(a.Now)/a.LimitMillis)
	if c.Region == a.Near {
		s.Locality = 1
	}
	w := &a.Weights
	sum := 2*w.Latency + w.Cost + w.Fabric + w.Locality
	if sum == 0 {
		return s
	}
	s.Total = (float64(w.Latency)*(s.Latency+s.Load) + float64(w.Cost)*s.Cost +
		float64(w.Fabric)*s.Fabric + float64(w.Locality)*s.Locality) / float64(sum)
	return s
}

// Choose returns the index of the candidate that answers, or -1 when none
// fits. totals is working memory of at least len(candidates).
//
// Of those that fit and are not set aside, the ones whose total is within 0.05
// of the best are equally good; of two of them, drawn by chance, the one with
// the better total answers, and of equal ones the hash decides. Always taking
// the best would send every router's load to one endpoint at once. If all that
// fit are set aside, the one that is free first answers: an ejection ranks, it
// never leaves nobody.
func Choose(candidates []Candidate, ask *Ask, totals []float64) int {
	const unfit = -1
	best, fit := unfit, 0.0
	soonest := -1
	for i := range candidates {
		c := &candidates[i]
		totals[i] = unfit
		if ask.Refuses(c) != "" {
			continue
		}
		if c.Live.Ejected(ask.Now) {
			if soonest < 0 || c.Live.Until() < candidates[soonest].Live.Until() {
				soonest = i
			}
			continue
		}
		totals[i] = ask.Score(c).Total
		if best == unfit || totals[i] > fit {
			best, fit = i, totals[i]
		}
	}
	if best == unfit {
		return soonest
	}
	near := 0
	for i := range candidates {
		if totals[i] >= fit-band && totals[i] != unfit {
			near++
		}
	}
	if near == 1 {
		return best
	}
	return duel(candidates, ask, totals, fit-band, near)
}

// duel draws two different ones of the near candidates and returns the better.
func duel(candidates []Candidate, ask *Ask, totals []float64, floor float64, near int) int {
	first := int(uint32(ask.Random) % uint32(near))
	second := (first + 1 + int(uint32(ask.Random>>32)%uint32(near-1))) % near
	a, b, seen := -1, -1, 0
	for i := range candidates {
		if totals[i] < 0 || totals[i] < floor {
			continue
		}
		switch seen {
		case first:
			a = i
		case second:
			b = i
		}
		seen++
	}
	switch {
	case totals[a] > totals[b]:
		return a
	case totals[b] > totals[a]:
		return b
	case mix(candidates[a].Hash^ask.Random) < mix(candidates[b].Hash^ask.Random):
		return a
	}
	return b
}

// Hash returns the 64-bit FNV-1a of a name. Source: draft-eastlake-fnv.
func Hash(name string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return h
}

// mix scatters the bits. Source: the finaliser of SplitMix64 (Steele et al.,
// OOPSLA 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
