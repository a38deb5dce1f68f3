package aggregate_test

import (
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

func TestStepRefuses(t *testing.T) {
	zero := make([]float64, 8)
	adam, scaffold := round.Strategy{Name: round.FedAdam}, round.Strategy{Name: round.Scaffold}
	moments := append(named(round.TensorFirst, zero), named(round.TensorSecond, zero)...)
	narrow := append(smallWeights(zero)[:0:0], moments...)
	narrow[0].DType, narrow[0].F64, narrow[0].F32 = artifact.F32, nil, []float32{0, 0}
	huge := make([]float64, 8)
	huge[3] = 1e39
	nan := make([]float64, 8)
	nan[7] = math.NaN()
	steep := make([]float64, 8)
	steep[0] = 1e200 // its square is no float64
	tests := []struct {
		name string
		s    round.Strategy
		in   aggregate.StepInput
		want error
	}{
		{"another base", adam, aggregate.StepInput{Base: smallWeights(zero)[1:], Mean: named("", zero)}, round.ErrTensors},
		{"another mean", adam, aggregate.StepInput{Mean: named("", zero)[1:]}, aggregate.ErrShape},
		{"a state where there is none", round.Strategy{}, aggregate.StepInput{State: moments}, aggregate.ErrState},
		{"the state of another strategy", round.Strategy{Name: round.FedAvgM}, aggregate.StepInput{State: moments}, aggregate.ErrState},
		{"a state that was rounded", adam, aggregate.StepInput{State: narrow}, aggregate.ErrState},
		{"no such strategy", round.Strategy{Name: "sgd"}, aggregate.StepInput{}, round.ErrStrategy},
		{"weights beyond F32", round.Strategy{}, aggregate.StepInput{Mean: named("", huge)}, round.ErrNotFinite},
		{"a mean that is not a number", adam, aggregate.StepInput{Mean: named("", nan)}, round.ErrNotFinite},
		{"a moment beyond F64", adam, aggregate.StepInput{Mean: named("", steep)}, round.ErrNotFinite},
		{"scaffold without variates", scaffold, aggregate.StepInput{Answered: 1, All: 1}, aggregate.ErrShape},
		{"more sites than there are", scaffold, aggregate.StepInput{Mean: append(named("control/", zero), named("", zero)...), Answered: 2, All: 1}, aggregate.ErrShare},
		{"nobody", scaffold, aggregate.StepInput{Mean: append(named("control/", zero), named("", zero)...), All: 1}, aggregate.ErrShare},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.in.Base == nil {
				tt.in.Base = smallWeights(zero)
			}
			if tt.in.Mean == nil {
				tt.in.Mean = named("", zero)
			}
			_, _, err := aggregate.Step(small, tt.s, tt.in)
			require.ErrorIs(t, err, tt.want)
		})
	}
}

// The gradient of μ/2·‖w-start‖², by differences.
func TestProximalIsTheGradientOfItsPenalty(t *testing.T) {
	w, start, mu := []float64{1, -2, 0.5}, []float64{0.25, -2, 3}, 0.7
	penalty := func(w []float64) float64 {
		var s float64
		for j := range w {
			s += (w[j] - start[j]) * (w[j] - start[j])
		}
		return mu / 2 * s
	}
	gradient := []float64{10, 20, 30}
	aggregate.Proximal(gradient, w, start, mu)
	for j := range w {
		up, down := append([]float64(nil), w...), append([]float64(nil), w...)
		up[j] += 1e-6
		down[j] -= 1e-6
		require.InDelta(t, 10*float64(j+1)+(penalty(up)-penalty(down))/2e-6, gradient[j], 1e-8)
	}
}

func TestBufferedRefuses(t *testing.T) {
	s := round.Strategy{Name: round.FedBuff, MaxStaleness: 3}
	late := func(site string, tau int) aggregate.Late {
		return aggregate.Late{Update: aggregate.Update{Tenant: "t", Site: site, Tensors: named("", make([]float64, 8))}, Staleness: tau}
	}
	short := late("b", 0)
	short.Tensors = short.Tensors[1:]
	tests := []struct {
		name string
		give aggregate.Late
		want error
	}{
		{"too old", late("b", 4), aggregate.ErrStale},
		{"from the future", late("b", -1), aggregate.ErrStale},
		{"the same again", late("a", 1), aggregate.ErrDuplicate},
		{"another shape", short, aggregate.ErrShape},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := aggregate.Buffered(small, s, []aggregate.Late{late("a", 1), tt.give})
			require.ErrorIs(t, err, tt.want)
			var at *aggregate.UpdateError
			require.ErrorAs(t, err, &at)
			require.Equal(t, tt.give.Site, at.Site)
		})
	}
	_, err := aggregate.Buffered(small, s, nil)
	require.ErrorIs(t, err, aggregate.ErrNoUpdates)
	_, err = aggregate.Buffered(small, s, []aggregate.Late{late("a", 1), late("a", 3), late("b", 1)})
	require.NoError(t, err, "a fast site may be in the buffer twice")
}

// A step over more coordinates than a stretch and a goroutine takes is the
// step of each coordinate alone.
func TestStepDoesNotDependOnTheSplit(t *testing.T) {
	const inputs = 70_001
	wide := round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: inputs, Classes: 2}
	one := round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: 1, Classes: 2}
	make_ := func(inputs int, from int) (base, mean artifact.Tensors) {
		for _, s := range (round.ModelSpec{Inputs: inputs, Classes: 2}).Tensors() {
			n := 1
			for _, d := range s.Shape {
				n *= d
			}
			w := artifact.Tensor{Name: s.Name, DType: artifact.F32, Shape: s.Shape, F32: make([]float32, n)}
			d := artifact.Tensor{Name: s.Name, DType: artifact.F64, Shape: s.Shape, F64: make([]float64, n)}
			for j := range n {
				w.F32[j], d.F64[j] = float32(math.Sin(float64(from+j))), math.Cos(float64(3*(from+j)))
			}
			base = append(base, w)
			mean = append(mean, d)
		}
		return base, mean[:2]
	}
	for _, s := range []round.Strategy{{Name: round.FedAvg, ServerRate: 0.3}, {Name: round.FedAvgM}, {Name: round.FedAdagrad}, {Name: round.FedAdam}, {Name: round.FedYogi}} {
		base, mean := make_(inputs, 0)
		got, state, err := aggregate.Step(wide, s, aggregate.StepInput{Base: base, Mean: mean})
		require.NoError(t, err)
		for _, row := range []int{0, 255, 256, 35_000, 35_001, inputs - 1} {
			b, m := make_(1, 2*row)
			want, wantState, err := aggregate.Step(one, s, aggregate.StepInput{Base: b, Mean: m})
			require.NoError(t, err)
			require.Equal(t, want[1].F32, got[1].F32[2*row:2*row+2], "%s row %s", s.Name, strconv.Itoa(row))
			for i := range wantState {
				if i%2 == 1 { // the moments of the layer
					require.Equal(t, wantState[i].F64, state[i].F64[2*row:2*row+2])
				}
			}
		}
	}
}
