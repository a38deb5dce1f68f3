package dp

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// convolved returns the mass of the sum of n independent draws of a symmetric
// mass on -reach..reach, on -n·reach..n·reach.
func convolved(mass []float64, n int) []float64 {
	out := []float64{1}
	for range n {
		next := make([]float64, len(out)+len(mass)-1)
		for i, a := range out {
			for j, b := range mass {
				next[i+j] += a * b
			}
		}
		out = next
	}
	return out
}

// divergence is Rényi's, of the mass moved by shift against itself; without the
// tails that float64 cannot hold, which can only make it smaller.
func divergence(mass []float64, shift int, order float64) float64 {
	var logs []float64
	most := math.Inf(-1)
	for i := shift; i < len(mass); i++ {
		if p, q := mass[i-shift], mass[i]; p > 1e-290 && q > 1e-290 {
			logs = append(logs, order*math.Log(p)+(1-order)*math.Log(q))
			most = max(most, logs[len(logs)-1])
		}
	}
	sum := 0.0
	for _, l := range logs {
		sum += math.Exp(l - most)
	}
	return (most + math.Log(sum)) / (order - 1)
}

// One coordinate, a few sites: the divergence of the sum of discrete Gaussians
// from itself moved by the sensitivity can be summed. The bound is not below
// it, at any number of survivors, also where the correction τ matters.
func TestTheBoundOfDistributedGaussiansHolds(t *testing.T) {
	mattered := false
	for _, local := range []float64{0.5, 0.6, 0.8, 1, 2} {
		mass := make([]float64, 2*30+1)
		f := gaussMass(local)
		for i := range mass {
			mass[i] = f(int64(i) - 30)
		}
		for sites := 1; sites <= 5; sites++ {
			for survivors := 1; survivors <= sites; survivors++ {
				for _, shift := range []int{1, 2, 3} {
					e := Event{Mechanism: DistributedGaussian, Count: 1, SampleRate: 1, Dim: 1, Sites: sites, LocalStddev: local,
						Sensitivity: float64(shift), NoiseMultiplier: math.Sqrt(float64(survivors)) * local / float64(shift)}
					require.NoError(t, e.Validate())
					for _, order := range []float64{1.5, 2, 4, 9} {
						truth := divergence(convolved(mass, survivors), shift, order)
						require.GreaterOrEqual(t, e.rdp(order), truth*(1-1e-9), "σ=%v n=%d t=%d Δ=%d α=%v", local, sites, survivors, shift, order)
						plain := order / 2 / (e.NoiseMultiplier * e.NoiseMultiplier)
						mattered = mattered || truth > plain*(1+1e-9)
						require.LessOrEqual(t, e.rdp(max(2, order)), max(2, order)/2/math.Pow(e.effective(), 2)*(1+1e-12), "the effective multiplier")
					}
				}
			}
		}
	}
	require.True(t, mattered, "the sum of discrete Gaussians was never worse than one")
}

func TestTheBoundOfSkellamHolds(t *testing.T) {
	for _, variance := range []float64{2, 5, 20, 100} {
		f := skellamMass(variance)
		reach := int64(25 * math.Sqrt(variance))
		mass := make([]float64, 2*reach+1)
		for i := range mass {
			mass[i] = f(int64(i) - reach)
		}
		for _, shift := range []int{1, 2, 5} {
			e := Event{Mechanism: Skellam, Count: 1, SampleRate: 1, Dim: 1, Sites: 1, LocalStddev: math.Sqrt(variance),
				Sensitivity: float64(shift), NoiseMultiplier: math.Sqrt(variance) / float64(shift)}
			require.NoError(t, e.Validate())
			for _, order := range []float64{1.5, 2, 3, 5} {
				truth := divergence(mass, shift, order)
				require.GreaterOrEqual(t, e.rdp(order), truth*(1-1e-9), "variance %v Δ=%d α=%v", variance, shift, order)
				require.LessOrEqual(t, e.rdp(math.Ceil(order)), math.Ceil(order)/2/math.Pow(e.effective(), 2)*(1+1e-12))
			}
			if variance == 100 && shift == 1 {
				require.Less(t, e.rdp(2), 1.2*divergence(mass, shift, 2), "the bound is near")
			}
		}
	}
}

