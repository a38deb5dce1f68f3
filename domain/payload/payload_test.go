package payload_test

import (
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/round"
)

var digest = artifact.DigestOf([]byte("manifest"))

func manifest(t require.TestingT, kind round.Kind, sites int, change func(*round.Params)) round.Manifest {
	p := round.Params{Model: round.ModelSpec{Inputs: 3}, Features: []string{"f"}}
	if change != nil {
		change(&p)
	}
	p, err := p.Validate()
	require.NoError(t, err)
	return round.Manifest{Run: "r", Number: 1, Kind: kind, Params: p, Secured: true, Cohort: []round.Cohort{{Region: "eu", Sites: sites}}}
}

func private(mechanism, unit string) func(*round.Params) {
	return func(p *round.Params) {
		p.Bounds = [][2]float64{{0, 1}, {0, 1}, {0, 1}}
		p.LearningRate = 0.5
		p.Secure.MaxExamples = 256
		p.Privacy = round.Privacy{Mechanism: mechanism, Unit: unit, NoiseMultiplier: 2, ClipNorm: 1}
	}
}

func deltas(values []float32) artifact.Tensors {
	return artifact.Tensors{
		{Name: "linear.bias", DType: artifact.F32, Shape: []int{2}, F32: values[:2]},
		{Name: "linear.weight", DType: artifact.F32, Shape: []int{3, 2}, F32: values[2:8]},
	}
}

func seed(b int) dp.Seed { return dp.Seed{byte(b), byte(b >> 8), 7} }

// What comes out of the sum is the sum of what went in: counts and weights
// exactly, deltas to a step a site, in both rings and for any order.
func TestTheSumIsTheSum(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(3, 40).Draw(rt, "sites")
		bits := rapid.SampledFrom([]int{32, 64}).Draw(rt, "ring")
		f, err := payload.For(manifest(t, round.Train, n, func(p *round.Params) { p.Secure.Ring = bits }), digest, "eu")
		require.NoError(rt, err)
		sum := f.NewSum()
		want := make([]float64, 8)
		var metrics round.Metrics
		var weight int64
		for k := range n {
			values := rapid.SliceOfN(rapid.Float32Range(-7.9, 7.9), 8, 8).Draw(rt, "delta")
			m := round.Metrics{
				Examples: rapid.Int64Range(1, 1<<16).Draw(rt, "rows"), Evaluated: 9, Correct: int64(k % 9),
				LossMicros: rapid.Int64Range(0, 1<<47).Draw(rt, "loss"),
			}
			v, cut, err := f.Encode(payload.Input{Tensors: deltas(values), Metrics: m, RosterSites: n, Rounding: seed(k)})
			require.NoError(rt, err)
			require.Zero(rt, cut)
			require.EqualValues(rt, f.Spec.SizeBytes(), len(v.Bytes()))
			require.NoError(rt, sum.AddAt(0, v.Bytes()))
			for j, x := range values {
				want[j] += float64(m.Examples) * float64(x)
			}
			metrics, weight = metrics.Add(m), weight+1000*m.Examples
		}
		got, err := f.Decode(sum, n)
		require.NoError(rt, err)
		require.Equal(rt, metrics, got.Metrics)
		require.Equal(rt, weight, got.Weight)
		values := append(append([]float64{}, got.Tensors[0].F64...), got.Tensors[1].F64...)
		for j, w := range want {
			require.InDelta(rt, w, values[j], float64(n)*f.Codec.Step())
		}
	})
}

// The moments of columns that differ by twenty orders of magnitude are exact:
// compared with rational arithmetic.
func TestMomentsAreExact(t *testing.T) {
	f, err := payload.For(manifest(t, round.Statistics, 3, nil), digest, "eu")
	require.NoError(t, err)
	means := [][]float64{{1e-9, -2500.25, 0.1}, {3e-9, 1e6 / 3, 0.1}, {-1, 1e-18, 0.1}}
	sum := f.NewSum()
	want := []*big.Rat{new(big.Rat), new(big.Rat), new(big.Rat)}
	for k, m := range means {
		rows := int64(100*k + 7)
		v, _, err := f.Encode(payload.Input{Metrics: round.Metrics{Examples: rows}, Tensors: artifact.Tensors{
			{Name: "moments.mean", DType: artifact.F64, Shape: []int{3}, F64: m},
			{Name: "moments.mean_square", DType: artifact.F64, Shape: []int{3}, F64: []float64{1e12, 0, 1e-12}},
		}})
		require.NoError(t, err)
		require.NoError(t, sum.AddAt(0, v.Bytes()))
		for j := range want {
			term := new(big.Rat).SetFloat64(m[j])
			want[j].Add(want[j], term.Mul(term, new(big.Rat).SetInt64(rows)))
		}
	}
	got, err := f.Decode(sum, 3)
	require.NoError(t, err)
	for j := range want {
		w, _ := want[j].Float64()
		require.InDelta(t, w, got.Tensors[0].F64[j], 3*math.Ldexp(1, -64)+math.Abs(w)*math.Ldexp(1, -52))
	}
	require.Equal(t, 1e12*float64(7+107+207), got.Tensors[1].F64[0])
	require.EqualValues(t, 7+107+207, got.Metrics.Examples)
}

