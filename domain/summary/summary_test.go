package summary_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/summary"
)

// asks is a question at ε about columns between -1 and 1, and 0 and 10.
func asks(t testing.TB, epsilon float64, sites ...string) summary.Question {
	t.Helper()
	if len(sites) == 0 {
		sites = []string{"north"}
	}
	q, err := summary.Question{
		Tenant: "clinic", Feature: "cells", Version: 1, Bins: 16, Epsilon: epsilon, Delta: 1e-5, Sites: sites, Epoch: 1,
		Columns: []summary.Column{{Name: "a", Low: -1, High: 1}, {Name: "b", Low: 0, High: 10}},
	}.Noised()
	require.NoError(t, err)
	return q
}

func stream(seed uint64) *dp.Stream {
	var s dp.Seed
	for i := range 8 {
		s[i] = byte(seed >> (8 * i))
	}
	return dp.NewStreamAt(dp.Derive(s, "summary"), 0, 0)
}

func count(t testing.TB, q summary.Question, site string, rows [][]float64, seed uint64) summary.Answer {
	t.Helper()
	a, err := summary.Count(q, site, rows, []int{0, 1}, stream(seed))
	require.NoError(t, err)
	return a
}

func gauss(n int, seed uint64) [][]float64 {
	random := rand.New(rand.NewPCG(seed, 1))
	rows := make([][]float64, n)
	for i := range rows {
		rows[i] = []float64{0.3*random.NormFloat64() + 0.1, 10 * random.Float64() * random.Float64()}
	}
	return rows
}

// The noise of a question is what its epsilon needs and no less: the charge, by
// both accountants of the ledger, is at most epsilon, and a little less noise is
// refused. ε = 1 at δ = 1e-5 needs z = 3.7303 (Balle and Wang 2018, algorithm 1,
// as computed by their published code), RDP a little more.
func TestNoiseIsWhatEpsilonNeeds(t *testing.T) {
	for _, epsilon := range []float64{0.001, 0.1, 1, 10, 100} {
		q := asks(t, epsilon)
		require.NoError(t, q.Validate(), epsilon)
		charge, err := dp.Epsilon([]dp.Event{q.Event()}, q.Delta)
		require.NoError(t, err)
		require.LessOrEqual(t, charge.Epsilon, epsilon)
		require.Greater(t, charge.Epsilon, epsilon*0.999)
		q.NoiseMultiplier *= 0.999
		require.ErrorIs(t, q.Validate(), summary.ErrNoise, epsilon)
	}
	require.InDelta(t, 3.7303, asks(t, 1).NoiseMultiplier, 0.5)
	require.GreaterOrEqual(t, asks(t, 1).NoiseMultiplier, 3.7303)
}

// One row more moves the exact answer by no more than the noise was made for:
// Σ (Δ_i/σ_i)² ≤ 1/z², for any row, whatever the numbers in it. This is what
// makes the answer the Gaussian mechanism that is charged.
func TestOneRowIsWithinTheSensitivity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := asks(testingOf(t), rapid.Float64Range(0.01, 50).Draw(t, "epsilon"))
		number := rapid.OneOf(rapid.Float64(), rapid.Float64Range(-12, 12), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 1, 10, math.MaxFloat64}))
		rows := make([][]float64, rapid.IntRange(0, 5).Draw(t, "rows"))
		for i := range rows {
			rows[i] = []float64{number.Draw(t, "a"), number.Draw(t, "b")}
		}
		more := append(slices.Clone(rows), []float64{number.Draw(t, "more a"), number.Draw(t, "more b")})
		// The same noise on both: it cancels, and what is left is exact.
		one, other := count(testingOf(t), q, "north", rows, 7), count(testingOf(t), q, "north", more, 7)
		sigma := q.Stddev()
		square := sq(float64(other.Count-one.Count) / sigma)
		for c := range q.Columns {
			square += sq(float64(other.Columns[c].Sum-one.Columns[c].Sum) / (sigma * (1 << 20)))
			square += sq(float64(other.Columns[c].Squares-one.Columns[c].Squares) / (sigma * (1 << 20)))
			for b := range other.Columns[c].Bins {
				square += sq(float64(other.Columns[c].Bins[b]-one.Columns[c].Bins[b]) / sigma)
			}
		}
		require.LessOrEqual(t, square, 1/sq(q.NoiseMultiplier))
		require.EqualValues(t, 1, other.Count-one.Count)
	})
}

