package endpoint

import "math"

// Scores are how good a candidate is in each respect: in [0,1], 1 is best.
type Scores struct {
	Latency  float64 `json:"latency"`  // 1 - expected latency / limit
	Cost     float64 `json:"cost"`     // 1 - cost / dearest
	Fabric   float64 `json:"fabric"`   // scorecard / 100
	Locality float64 `json:"locality"` // 1 in the near region, else 0
	Load     float64 `json:"load"`     // 1 / (1 + requests under way / 32)
	Total    float64 `json:"total"`    // weighted mean
}

// halfLoad is how many requests under way halve the score of the load. With the
// default weights this is also where a near endpoint spills over to a far one.
const halfLoad = 32

// CostScore returns 1 for what costs nothing and 0 for the dearest.
func CostScore(costMicros, dearest int64) float64 {
	if dearest <= 0 {
		return 1
	}
	return 1 - float64(costMicros)/float64(dearest)
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

// A scorer is [Ask.Score] for many candidates: what they share is worked out
// once, and what is left is one division of floats of 32 bits.
type scorer struct {
	speed, cost, fabric, locality float32 // weights, their sum 1 with speed twice
	faded                         float32 // 5 s / limit
	now                           uint32  // ms
	near                          int32
}

func (p *Pool) scorer(a *Ask) scorer {
	w := &a.Weights
	out := scorer{faded: float32(decay / a.LimitMillis), now: uint32(a.Now / 1e6), near: find(p.regions, a.Near)}
	if sum := 2*w.Latency + w.Cost + w.Fabric + w.Locality; sum > 0 {
		each := 1 / float32(sum)
		out.speed, out.cost = float32(w.Latency)*each, float32(w.Cost)*each
		out.fabric, out.locality = float32(w.Fabric)*each, float32(w.Locality)*each
	}
	return out
}

// fixed is the part of the total that stays while the snapshot does.
func (s *scorer) fixed(c *slot) float32 {
	total := s.cost*c.cost + s.fabric*c.fabric
	if c.region == s.near {
		total += s.locality
	}
	return total
}

// moving is the part that latency and load make: with the latency that is
// expected, d = 5 s + Δt and f = 32 + requests under way,
//
//	speed · (1 - latency/limit + 32/f) = speed · ((d - x)·f + 32·d) / (d·f)
//
// where x = last·5 s/limit, at most d.
func (s *scorer) moving(latency uint64, inflight int64) float32 {
	was, at := unpack(latency)
	since := s.now - at
	if since > math.MaxInt32 {
		since = 0 // another goroutine's sample is newer than our now
	}
	d, f, x := decay+float32(since), halfLoad+float32(max(inflight, 0)), was*s.faded
	if x > d {
		x = d
	}
	return s.speed * ((d-x)*f + halfLoad*d) / (d * f)
}