func TestARoundThatEvaluatesHasCountsOnly(t *testing.T) {
	f, err := payload.For(manifest(t, round.Evaluate, 3, nil), digest, "eu")
	require.NoError(t, err)
	sum := f.NewSum()
	for range 3 {
		v, _, err := f.Encode(payload.Input{Metrics: round.Metrics{Evaluated: 40, Correct: 39, LossMicros: 12345678901}})
		require.NoError(t, err)
		require.NoError(t, sum.AddAt(0, v.Bytes()))
	}
	got, err := f.Decode(sum, 3)
	require.NoError(t, err)
	require.Equal(t, round.Metrics{Evaluated: 120, Correct: 117, LossMicros: 3 * 12345678901}, got.Metrics)
	require.Empty(t, got.Tensors)
	_, costs, err := f.Event()
	require.NoError(t, err)
	require.False(t, costs)
}

// Noise of the smallest quorum is at least what the multiplier asks for: the
// variance over 4,096 coordinates of sums, with a tolerance of 5 deviations of
// that estimate.
func TestNoiseOfAQuorumIsEnough(t *testing.T) {
	for _, mechanism := range []string{round.PrivacyDiscrete, round.PrivacySkellam} {
		for _, unit := range []string{round.UnitSite, round.UnitExample} {
			t.Run(mechanism+" "+unit, func(t *testing.T) {
				const n, quorum = 7, 5 // floor(2*7/3)+1
				f, err := payload.For(manifest(t, round.Train, n, private(mechanism, unit)), digest, "eu")
				require.NoError(t, err)
				clip := 1.0
				if unit == round.UnitExample {
					clip = 0.5 // times the learning rate
				}
				var squares float64
				const sums = 512
				for s := range sums {
					sum := f.NewSum()
					for k := range quorum {
						v, _, err := f.Encode(payload.Input{
							Tensors: deltas(make([]float32, 8)), Metrics: round.Metrics{Examples: 50}, RosterSites: n,
							Rounding: seed(s*n + k), Noise: dp.Derive(seed(s*n+k), "noise"),
						})
						require.NoError(t, err)
						require.NoError(t, sum.AddAt(0, v.Bytes()))
					}
					got, err := f.Decode(sum, quorum)
					require.NoError(t, err)
					for _, tensor := range got.Tensors {
						for _, x := range tensor.F64 {
							squares += x * x
						}
					}
				}
				variance := squares / (8 * sums)
				asked := 4 * clip * clip // (z·C)²
				slack := 5 * math.Sqrt(2.0/(8*sums))
				require.Greater(t, variance, asked*(1-slack))
				require.Less(t, variance, asked*(1+slack)*1.1, "a tenth for roundings")

				event, costs, err := f.Event()
				require.NoError(t, err)
				require.True(t, costs)
				event.Count = 10
				charge, err := dp.Epsilon([]dp.Event{event}, 1e-5)
				require.NoError(t, err)
				truth := dp.GaussianEpsilon(math.Sqrt(10)/2, 1e-5)
				require.GreaterOrEqual(t, charge.Epsilon, truth)
				require.Less(t, charge.Epsilon, truth*1.25)
			})
		}
	}
}

func TestCentralNoiseIsAddedOnce(t *testing.T) {
	const inputs = 2048
	f, err := payload.For(manifest(t, round.Train, 3, func(p *round.Params) {
		private(round.PrivacyCentral, round.UnitSite)(p)
		p.Model.Inputs, p.Bounds = inputs, slices.Repeat([][2]float64{{0, 1}}, inputs)
	}), digest, "eu")
	require.NoError(t, err)
	require.True(t, f.Central())
	v, _, err := f.Encode(payload.Input{
		Tensors: artifact.Tensors{
			{Name: "linear.bias", DType: artifact.F32, Shape: []int{2}, F32: make([]float32, 2)},
			{Name: "linear.weight", DType: artifact.F32, Shape: []int{inputs, 2}, F32: make([]float32, 2*inputs)},
		},
		Metrics: round.Metrics{Examples: 1}, RosterSites: 3,
	})
	require.NoError(t, err)
	open := func(s int) payload.Sum {
		sum, err := f.Open(v, 1, seed(s))
		require.NoError(t, err)
		return sum
	}
	first := open(1)
	require.Equal(t, first, open(1), "a retry cannot average the noise away")
	require.NotEqual(t, first, open(2))
	var squares float64
	for _, tensor := range first.Tensors {
		for _, x := range tensor.F64 {
			squares += x * x
		}
	}
	require.InEpsilon(t, 4, squares/(2*inputs+2), 5*math.Sqrt(2.0/(2*inputs)))
	_, costs, err := f.Event()
	require.NoError(t, err)
	require.True(t, costs)
}