func sq(x float64) float64 { return x * x }

// testingOf lends rapid's test to helpers.
func testingOf(t *rapid.T) testing.TB { return wrapped{rapidT: t} }

type wrapped struct {
	testing.TB
	rapidT *rapid.T
}

func (w wrapped) Helper()                           {}
func (w wrapped) Errorf(format string, args ...any) { w.rapidT.Errorf(format, args...) }
func (w wrapped) FailNow()                          { w.rapidT.FailNow() }

// The released mechanism is held to its stated guarantee by what it puts out:
// for the worst pair of neighbours, an empty table and one with a row at a
// corner, the privacy loss of every released number is measured over many
// draws. For the Gaussian mechanism of the charge, the likelihood ratio
//
//	L = Σ_i (2·x_i·Δ_i - Δ_i²)/2σ_i²
//
// on neighbour 1 exceeds ε with probability at most δ(ε) + e^ε·Pr_0[L > ε]:
// compared at several ε with the analytic curve, in both directions. Noise that
// is a tenth too small fails: the last line says so of this test itself.
func TestTheReleaseKeepsItsGuarantee(t *testing.T) {
	const draws = 6_000
	q := asks(t, 10)
	row := [][]float64{{1, 10}}
	delta := differences(q, count(t, q, "north", row, 1), count(t, q, "north", nil, 1))
	var drawn [2][][]float64 // on each neighbour
	for i := range draws {
		for side, rows := range [][][]float64{nil, row} {
			drawn[side] = append(drawn[side], values(q, count(t, q, "north", rows, uint64(100+2*i+side))))
		}
	}
	// excess is by how much the most telling of the events [loss > ε] is above the
	// curve, in units of four standard deviations, were the noise shrunk.
	excess := func(shrink float64) (worst float64) {
		for _, e := range []float64{0, 0.5, 1, 2, 4} {
			var share [2]float64
			for side := range drawn {
				for _, x := range drawn[side] {
					loss := 0.0
					for k, d := range delta {
						own := float64(side) * d.size
						loss += (2*(own+(x[k]-own)*shrink)*d.size - d.size*d.size) / (2 * d.sigma * d.sigma)
					}
					if loss > e {
						share[side] += 1.0 / draws
					}
				}
			}
			measured := share[1] - math.Exp(e)*share[0]
			spread := math.Sqrt((share[1]*(1-share[1]) + math.Exp(2*e)*share[0]*(1-share[0])) / draws)
			worst = max(worst, (measured-dp.GaussianDelta(1/q.NoiseMultiplier, e))/(4*spread))
		}
		return worst
	}
	require.LessOrEqual(t, excess(1), 1.0)
	require.Greater(t, excess(0.9), 1.0, "a tenth less noise must be seen")
}

// A shift is what a row adds to one number, and the noise of that number.
type shift struct{ size, sigma float64 }

func differences(q summary.Question, a, b summary.Answer) []shift {
	x, y := values(q, a), values(q, b)
	sigmas := []float64{q.Stddev()}
	for range q.Columns {
		sigmas = append(sigmas, q.Stddev()*(1<<20), q.Stddev()*(1<<20))
		for range q.Bins {
			sigmas = append(sigmas, q.Stddev())
		}
	}
	out := make([]shift, len(x))
	for i := range out {
		out[i] = shift{x[i] - y[i], sigmas[i]}
	}
	return out
}

func values(q summary.Question, a summary.Answer) []float64 {
	out := []float64{float64(a.Count)}
	for c := range q.Columns {
		s := a.Columns[c]
		out = append(out, float64(s.Sum), float64(s.Squares))
		for _, n := range s.Bins {
			out = append(out, float64(n))
		}
	}
	return out
}

