// Package tuning proposes one training parameter to try next, from what the
// finished runs of a model came to.
//
// Invariant: a proposal is a rate that no comparable run has tried, within one
// step of those that were, and says in words how it was found.
package tuning

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

// Parameter is the parameter that is tuned, by its wire name in [round.Params].
const Parameter = "learningRate"

// Step is the factor of one step: the golden ratio, so that a later step back
// from an overshoot never lands on a rate that was tried.
const Step = 1.618033988749895

const (
	least, most = 1e-6, 10.0 // rates that may be proposed
	same        = 0.05       // rates closer than this share count as one
)

// A point is one learning rate, its logarithm, and the mean loss there.
type point struct {
	rate, x, loss float64
}

// Propose returns the learning rate to try next, and why; ok is false when
// there is nothing to propose, and reason says why not. Trials are of one
// model, oldest first.
//
// Comparable are the completed and evaluated trials whose parameters equal the
// latest one's but for learning rate and seed; a rate tried more than once
// counts with its pooled loss. With three rates or more, a parabola is fitted to
// the loss over the logarithm of the rate, and its lowest point is taken if it
// lies within one [Step] of the rates tried. Otherwise the best rate moves by
// one Step away from its worse neighbour; a single rate moves up, for a rate
// that is too low costs rounds and one that is too high shows at once.
func Propose(trials []scorecard.Trial) (tuning promotion.Tuning, reason string, ok bool) {
	latest, points := alikes(trials)
	if len(points) == 0 {
		return promotion.Tuning{}, "no completed run has been evaluated yet", false
	}
	best := slices.MinFunc(points, func(a, b point) int { return cmp.Compare(a.loss, b.loss) })
	rate, reason := lowest(points)
	if reason == "" {
		rate, reason = step(points, best)
	}
	rate = significant(min(max(rate, least), most))
	for _, p := range points {
		if near(p.rate, rate) {
			return promotion.Tuning{}, fmt.Sprintf("%s: %s has been tried, and %s is the best of %d rates",
				reason, text(p.rate), text(best.rate), len(points)), false
		}
	}
	return promotion.Tuning{Parameter: Parameter, From: text(latest), To: text(rate)}, reason, true
}

// alikes returns the latest comparable learning rate and the points by
// ascending rate.
func alikes(trials []scorecard.Trial) (latest float64, points []point) {
	var like *round.Params
	sums := map[float64]round.Metrics{}
	for _, t := range slices.Backward(trials) {
		if t.Status != "completed" || t.Metrics.Evaluated == 0 || !(t.Params.LearningRate > 0) {
			continue
		}
		if like == nil {
			like = &t.Params
		}
		if alike(*like, t.Params) {
			sums[t.Params.LearningRate] = sums[t.Params.LearningRate].Add(t.Metrics)
		}
	}
	for rate, m := range sums {
		points = append(points, point{rate, math.Log(rate), float64(m.LossMicros) / float64(m.Evaluated)})
	}
	slices.SortFunc(points, func(a, b point) int { return cmp.Compare(a.rate, b.rate) })
	if like != nil {
		latest = like.LearningRate
	}
	return latest, points
}

// alike says whether two runs differ in learning rate and seed at most.
func alike(a, b round.Params) bool {
	return a.Model == b.Model && a.Rounds == b.Rounds && a.LocalEpochs == b.LocalEpochs &&
		a.BatchSize == b.BatchSize && slices.Equal(a.Features, b.Features)
}

// lowest fits loss = a + b·u + c·u², u = ln(rate) - mean, by least squares and
// returns the rate of its minimum. The reason is empty when there is no minimum
// within a step of the rates tried.
func lowest(points []point) (rate float64, reason string) {
	if len(points) < 3 {
		return 0, ""
	}
	var mean float64
	for _, p := range points {
		mean += p.x / float64(len(points))
	}
	b, c, ok := parabola(points, mean)
	if !ok || c <= 0 {
		return 0, ""
	}
	rate = math.Exp(mean - b/(2*c))
	if rate < points[0].rate/Step || rate > points[len(points)-1].rate*Step {
		return 0, ""
	}
	return rate, fmt.Sprintf("lowest point of a parabola through the losses of %d learning rates", len(points))
}

// parabola solves the normal equations for the slope and curvature around mean.
func parabola(points []point, mean float64) (b, c float64, ok bool) {
	var s0, s1, s2, s3, s4, t0, t1, t2 float64
	for _, p := range points {
		u := p.x - mean
		s0, s1, s2, s3, s4 = s0+1, s1+u, s2+u*u, s3+u*u*u, s4+u*u*u*u
		t0, t1, t2 = t0+p.loss, t1+u*p.loss, t2+u*u*p.loss
	}
	det := s0*(s2*s4-s3*s3) - s1*(s1*s4-s2*s3) + s2*(s1*s3-s2*s2)
	if !(math.Abs(det) > 1e-12) {
		return 0, 0, false
	}
	b = (s0*(t1*s4-t2*s3) - t0*(s1*s4-s3*s2) + s2*(s1*t2-s2*t1)) / det
	c = (s0*(s2*t2-s3*t1) - s1*(s1*t2-t1*s2) + t0*(s1*s3-s2*s2)) / det
	return b, c, true
}

// step moves the best rate away from its worse neighbour.
func step(points []point, best point) (rate float64, reason string) {
	i := slices.Index(points, best)
	switch {
	case len(points) == 1:
		return best.rate * Step, fmt.Sprintf("one learning rate was tried, %s: one step up", text(best.rate))
	case i == len(points)-1:
		return best.rate * Step, fmt.Sprintf("the highest of %d learning rates was best: one step up", len(points))
	case i == 0:
		return best.rate / Step, fmt.Sprintf("the lowest of %d learning rates was best: one step down", len(points))
	case points[i-1].loss < points[i+1].loss:
		return best.rate / Step, "the neighbour below the best learning rate was better: one step down"
	default:
		return best.rate * Step, "the neighbour above the best learning rate was better: one step up"
	}
}

func near(a, b float64) bool { return math.Abs(math.Log(a/b)) < same }

// significant rounds to three significant digits: nobody tunes finer.
func significant(x float64) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 3, 64), 64)
	if err != nil {
		return x
	}
	return rounded
}

func text(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
