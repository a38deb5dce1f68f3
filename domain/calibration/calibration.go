// Package calibration says whether a model's probabilities mean what they say.
//
// Invariant: what is computed from bins that were added up over sites equals
// what is computed from all rows in the same bins, to the resolution of the
// scores that went in (a millionth).
package calibration

import (
	"errors"
	"math"
	"slices"
)

// Why there is nothing to judge.
var (
	ErrEmpty = errors.New("there is nothing to judge")
	ErrScore = errors.New("a score is not a probability")
	ErrBins  = errors.New("the bins do not fit")
)

// Width is the usual number of bins.
const Width = 15

// Micro is the resolution of sums of scores.
const Micro = 1_000_000

// A Bin counts the rows whose score falls into it. Sums are in millionths, so
// that bins of sites add up as integers.
type Bin struct {
	N          int64 `json:"n"`
	Positives  int64 `json:"positives"`
	ScoreSum   int64 `json:"scoreSum"`   // Σ p
	SquaredSum int64 `json:"squaredSum"` // Σ (p - y)²
}

// Add adds another bin of the same scores.
func (b *Bin) Add(o Bin) {
	b.N, b.Positives, b.ScoreSum, b.SquaredSum = b.N+o.N, b.Positives+o.Positives, b.ScoreSum+o.ScoreSum, b.SquaredSum+o.SquaredSum
}

// Index returns which of n right-closed bins of equal width over 0..1 a score
// falls into; 0 belongs to the first.
func Index(p float64, n int) int { return min(n-1, max(0, int(math.Ceil(p*float64(n)))-1)) }

// Count puts scores and truths into n bins of equal width.
// Errors: [ErrEmpty]; [ErrBins] when the lengths differ or n < 1; [ErrScore].
func Count[F float32 | float64](scores []F, truth []bool, n int) ([]Bin, error) {
	if len(scores) != len(truth) || n < 1 {
		return nil, ErrBins
	}
	if len(scores) == 0 {
		return nil, ErrEmpty
	}
	bins := make([]Bin, n)
	for i, s := range scores {
		p := float64(s)
		if !(p >= 0 && p <= 1) {
			return nil, ErrScore
		}
		b := &bins[Index(p, n)]
		y := 0.0
		if truth[i] {
			y = 1
			b.Positives++
		}
		b.N++
		b.ScoreSum += int64(math.Round(p * Micro))
		b.SquaredSum += int64(math.Round((p - y) * (p - y) * Micro))
	}
	return bins, nil
}

// A Report is the calibration of one model on one set of rows.
type Report struct {
	N     int64
	ECE   float64 // Σ n_b/n·gap_b, gap_b = |mean y - mean p|
	RMSCE float64 // sqrt(Σ n_b/n·gap_b²)
	MCE   float64 // greatest gap_b
	Brier float64 // mean (p-y)²
	Curve []Point // of the bins that are not empty
}

// A Point of the calibration curve.
type Point struct {
	N           int64
	Score, Rate float64 // mean score, share of positives
}

// Judge computes the report of bins.
// Errors: [ErrEmpty] when no bin has a row; [ErrBins] for counts that no rows
// can have.
// Source: Naeini, Cooper, Hauskrecht, AAAI 2015; Guo et al., ICML 2017
// (arXiv:1706.04599); Brier, Monthly Weather Review 78 (1950).
func Judge(bins []Bin) (Report, error) {
	var r Report
	var brier int64
	for _, b := range bins {
		if b.N < 0 || b.Positives < 0 || b.Positives > b.N || b.ScoreSum < 0 || b.SquaredSum < 0 || b.ScoreSum > b.N*Micro || b.SquaredSum > b.N*Micro {
			return Report{}, ErrBins
		}
		r.N += b.N
		brier += b.SquaredSum
	}
	if r.N == 0 {
		return Report{}, ErrEmpty
	}
	n := float64(r.N)
	for _, b := range bins {
		if b.N == 0 {
			continue
		}
		m := float64(b.N)
		r.point(Point{N: b.N, Score: float64(b.ScoreSum) / Micro / m, Rate: float64(b.Positives) / m}, n)
	}
	r.RMSCE = math.Sqrt(r.RMSCE)
	r.Brier = float64(brier) / Micro / n
	return r, nil
}

func (r *Report) point(p Point, n float64) {
	gap, share := math.Abs(p.Rate-p.Score), float64(p.N)/n
	r.Curve = append(r.Curve, p)
	r.ECE += share * gap
	r.RMSCE += share * gap * gap
	r.MCE = max(r.MCE, gap)
}

// EqualMass is [Judge] over n bins of as equally many rows as ties allow, and
// with the Brier score of the scores as they are: rows are ranked by score, cut
// at multiples of len/n, and equal scores are kept together in the earlier bin.
// Errors: those of [Count].
func EqualMass(scores []float64, truth []bool, n int) (Report, error) {
	if len(scores) != len(truth) || n < 1 {
		return Report{}, ErrBins
	}
	if len(scores) == 0 {
		return Report{}, ErrEmpty
	}
	order := make([]int, len(scores))
	for i, p := range scores {
		if !(p >= 0 && p <= 1) {
			return Report{}, ErrScore
		}
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case scores[a] < scores[b]:
			return -1
		case scores[a] > scores[b]:
			return 1
		}
		return 0
	})
	r := Report{N: int64(len(scores))}
	for first, bin := 0, 1; first < len(order); bin++ {
		end := bin * len(order) / n
		if bin >= n {
			end = len(order)
		}
		if end <= first {
			continue
		}
		for end < len(order) && scores[order[end]] == scores[order[end-1]] {
			end++
		}
		var sum, hits float64
		for _, i := range order[first:end] {
			sum += scores[i]
			if truth[i] {
				hits++
			}
		}
		m := float64(end - first)
		r.point(Point{N: int64(end - first), Score: sum / m, Rate: hits / m}, float64(r.N))
		first = end
	}
	r.RMSCE = math.Sqrt(r.RMSCE)
	r.Brier, _ = Brier(scores, truth) // checked above
	return r, nil
}

// Brier is mean (p-y)².
// Errors: [ErrEmpty], [ErrBins] when the lengths differ, [ErrScore].
func Brier(scores []float64, truth []bool) (float64, error) {
	if len(scores) != len(truth) {
		return 0, ErrBins
	}
	if len(scores) == 0 {
		return 0, ErrEmpty
	}
	var sum float64
	for i, p := range scores {
		if !(p >= 0 && p <= 1) {
			return 0, ErrScore
		}
		if truth[i] {
			p = 1 - p
		}
		sum += p * p
	}
	return sum / float64(len(scores)), nil
}