// The drawn noise has the standard deviation that is stated, of every number.
func TestNoiseHasItsStatedSize(t *testing.T) {
	const draws = 2000
	q := asks(t, 1)
	squares := make([]float64, 1+2*(2+q.Bins))
	for i := range draws {
		for k, x := range values(q, count(t, q, "north", nil, uint64(i))) {
			squares[k] += x * x
		}
	}
	want := differences(q, count(t, q, "north", nil, 0), count(t, q, "north", nil, 0))
	for k, s := range squares {
		// the relative spread of a variance over n draws is √(2/n): five of them
		require.InDelta(t, 1, s/draws/sq(want[k].sigma), 5*math.Sqrt(2.0/draws), "number %d", k)
	}
}

// The intervals hold the exact figures as often as they say, over the noise: by
// 400 draws for each of three sizes, one site and three. A figure that misses
// more than five standard deviations of a count below its level is a fault.
func TestIntervalsHoldTheFiguresAsOftenAsTheySay(t *testing.T) {
	const draws = 400
	for _, tt := range []struct {
		rows    int
		epsilon float64
		sites   []string
	}{
		{2000, 1, []string{"north"}},
		{400, 4, []string{"north"}},
		{5000, 0.8, []string{"east", "north", "west"}},
	} {
		t.Run(fmt.Sprintf("%d rows at %g, %d sites", tt.rows, tt.epsilon, len(tt.sites)), func(t *testing.T) {
			q := asks(t, tt.epsilon, tt.sites...)
			rows := gauss(tt.rows, 3)
			want := exactly(q, rows)
			held := map[string]int{}
			for i := range draws {
				var answers []summary.Answer
				for s, site := range tt.sites {
					part := rows[s*len(rows)/len(tt.sites) : (s+1)*len(rows)/len(tt.sites)]
					answers = append(answers, count(t, q, site, part, uint64(i*10+s)))
				}
				r, err := summary.Publish(q, answers)
				require.NoError(t, err)
				require.Equal(t, summary.Published, r.Status, r.Reason)
				check := func(name string, low, high float64) {
					if low <= want[name]+1e-9 && want[name] <= high+1e-9 {
						held[name]++
					}
				}
				check("count", r.Count.Low, r.Count.High)
				for _, c := range r.Columns {
					require.True(t, c.Mean.Low <= c.Mean.Value && c.Mean.Value <= c.Mean.High)
					check(c.Name+" mean", c.Mean.Low, c.Mean.High)
					check(c.Name+" variance", c.Variance.Low, c.Variance.High)
					for _, p := range c.Quantiles {
						require.True(t, p.Low <= p.Value && p.Value <= p.High, "%+v", p)
						check(fmt.Sprintf("%s p%g", c.Name, p.Share), p.Low, p.High)
					}
				}
			}
			least := summary.Level*draws - 5*math.Sqrt(draws*summary.Level*(1-summary.Level))
			for name := range want {
				require.GreaterOrEqual(t, float64(held[name]), least, "%s is held %d times in %d", name, held[name], draws)
			}
			// and not by being endless: the mean of a is known to a part of its bounds
			require.Less(t, float64(held["a mean"]), float64(draws), "an interval that never misses says too little")
		})
	}
}

// exactly is what the figures are about, computed another way.
func exactly(q summary.Question, rows [][]float64) map[string]float64 {
	out := map[string]float64{"count": float64(len(rows))}
	for c, column := range q.Columns {
		var x []float64
		sum := 0.0
		for _, row := range rows {
			v := max(column.Low, min(column.High, row[c]))
			x, sum = append(x, v), sum+v
		}
		mean := sum / float64(len(x))
		square := 0.0
		for _, v := range x {
			square += sq(v - mean)
		}
		out[column.Name+" mean"], out[column.Name+" variance"] = mean, square/float64(len(x))
		slices.Sort(x)
		for _, p := range []float64{0.05, 0.25, 0.5, 0.75, 0.95} {
			out[fmt.Sprintf("%s p%g", column.Name, p)] = x[int(math.Ceil(p*float64(len(x))))-1]
		}
	}
	return out
}

