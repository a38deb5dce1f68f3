// Package surrogate chooses the next trials of a study by Bayesian
// optimisation: a Gaussian process of what was measured, and the expected
// improvement under it.
//
// Invariant: the same study and trials give the same suggestion, so it may be
// asked twice; a suggestion is a point of the space that no trial has.
package surrogate

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/atom-fabric/fabric/domain/tuning"
)

// ErrExhausted says that every point of a space of finitely many was tried.
var ErrExhausted = tuning.ErrExhausted

const (
	uniform, local = 400, 200 // candidates drawn anywhere, and around the best
	refined        = 4        // of them are improved
	steps          = 60       // random steps, each
	draws          = 2000     // of a point that no trial has, before the space counts as exhausted
)

// Suggest returns the point that the study's next trial should have. Trials
// under way count as if they had come to what the process expects of them, so
// that parallel workers spread out.
//
// The first max(8, 2d+2) points, d the width of the space, are the enqueued
// ones and a Latin hypercube. Errors: [ErrExhausted]; those of
// [tuning.Study.Validate].
//
// Source: Jones, Schonlau and Welch, Efficient Global Optimization of
// Expensive Black-Box Functions, J. Global Optimization 13 (1998); constraints
// by Gardner et al., Bayesian Optimization with Inequality Constraints, ICML 2014.
func Suggest(study tuning.Study, trials []tuning.Trial) (tuning.Point, error) {
	if err := study.Validate(); err != nil {
		return nil, err
	}
	for _, p := range study.Enqueued {
		if !tuning.Tried(trials, p) {
			return p, nil
		}
	}
	s := search{study: study, trials: trials, random: rand.New(rand.NewPCG(study.Seed, uint64(len(trials))))}
	first := max(8, 2*study.Space.Width()+2)
	if n := len(trials) - len(study.Enqueued); n < first-len(study.Enqueued) {
		return s.fresh(hypercube(study, first)[n])
	}
	if !s.learn() {
		return s.fresh(s.anywhere())
	}
	return s.fresh(s.best())
}

// hypercube returns a Latin hypercube of n places: in each coordinate one place
// in each n-th of it. It depends on the study alone.
//
// Source: McKay, Beckman and Conover, Technometrics 21 (1979).
func hypercube(study tuning.Study, n int) [][]float64 {
	random := rand.New(rand.NewPCG(study.Seed, math.MaxUint64))
	places := make([][]float64, n)
	for i := range places {
		places[i] = make([]float64, study.Space.Width())
	}
	for j := range study.Space.Width() {
		for i, at := range random.Perm(n) {
			places[i][j] = (float64(at) + random.Float64()) / float64(n)
		}
	}
	return places
}

// A search is one suggestion in the making.
type search struct {
	study  tuning.Study
	trials []tuning.Trial
	random *rand.Rand

	cost      *process
	limits    []*process // of the constraints, less their bounds
	bounds    []float64  // zero, in the limits' units
	works     *process   // 1 where a trial came to something, 0 where it failed
	incumbent []float64
	least     float64
}

// fresh returns the point at a place, or one near it or anywhere that no trial
// has.
func (s *search) fresh(place []float64) (tuning.Point, error) {
	p := s.study.Space.Decode(place)
	for i := 0; tuning.Tried(s.trials, p); i++ {
		if i == draws {
			return nil, ErrExhausted
		}
		if place = s.near(place, 0.05+float64(i)/draws); i > draws/2 {
			place = s.anywhere()
		}
		p = s.study.Space.Decode(place)
	}
	return p, nil
}

// learn fits the processes. It returns false while there is nothing to learn
// from.
func (s *search) learn() bool {
	var places, all [][]float64
	var costs, worked []float64
	limits := make([][]float64, len(s.study.Constraints))
	for _, t := range s.trials {
		place := s.study.Space.Encode(t.Point)
		cost, measured := s.study.Cost(t)
		if t.State == tuning.Infeasible || measured {
			all = append(all, place)
			worked = append(worked, boolean(measured))
		}
		if !measured || len(t.Constraints) < len(limits) {
			continue
		}
		places, costs = append(places, place), append(costs, cost)
		for i, c := range s.study.Constraints {
			limits[i] = append(limits[i], t.Constraints[i]-c.AtMost)
		}
	}
	if len(places) < 2 {
		return false
	}
	var ok bool
	costs, _ = standard(costs, 0)
	if s.cost, ok = fit(places, costs); !ok {
		return false
	}
	s.imagine(places, costs)
	for _, values := range limits {
		values, bound := standard(values, 0)
		process, ok := fit(places[:len(values)], values)
		if !ok {
			return false
		}
		s.limits, s.bounds = append(s.limits, process), append(s.bounds, bound)
	}
	if slices.Contains(worked, 0) {
		if s.works, ok = fit(all, worked); !ok {
			return false
		}
	}
	s.choose()
	return true
}

