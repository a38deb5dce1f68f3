package canary_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/canary"
)

// A world is what the simulated callers meet: errors of a rate, and latencies
// that are exponential or, with a Sigma, log-normal, of a mean.
type world struct {
	errors, latency float64
	sigma           float64
}

// A trial is a canary that is simulated many times.
type trial struct {
	name            string
	control, canary world
	sides           [2]int // answers of control and canary between two looks
	design          canary.Design
	steps           int
}

// A record is what came of it.
type record struct {
	alarms  int   // ended with a failure
	looks   []int // until then
	samples []int // answers of the canary until then
	passed  int   // would have passed at the last look
	naive   int   // a z-test at each look would have failed it
}

const (
	canaries = 10_000
	looks    = 50
)

func (w world) answer(r *rand.Rand, m *canary.Measure) {
	m.Answers++
	if r.Float64() < w.errors {
		m.Errors++
		return
	}
	x := w.latency
	if w.sigma > 0 {
		x *= math.Exp(w.sigma*r.NormFloat64() - w.sigma*w.sigma/2)
	} else {
		x *= r.ExpFloat64()
	}
	m.Sum += x
	m.Squares += x * x
}

// run simulates. The seed is the trial's alone, so that it can be run again.
func (tt trial) run(seed uint64, times int) record {
	var out record
	r := rand.New(rand.NewPCG(seed, 2026))
	for range times {
		var a, b canary.Measure
		var last canary.Verdict
		naive := false
		for look := 1; look <= looks; look++ {
			for range tt.sides[0] {
				tt.control.answer(r, &a)
			}
			for range tt.sides[1] {
				tt.canary.answer(r, &b)
			}
			seen := canary.Judge(tt.design, tt.steps, canary.Step{Number: 1, Region: "eu", ShareBP: 100}, a, b)
			last = seen.Verdict
			if f := seen.Findings[0]; !naive && f.Canary.N > 0 {
				sd := math.Sqrt(f.Control.Variance/float64(f.Control.N) + f.Canary.Variance/float64(f.Canary.N))
				naive = f.Estimate-f.Margin > 1.6449*sd
			}
			if last == canary.Fail {
				out.alarms++
				out.looks = append(out.looks, look)
				out.samples = append(out.samples, int(b.Answers))
				break
			}
		}
		if last == canary.Pass {
			out.passed++
		}
		if naive {
			out.naive++
		}
	}
	return out
}

func middle(x []int) int {
	if len(x) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(x))
	return s[len(s)/2]
}

// strict is a design in which any harm at all is too much, so that no effect is
// the hardest case of none: the margins are next to nothing.
func strict() canary.Design {
	d := canary.Default("simulated")
	d.Guardrails = []canary.Guardrail{{Metric: canary.Errors, Scale: canary.Absolute, MarginBP: 1}, {Metric: canary.Latency, Scale: canary.Relative, MarginBP: 1}}
	return d
}

func trials() (quiet, harmful []trial) {
	even, tenth, few := [2]int{100, 100}, [2]int{900, 100}, [2]int{990, 10}
	base, heavy := world{.02, 50, 0}, world{.02, 50, 1}
	d := canary.Default("simulated")
	quiet = []trial{
		{"no effect, margins next to nothing", base, base, even, strict(), 1},
		{"the same, log-normal latency (sigma 1)", heavy, heavy, even, strict(), 1},
		{"no effect, 1 % of the traffic, margins next to nothing", base, base, few, strict(), 1},
		{"harm of exactly the margins", base, world{.04, 60, 0}, even, d, 1},
		{"no effect, default margins", base, base, even, d, 1},
		{"no effect, default margins, the level of one step of 12", base, base, tenth, d, 12},
	}
	harmful = []trial{
		{"errors 2 % -> 8 %", base, world{.08, 50, 0}, even, d, 1},
		{"errors 2 % -> 8 %, 10 % of the traffic, one step of 12", base, world{.08, 50, 0}, tenth, d, 12},
		{"errors 2 % -> 30 %, 1 % of the traffic, one step of 12", base, world{.30, 50, 0}, few, d, 12},
		{"latency + 50 %", base, world{.02, 75, 0}, even, d, 1},
		{"latency + 50 %, log-normal (sigma 1), one step of 12", heavy, world{.02, 75, 1}, tenth, d, 12},
		{"latency doubled, 1 % of the traffic, one step of 12", base, world{.02, 100, 0}, few, d, 12},
	}
	return quiet, harmful
}