// By hand from the formulas as printed. In one dimension Δ1 = Δ2 = Δ.
func TestDivergencesByHand(t *testing.T) {
	tests := []struct {
		name         string
		event        Event
		order, bound float64
	}{
		// μ = 4, Δ = 2: 3·4/8 + min((5·4 + 6·2)/64, 6/8)
		{"Skellam, first term", Event{Mechanism: Skellam, NoiseMultiplier: 1, Dim: 1, Sensitivity: 2}, 3, 1.5 + 0.5},
		// μ = 1, Δ = 1: 3/2 + min((5 + 6)/4, 3/2)
		{"Skellam, second term", Event{Mechanism: Skellam, NoiseMultiplier: 1, Dim: 1, Sensitivity: 1}, 3, 1.5 + 1.5},
		{"Skellam, the next integer order", Event{Mechanism: Skellam, NoiseMultiplier: 1, Dim: 1, Sensitivity: 1}, 2.2, 1.5 + 1.5},
		// one site: no correction
		{"one discrete Gaussian", Event{Mechanism: DistributedGaussian, NoiseMultiplier: 2, Dim: 9, Sites: 1, LocalStddev: 0.5, Sensitivity: 1}, 4, 4.0 / 2 / 4},
		// two sites, σ = 1/2: τ = 10·exp(-π²/4) = 0.848; τ·d is the least of three
		{"two discrete Gaussians", Event{Mechanism: DistributedGaussian, NoiseMultiplier: 1, Dim: 1, Sites: 2, LocalStddev: 0.5, Sensitivity: 100}, 1.1,
			0.55 + 10*math.Exp(-math.Pi*math.Pi/4)},
	}
	for _, tt := range tests {
		require.InDelta(t, tt.bound, tt.event.rdp(tt.order), 1e-14, tt.name)
	}
}

// By hand from theorem 1 with d = 4, L = 3: always 3 + 2 = 5; with β = e^-1/2,
// √(2·ln 1/β) = 1, so L² + d/4 + L + √d/2 = 9 + 1 + 3 + 1 = 14.
func TestTheRoundedNorm(t *testing.T) {
	require.Equal(t, 5.0, roundedNorm(3, 0, 4))
	require.InDelta(t, math.Sqrt(14), roundedNorm(3, PaperBeta, 4), 1e-14)
	require.Equal(t, 5.0, roundedNorm(3, 1e-30, 4), "never above what always holds")
}

func TestAnySurvivorsHaveTheNoise(t *testing.T) {
	for _, m := range []Mechanism{DistributedGaussian, Skellam} {
		d := Distributed{Mechanism: m, ClipNorm: 2, Scale: 50, Dim: 100, Sites: 64, Survivors: 43, NoiseMultiplier: 1.3, Beta: PaperBeta}
		s, err := Distribute(d)
		require.NoError(t, err)
		require.InDelta(t, 1.3*s.Bound, math.Sqrt(43)*s.LocalStddev, 1e-5*s.Bound)
		require.GreaterOrEqual(t, math.Sqrt(43)*s.LocalStddev, 1.3*s.Bound)
		require.Equal(t, s.LocalStddev*s.LocalStddev, s.LocalVar)
		require.LessOrEqual(t, s.Effective, 1.3)
		require.Greater(t, s.Effective, 1.29)
		fewer := d
		fewer.Survivors = 20
		more, err := Distribute(fewer)
		require.NoError(t, err)
		require.Greater(t, more.LocalStddev, s.LocalStddev, "fewer survivors each add more")

		for name, change := range map[string]func(*Distributed){
			"clip": func(d *Distributed) { d.ClipNorm = 0 }, "scale": func(d *Distributed) { d.Scale = math.Inf(1) }, "dim": func(d *Distributed) { d.Dim = 0 },
			"sites": func(d *Distributed) { d.Sites = 0 }, "survivors": func(d *Distributed) { d.Survivors = 65 }, "none": func(d *Distributed) { d.Survivors = 0 },
			"beta": func(d *Distributed) { d.Beta = 0.9 }, "noise": func(d *Distributed) { d.NoiseMultiplier = 0 }, "mechanism": func(d *Distributed) { d.Mechanism = Gaussian },
		} {
			bad := d
			change(&bad)
			_, err := Distribute(bad)
			require.ErrorIs(t, err, ErrParameter, name)
		}
	}
}