// imagine adds the trials under way at what the process expects of them.
func (s *search) imagine(places [][]float64, costs []float64) {
	known := len(places)
	for _, t := range s.trials {
		if _, measured := s.study.Cost(t); t.State == tuning.Active && !measured {
			place := s.study.Space.Encode(t.Point)
			mean, _ := s.cost.at(place)
			places, costs = append(places, place), append(costs, mean)
		}
	}
	if len(places) == known {
		return
	}
	if process, ok := fit(places, costs); ok {
		s.cost = process
	}
}

// choose sets the incumbent: of the places that were tried, the one with the
// best mean among those that probably keep the constraints, or the most
// probable one if none does.
func (s *search) choose() {
	s.least = math.Inf(1)
	likeliest := math.Inf(-1)
	for _, place := range s.cost.places {
		mean, _ := s.cost.at(place)
		chance := s.feasible(place)
		switch likely := chance >= math.Log(0.5); {
		case likely && mean < s.least:
			s.least, s.incumbent = mean, place
		case !likely && math.IsInf(s.least, 1) && chance > likeliest:
			likeliest, s.incumbent = chance, place
		}
	}
}

// best returns the place of the highest expected improvement that is found.
func (s *search) best() []float64 {
	type candidate struct {
		place []float64
		score float64
	}
	var all []candidate
	for i := range uniform + local {
		place := s.anywhere()
		if i >= uniform {
			place = s.near(s.incumbent, 0.1*math.Pow(0.01, s.random.Float64()))
		}
		all = append(all, candidate{place, s.score(place)})
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(b.score, a.score) })
	top := all[0]
	for _, c := range all[:refined] {
		width := 0.1
		for range steps {
			place := s.near(c.place, width)
			if score := s.score(place); score > c.score {
				c = candidate{place, score}
				width = min(0.2, width*1.5)
			} else {
				width = max(1e-5, width*0.85)
			}
		}
		if c.score > top.score {
			top = c
		}
	}
	return top.place
}

// score returns the logarithm of the expected improvement, weighted by the
// chance that the place is feasible. Where nothing feasible is known yet, that
// chance is all that counts.
func (s *search) score(place []float64) float64 {
	chance := s.feasible(place)
	if math.IsInf(s.least, 1) {
		return chance
	}
	mean, dev := s.cost.at(place)
	return logImprovement((s.least-mean)/dev) + math.Log(dev) + chance
}

// feasible returns the logarithm of the chance that a place keeps every
// constraint and comes to something at all.
func (s *search) feasible(place []float64) float64 {
	chance := 0.0
	for i, limit := range s.limits {
		mean, dev := limit.at(place)
		chance += logNormal((s.bounds[i] - mean) / dev)
	}
	if s.works != nil {
		mean, dev := s.works.at(place)
		chance += logNormal((mean - 0.5) / dev)
	}
	return chance
}

func (s *search) anywhere() []float64 {
	place := make([]float64, s.study.Space.Width())
	for i := range place {
		place[i] = s.random.Float64()
	}
	return place
}

// near moves a place by a normal step of that width, within the cube.
func (s *search) near(place []float64, width float64) []float64 {
	out := make([]float64, len(place))
	for i, x := range place {
		out[i] = min(max(x+width*s.random.NormFloat64(), 0), 1)
	}
	return out
}

// logImprovement returns ln(z Φ(z) + φ(z)), without its cancellation far below
// zero.
func logImprovement(z float64) float64 {
	const halfLog2Pi = 0.9189385332046727
	if z <= -6 {
		return -z*z/2 - halfLog2Pi - 2*math.Log(-z)
	}
	return math.Log(z*math.Erfc(-z/math.Sqrt2)/2 + math.Exp(-z*z/2-halfLog2Pi))
}

// logNormal returns ln Φ(z).
func logNormal(z float64) float64 {
	const halfLog2Pi = 0.9189385332046727
	if z <= -6 {
		return -z*z/2 - halfLog2Pi - math.Log(-z)
	}
	return math.Log(math.Erfc(-z/math.Sqrt2) / 2)
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
