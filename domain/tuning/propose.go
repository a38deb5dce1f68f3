// Package tuning says what a study of training parameters is, and makes a study
// of one suggestion out of the finished runs of a model.
//
// Invariant: a proposal is a rate that no comparable run has tried, within a
// factor of [Reach] of those that were, and says in words how it was found.
package tuning

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

// Parameter is the parameter that is proposed, by its wire name in
// [round.Params].
const Parameter = "learningRate"

// Reach is how far beyond the rates that were tried a proposal may lie.
const Reach = 10

const (
	least, most = 1e-6, 10.0 // rates that may be proposed
	same        = 0.05       // rates closer than this share count as one
	again       = 8          // times that a study is asked for a rate that nobody has tried
	firstSeed   = 1          // of the studies that proposals are made by
)

// ErrExhausted says that every point of a space of finitely many was tried.
var ErrExhausted = errors.New("every point of the space has been tried: widen it, or raise repeats")

// A Suggester chooses the next point of a study, a function of both.
// Errors: [ErrExhausted].
type Suggester func(Study, []Trial) (Point, error)

// A tried is one learning rate, and the mean loss there.
type tried struct {
	rate, loss float64
}

// Propose returns the learning rate to try next, and why; ok is false when
// there is nothing to propose, and reason says why not. Trials are of one
// model, oldest first. It is one suggestion of a study whose trials are the
// comparable runs: the completed and evaluated ones whose parameters equal the
// latest one's but for learning rate and seed. A rate tried more than once
// counts with its pooled loss. The study looks, on a log scale, as far as
// [Reach] beyond the rates tried.
// Errors: those of suggest.
func Propose(trials []scorecard.Trial, suggest Suggester) (tuning promotion.Tuning, reason string, ok bool, err error) {
	latest, rates := alikes(trials)
	if len(rates) == 0 {
		return promotion.Tuning{}, "no completed run has been evaluated yet", false, nil
	}
	best := slices.MinFunc(rates, func(a, b tried) int { return cmp.Compare(a.loss, b.loss) })
	low, high := rates[0].rate, rates[len(rates)-1].rate
	study := Study{
		Space: Space{{Name: Parameter, Kind: Double, Log: true,
			Low: min(low, max(least, low/Reach)), High: max(high, min(most, high*Reach))}},
		Metric: "loss", Goal: Minimize, Trials: MaxTrials, Parallel: 1, Repeats: 1, Seed: firstSeed,
	}
	known := make([]Trial, len(rates))
	for i, r := range rates {
		known[i] = Trial{Number: i + 1, Point: Point{r.rate}, State: Succeeded, Values: []float64{r.loss}}
	}
	reason = fmt.Sprintf("the next trial of a study of learning rates from %s to %s, after %d of which %s was best",
		text(significant(study.Space[0].Low)), text(significant(study.Space[0].High)), len(rates), text(best.rate))
	rate := 0.0
	for range again {
		point, err := suggest(study, known)
		if err != nil {
			return promotion.Tuning{}, "", false, err
		}
		rate = significant(point[0])
		if !slices.ContainsFunc(rates, func(r tried) bool { return near(r.rate, rate) }) {
			return promotion.Tuning{Parameter: Parameter, From: text(latest), To: text(rate)}, reason, true, nil
		}
		// As good as tried: the study is asked as if it were on its way.
		known = append(known, Trial{Number: len(known) + 1, Point: point, State: Active})
	}
	return promotion.Tuning{}, fmt.Sprintf("%s: %s is what it would try, and that was tried", reason, text(rate)), false, nil
}

// alikes returns the latest comparable learning rate, and what each rate came to
// by ascending rate.
func alikes(trials []scorecard.Trial) (latest float64, rates []tried) {
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
		rates = append(rates, tried{rate, float64(m.LossMicros) / 1e6 / float64(m.Evaluated)})
	}
	slices.SortFunc(rates, func(a, b tried) int { return cmp.Compare(a.rate, b.rate) })
	if like != nil {
		latest = like.LearningRate
	}
	return latest, rates
}

// alike says whether two runs differ in learning rate and seed at most.
func alike(a, b round.Params) bool {
	return a.Model == b.Model && a.Rounds == b.Rounds && a.LocalEpochs == b.LocalEpochs &&
		a.BatchSize == b.BatchSize && slices.Equal(a.Features, b.Features)
}

func near(a, b float64) bool { return math.Abs(math.Log(a/b)) < same }

// significant rounds to three significant digits: nobody tunes finer.
func significant(x float64) float64 { return digits(x, 3) }

func digits(x float64, n int) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', n, 64), 64)
	if err != nil {
		return x
	}
	return rounded
}

func text(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