func TestPublishRefuses(t *testing.T) {
	q := asks(t, 1, "north", "south")
	good := count(t, q, "north", gauss(1000, 1), 1)
	few, err := summary.Refuse(q, "south", summary.FewRows)
	require.NoError(t, err)

	_, err = summary.Publish(q, nil)
	require.ErrorIs(t, err, summary.ErrNobody)
	_, err = summary.Publish(q, []summary.Answer{few})
	require.ErrorIs(t, err, summary.ErrNobody)
	require.ErrorContains(t, summary.Explain(err, []summary.Answer{few}, 2), "south has fewer rows than its operator asks for; 1 of 2 did not answer in time")

	r, err := summary.Publish(q, []summary.Answer{good, few})
	require.NoError(t, err)
	require.Equal(t, 1, r.SitesAnswered)
	require.Equal(t, 2, r.SitesAsked)

	small, err := summary.Publish(q, []summary.Answer{count(t, q, "north", gauss(30, 1), 1)})
	require.NoError(t, err)
	require.Equal(t, summary.Insufficient, small.Status)
	require.Empty(t, small.Columns, "nothing but the noised count is told of a small group")
	require.Contains(t, small.Reason, "register a version")

	for name, change := range map[string]func(*summary.Answer){
		"another question":   func(a *summary.Answer) { a.Question = artifact.DigestOf(nil) },
		"another tenant":     func(a *summary.Answer) { a.Tenant = "other" },
		"nobody asked":       func(a *summary.Answer) { a.Site = "west" },
		"a column less":      func(a *summary.Answer) { a.Columns = a.Columns[:1] },
		"a bin less":         func(a *summary.Answer) { a.Columns[0].Bins = a.Columns[0].Bins[1:] },
		"a number too large": func(a *summary.Answer) { a.Columns[1].Sum = 1<<53 + 1 },
		"an unknown refusal": func(a *summary.Answer) { *a = few; a.Refused = "tired" },
		"numbers and a no":   func(a *summary.Answer) { a.Refused = summary.NoColumns },
	} {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(good)
			require.NoError(t, err)
			var a summary.Answer
			require.NoError(t, json.Unmarshal(text, &a))
			change(&a)
			_, err = summary.Publish(q, []summary.Answer{a})
			require.ErrorIs(t, err, summary.ErrAnswer)
		})
	}
}

func TestQuestionRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*summary.Question)
		want   error
	}{
		"no tenant":             {func(q *summary.Question) { q.Tenant = "" }, summary.ErrQuestion},
		"no sites":              {func(q *summary.Question) { q.Sites = nil }, summary.ErrQuestion},
		"no version":            {func(q *summary.Question) { q.Version = 0 }, summary.ErrQuestion},
		"no columns":            {func(q *summary.Question) { q.Columns = nil }, summary.ErrColumns},
		"a column twice":        {func(q *summary.Question) { q.Columns[1].Name = "a" }, summary.ErrColumns},
		"no bounds":             {func(q *summary.Question) { q.Columns[1].High = 0 }, summary.ErrBounds},
		"too few bins":          {func(q *summary.Question) { q.Bins = 3 }, summary.ErrBins},
		"too many bins":         {func(q *summary.Question) { q.Bins = 257 }, summary.ErrBins},
		"no epsilon":            {func(q *summary.Question) { q.Epsilon = 0 }, summary.ErrEpsilon},
		"an epsilon that is no": {func(q *summary.Question) { q.Epsilon = math.NaN() }, summary.ErrEpsilon},
		"no delta":              {func(q *summary.Question) { q.Delta = 0 }, summary.ErrEpsilon},
		"no noise":              {func(q *summary.Question) { q.NoiseMultiplier = 0 }, summary.ErrNoise},
		"a smaller epsilon":     {func(q *summary.Question) { q.Epsilon = 0.9 }, summary.ErrNoise},
	} {
		t.Run(name, func(t *testing.T) {
			q := asks(t, 1)
			tt.change(&q)
			require.ErrorIs(t, q.Validate(), tt.want)
			_, err := summary.Count(q, "north", nil, []int{0, 1}, stream(1))
			require.ErrorIs(t, err, tt.want, "no row is looked at")
		})
	}
}