// Looking 50 times costs nothing: of 10,000 canaries that are as good as what
// serves, at most one in twenty is ever taken back by mistake, although a test
// that does not know of the looks takes back several times as many. And what
// is worse is found.
func TestTenThousandCanaries(t *testing.T) {
	quiet, harmful := trials()
	const seed = 1
	none := quiet[0].run(seed, canaries)
	t.Logf("no effect: %d false alarms of %d, by a z-test %d", none.alarms, canaries, none.naive)
	require.LessOrEqual(t, none.alarms, canaries/20, "seed %d", seed)
	require.Greater(t, none.naive, canaries/10, "the simulation would show peeking; seed %d", seed)

	edge := quiet[3].run(seed, canaries/10)
	require.LessOrEqual(t, edge.alarms, canaries/10/20, "harm of exactly the margin is none; seed %d", seed)

	worse := harmful[0].run(seed, canaries)
	t.Logf("errors of 8 %% instead of 2 %%: %d caught, median look %d, %d answers", worse.alarms, middle(worse.looks), middle(worse.samples))
	require.Equal(t, canaries, worse.alarms, "seed %d", seed)
	require.LessOrEqual(t, middle(worse.looks), 15, "seed %d", seed)

	slow := harmful[5].run(seed, canaries/10)
	t.Logf("twice the latency of 1 %% of the traffic: %d of %d caught, median look %d, %d answers", slow.alarms, canaries/10, middle(slow.looks), middle(slow.samples))
	require.GreaterOrEqual(t, slow.alarms, canaries/10*99/100, "seed %d", seed)

	if os.Getenv("FABRIC_BENCH") == "1" {
		write(t, quiet, harmful, seed)
	}
}

// write puts the table of all trials where figures are kept.
func write(t *testing.T, quiet, harmful []trial, seed uint64) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "# Canaries, simulated\n\n%d canaries a row, %d looks each, seed %d. The level is 5 %% over all looks and both metrics; in \"one step of 12\" it is a\n"+
		"twelfth of that, as in a rollout over three regions. Margins unless said: 2 percentage points of errors, 20 %% of the mean latency.\n"+
		"The naive column is a one-sided z-test at 5 %% on the errors alone, asked at every look until the look at which the sequence ended.\n\n"+
		"- command: `FABRIC_BENCH=1 go test -count=1 -run TestTenThousandCanaries -timeout 30m ./domain/canary`\n\n"+
		"| no harm beyond the margins | answers a look, control + canary | false alarms | by the naive test | pass at the last look |\n|---|---|---|---|---|\n",
		canaries, looks, seed)
	percent := func(n int) string { return fmt.Sprintf("%.2f %%", 100*float64(n)/canaries) }
	for _, tt := range quiet {
		r := tt.run(seed, canaries)
		fmt.Fprintf(&b, "| %s | %d + %d | %s | %s | %s |\n", tt.name, tt.sides[0], tt.sides[1], percent(r.alarms), percent(r.naive), percent(r.passed))
	}
	fmt.Fprintf(&b, "\n| regression | answers a look, control + canary | caught | median look | median answers of the canary |\n|---|---|---|---|---|\n")
	for _, tt := range harmful {
		r := tt.run(seed, canaries)
		fmt.Fprintf(&b, "| %s | %d + %d | %s | %d | %d |\n", tt.name, tt.sides[0], tt.sides[1], percent(r.alarms), middle(r.looks), middle(r.samples))
	}
	require.NoError(t, os.WriteFile("../../reports/bench/canary.md", []byte(b.String()), 0o644))
}