// One example more or less moves the encoded sum by no more than the noise was
// scaled for, whatever the rounding does.
func TestSensitivityCoversRounding(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f, err := payload.For(manifest(t, round.Train, 3, private(round.PrivacyCentral, round.UnitExample)), digest, "eu")
		require.NoError(rt, err)
		rows := rapid.IntRange(2, 256).Draw(rt, "rows")
		gradients := rapid.SliceOfN(rapid.SliceOfN(rapid.Float64Range(-1, 1), 8, 8), rows, rows).Draw(rt, "gradients")
		encode := func(n, s int) []float64 {
			total := make([]float64, 8)
			for _, g := range gradients[:n] {
				norm := 0.0
				for _, x := range g {
					norm += x * x
				}
				norm = max(1, math.Sqrt(norm))
				for j, x := range g {
					total[j] -= 0.5 * x / norm
				}
			}
			update := make([]float32, 8)
			for j, x := range total {
				update[j] = float32(x / float64(n))
			}
			v, _, err := f.Encode(payload.Input{Tensors: deltas(update), Metrics: round.Metrics{Examples: int64(n)}, Rounding: seed(s)})
			require.NoError(rt, err)
			got, err := f.Decode(v, 1)
			require.NoError(rt, err)
			return append(append([]float64{}, got.Tensors[0].F64...), got.Tensors[1].F64...)
		}
		with, without := encode(rows, 1), encode(rows-1, 2)
		distance := 0.0
		for j := range with {
			distance += (with[j] - without[j]) * (with[j] - without[j])
		}
		// clip·rate + 2√d(step + limit·2^-24), as docs/protocol/privacy.md has it
		require.LessOrEqual(rt, math.Sqrt(distance), 0.5+2*math.Sqrt(8)*(f.Codec.Step()+0.5*256/(1<<24)))
	})
}

func TestWhatIsRefused(t *testing.T) {
	m := manifest(t, round.Train, 3, nil)
	f, err := payload.For(m, digest, "eu")
	require.NoError(t, err)
	_, err = payload.For(m, digest, "us")
	require.ErrorIs(t, err, payload.ErrGroup)
	open := m
	open.Secured = false
	_, err = payload.For(open, digest, "eu")
	require.ErrorIs(t, err, payload.ErrGroup)

	good := payload.Input{Tensors: deltas(make([]float32, 8)), Metrics: round.Metrics{Examples: 1}}
	tests := []struct {
		name   string
		change func(*payload.Input)
		want   error
	}{
		{"a tensor is missing", func(in *payload.Input) { in.Tensors = in.Tensors[:1] }, payload.ErrShape},
		{"another name", func(in *payload.Input) { in.Tensors[0].Name = "x" }, payload.ErrShape},
		{"no rows", func(in *payload.Input) { in.Metrics.Examples = 0 }, payload.ErrWeight},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := good
			in.Tensors = deltas(make([]float32, 8))
			tt.change(&in)
			_, _, err := f.Encode(in)
			require.ErrorIs(t, err, tt.want)
		})
	}
	in := good
	in.Tensors = deltas([]float32{0, 9, -9, 1, 1, 1, 1, 1})
	_, cut, err := f.Encode(in)
	require.NoError(t, err)
	require.Zero(t, cut, "one row counts 9, far from 8 for 65,536 rows")
	in.Metrics.Examples = 1 << 16
	_, cut, err = f.Encode(in)
	require.NoError(t, err)
	require.Equal(t, 2, cut)

	_, err = f.Parse(make([]byte, 5))
	require.ErrorIs(t, err, payload.ErrVector)
	_, err = f.Decode(f.NewSum(), 3)
	require.ErrorIs(t, err, payload.ErrVector, "three sites that answer count for three rows at least")
	_, err = f.Parse([]byte(strings.Repeat("x", int(f.Spec.SizeBytes()))))
	require.NoError(t, err)
}
