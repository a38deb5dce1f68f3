package canary_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/canary"
)

// measure has n answers, of which so many failed, and latencies of this mean
// and standard deviation.
func measure(n, errors int64, mean, sd float64) canary.Measure {
	m := float64(n - errors)
	return canary.Measure{Answers: n, Errors: errors, Sum: m * mean, Squares: max(0, m-1)*sd*sd + m*mean*mean}
}

func TestJudge(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	same := measure(5000, 50, 40, 20)
	broken := func(m canary.Measure, sum, squares float64) canary.Measure { m.Sum, m.Squares = sum, squares; return m }
	tests := []struct {
		name    string
		control canary.Measure
		canary  canary.Measure
		want    canary.Verdict
		errors  canary.Verdict
		latency canary.Verdict
	}{
		{"the same on both sides", same, same, canary.Pass, canary.Pass, canary.Pass},
		{"a little worse in both, within the margins", same, measure(5000, 60, 42, 20), canary.Pass, canary.Pass, canary.Pass},
		{"better", same, measure(5000, 5, 20, 10), canary.Pass, canary.Pass, canary.Pass},
		{"far more errors", same, measure(5000, 500, 40, 20), canary.Fail, canary.Fail, canary.Pass},
		{"far slower", same, measure(5000, 50, 80, 40), canary.Fail, canary.Pass, canary.Fail},
		{"all errors, of the fewest answers", same, measure(30, 30, 40, 20), canary.Fail, canary.Fail, canary.NoData},
		{"all errors, of fewer", same, measure(29, 29, 40, 20), canary.NoData, canary.NoData, canary.NoData},
		{"too few answers to pass", same, measure(499, 5, 40, 20), canary.NoData, canary.NoData, canary.NoData},
		{"too few answers of what serves", measure(499, 5, 40, 20), same, canary.NoData, canary.NoData, canary.NoData},
		{"at the margin", same, measure(600, 18, 48, 20), canary.Inconclusive, canary.Inconclusive, canary.Inconclusive},
		{"nothing of the canary", same, canary.Measure{}, canary.NoData, canary.NoData, canary.NoData},
		{"nothing at all", canary.Measure{}, canary.Measure{}, canary.NoData, canary.NoData, canary.NoData},
		{"a latency that is no number", same, broken(same, nan, nan), canary.NoData, canary.Pass, canary.NoData},
		{"squares that are no number", same, broken(same, same.Sum, nan), canary.NoData, canary.Pass, canary.NoData},
		{"an endless latency", same, broken(same, inf, inf), canary.NoData, canary.Pass, canary.NoData},
		{"a latency that is no number where it serves", broken(same, nan, nan), same, canary.NoData, canary.Pass, canary.NoData},
		{"a baseline of zero", broken(same, 0, 0), same, canary.NoData, canary.Pass, canary.NoData},
		{"more errors than answers", same, measure(5000, 5001, 40, 20), canary.NoData, canary.NoData, canary.NoData},
		{"no error on either side", measure(600, 0, 40, 20), measure(600, 0, 40, 20), canary.Pass, canary.Pass, canary.Pass},
		{"a failure beside a metric that stopped", same, broken(measure(5000, 500, 40, 20), nan, nan), canary.Fail, canary.Fail, canary.NoData},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := canary.Default("r")
			look := canary.Judge(d, d.Judged(1), canary.Step{Number: 1, Region: "eu", ShareBP: 100}, tt.control, tt.canary)
			require.Equal(t, tt.want, look.Verdict)
			require.Equal(t, tt.errors, look.Findings[0].Verdict, "errors: %+v", look.Findings[0])
			require.Equal(t, tt.latency, look.Findings[1].Verdict, "latency: %+v", look.Findings[1])
			for _, f := range look.Findings {
				require.Equal(t, f.Verdict == canary.NoData, f.Reason != "", "what has no data says why")
				require.InDelta(t, .05/8, f.Level, 1e-12, "4 steps of 2 guardrails share the level")
			}
			if !math.IsNaN(tt.canary.Sum) && !math.IsInf(tt.canary.Sum, 0) && !math.IsNaN(tt.canary.Squares) && !math.IsNaN(tt.control.Sum) {
				_, err := json.Marshal(look)
				require.NoError(t, err, "evidence is JSON")
			}
		})
	}
}

func TestTheSecondOpinion(t *testing.T) {
	latency := canary.Guardrail{Metric: canary.Latency, Scale: canary.Relative, MarginBP: 1000}
	rising := func(n int, from float64) []float64 {
		x := make([]float64, n)
		for i := range x {
			x[i] = from + float64(i%5)
		}
		return x
	}
	tests := []struct {
		name            string
		control, canary []float64
		want            string
	}{
		{"the same", rising(20, 100), rising(20, 100), canary.Neither},
		{"slower within the margin", rising(20, 100), rising(20, 106), canary.Neither},
		{"slower beyond it", rising(20, 100), rising(20, 130), canary.High},
		{"faster", rising(20, 130), rising(20, 100), canary.Low},
		{"too few points", rising(4, 100), rising(20, 200), canary.Unknown},
		{"a point that is no number", rising(20, 100), append(rising(20, 200), math.NaN()), canary.Unknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := canary.Second(latency, tt.control, tt.canary)
			require.Equal(t, tt.want, o.Says, "%+v", o)
			look := canary.Look{Verdict: canary.Pass}
			look.Join(o)
			require.Equal(t, tt.want == canary.High, look.Verdict == canary.Inconclusive, "a dissent asks a person")
			failed := canary.Look{Verdict: canary.Fail}
			failed.Join(o)
			require.Equal(t, canary.Fail, failed.Verdict, "it saves nobody")
		})
	}
}

// Kayenta's own bound is a part of the shift, which hides no harm and excuses
// none: its rule is kept for comparison.
func TestClassifyIsKayentas(t *testing.T) {
	require.Equal(t, canary.High, canary.Classify(.3, .9, .2))
	require.Equal(t, canary.Neither, canary.Classify(.1, .9, .2))
	require.Equal(t, canary.Low, canary.Classify(-.9, -.3, .2))
	require.Equal(t, canary.Neither, canary.Classify(-.9, -.2, .2))
	require.Equal(t, canary.Neither, canary.Classify(.2, .9, .2), "on the bound is within it")
}

func TestWorst(t *testing.T) {
	tests := []struct {
		in   []canary.Verdict
		want canary.Verdict
	}{
		{nil, canary.NoData},
		{[]canary.Verdict{canary.Pass}, canary.Pass},
		{[]canary.Verdict{canary.Pass, canary.Inconclusive}, canary.Inconclusive},
		{[]canary.Verdict{canary.Inconclusive, canary.NoData}, canary.NoData},
		{[]canary.Verdict{canary.NoData, canary.Fail, canary.Pass}, canary.Fail},
		{[]canary.Verdict{canary.Pass, ""}, canary.NoData},
		{[]canary.Verdict{canary.Pass, "maybe"}, canary.NoData},
	}
	for _, tt := range tests {
		require.Equal(t, tt.want, canary.Worst(tt.in...), "%v", tt.in)
	}
}
