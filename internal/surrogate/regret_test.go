package surrogate_test

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/tuning"
	"github.com/atom-fabric/fabric/internal/surrogate"
)

// Test functions with their spaces and optima. Source of the formulas and
// optima: Surjanovic and Bingham, Virtual Library of Simulation Experiments,
// as pytorch/botorch@005fd569 botorch/test_functions/synthetic.py has them.
type function struct {
	name  string
	space tuning.Space
	at    func(tuning.Point) float64
	least float64
}

func branin(p tuning.Point) float64 {
	x, y := p[0], p[1]
	return square(y-5.1*x*x/(4*math.Pi*math.Pi)+5*x/math.Pi-6) + 10*(1-1/(8*math.Pi))*math.Cos(x) + 10
}

func hartmann6(p tuning.Point) float64 {
	alpha := [4]float64{1, 1.2, 3, 3.2}
	a := [4][6]float64{{10, 3, 17, 3.5, 1.7, 8}, {0.05, 10, 17, 0.1, 8, 14}, {3, 3.5, 1.7, 10, 17, 8}, {17, 8, 0.05, 10, 0.1, 14}}
	c := [4][6]float64{{1312, 1696, 5569, 124, 8283, 5886}, {2329, 4135, 8307, 3736, 1004, 9991}, {2348, 1451, 3522, 2883, 3047, 6650}, {4047, 8828, 8732, 5743, 1091, 381}}
	sum := 0.0
	for i := range alpha {
		r := 0.0
		for j := range p {
			r += a[i][j] * square(p[j]-1e-4*c[i][j])
		}
		sum -= alpha[i] * math.Exp(-r)
	}
	return sum
}

func functions() []function {
	unit := make(tuning.Space, 6)
	for i := range unit {
		unit[i] = tuning.Dimension{Name: fmt.Sprint("x", i), Kind: tuning.Double, Low: 0, High: 1}
	}
	return []function{
		{"Branin", tuning.Space{{Name: "x", Kind: tuning.Double, Low: -5, High: 10}, {Name: "y", Kind: tuning.Double, Low: 0, High: 15}}, branin, 0.397887},
		{"Hartmann6", unit, hartmann6, -3.32237},
	}
}

func TestFunctionsHaveTheirPublishedOptima(t *testing.T) {
	for _, p := range []tuning.Point{{-math.Pi, 12.275}, {math.Pi, 2.275}, {9.42478, 2.475}} {
		require.InDelta(t, 0.397887, branin(p), 1e-4)
	}
	require.InDelta(t, -3.32237, hartmann6(tuning.Point{0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573}), 1e-4)
}

// regrets returns the simple regret of the best trial after each of marks.
func regrets(t testing.TB, f function, seed uint64, marks []int) []float64 {
	study := tuning.Study{Space: f.space, Metric: "value", Goal: tuning.Minimize, Trials: slices.Max(marks), Parallel: 1, Repeats: 1, Seed: seed}
	var trials []tuning.Trial
	var out []float64
	for len(trials) < study.Trials {
		p, err := surrogate.Suggest(study, trials)
		require.NoError(t, err, "seed %d", seed)
		trials = append(trials, tuning.Trial{Number: len(trials) + 1, Point: p, State: tuning.Succeeded, Values: []float64{f.at(p)}})
		if slices.Contains(marks, len(trials)) {
			best, found := study.Best(trials)
			require.True(t, found)
			out = append(out, best.Values[0]-f.least)
		}
	}
	return out
}

// sweep runs seeds 1..n on both cores and returns the median at each mark.
func sweep(t testing.TB, f function, n int, marks []int) []float64 {
	all := make([][]float64, n)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 2)
	for i := range all {
		wg.Go(func() {
			slots <- struct{}{}
			all[i] = regrets(t, f, uint64(i+1), marks)
			<-slots
		})
	}
	wg.Wait()
	out := make([]float64, len(marks))
	for m := range marks {
		var at []float64
		for _, r := range all {
			at = append(at, r[m])
		}
		slices.Sort(at)
		out[m] = (at[(n-1)/2] + at[n/2]) / 2
	}
	return out
}

func square(x float64) float64 { return x * x }
