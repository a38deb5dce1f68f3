package payload_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/compress"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/ring"
	"github.com/atom-fabric/fabric/domain/round"
)

func flat(tensors artifact.Tensors) []float64 {
	var out []float64
	for _, t := range tensors {
		out = append(out, t.F64...)
	}
	return out
}

// Drawn coordinates and few bits add up as whole vectors do: the sum of what
// was drawn to a step a site, times what it stands for, and zero elsewhere.
func TestCompressedSumsAreTheSum(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(3, 40).Draw(rt, "sites")
		c := round.Compression{Bits: rapid.SampledFrom([]int{0, 8, 10, 16}).Draw(rt, "bits")}
		if rapid.Bool().Draw(rt, "drawn") {
			c.Codec, c.ShareBP = round.CodecRandK, rapid.IntRange(1, 10_000).Draw(rt, "share")
		}
		bits := rapid.SampledFrom([]int{32, 64}).Draw(rt, "ring")
		m := manifest(rt, round.Train, n, func(p *round.Params) {
			p.Secure.Ring, p.Secure.MaxExamples, p.Compression, p.Seed = bits, 4, c, 9
		})
		f, err := payload.For(m, digest, "eu")
		require.NoError(rt, err)
		sent := c.Sent(8)
		per := 1
		if c.Bits > 0 {
			per = bits / c.Bits
		}
		require.Equal(rt, (sent+per-1)/per, f.Layout.Dim)
		sum, want := f.NewSum(), make([]float64, 8)
		for k := range n {
			values := rapid.SliceOfN(rapid.Float32Range(-8, 8), 8, 8).Draw(rt, "delta")
			rows := rapid.Int64Range(1, 4).Draw(rt, "rows")
			v, cut, err := f.Encode(payload.Input{Tensors: deltas(values), Metrics: round.Metrics{Examples: rows}, RosterSites: n, Rounding: seed(k)})
			require.NoError(rt, err)
			require.Zero(rt, cut)
			require.NoError(rt, sum.AddAt(0, v.Bytes()))
			for j, x := range values {
				want[j] += float64(rows) * float64(x)
			}
		}
		if c.Codec == round.CodecRandK {
			chosen, err := ring.Subset(compress.Seed(9, 1), 8, sent)
			require.NoError(rt, err)
			drawn := make([]float64, sent)
			require.NoError(rt, ring.Gather(drawn, want, chosen))
			require.NoError(rt, ring.Scatter(want, drawn, chosen))
		}
		got, err := f.Decode(sum, n)
		require.NoError(rt, err)
		for j, x := range flat(got.Tensors) {
			require.InDelta(rt, want[j], x, 8/float64(sent)*float64(n)*f.Codec.Step())
			if want[j] == 0 && c.Codec == round.CodecRandK {
				require.Zero(rt, x)
			}
		}
	})
}

// Eight bits for twenty sites: 6 of the 127 levels that the sum has for each, and
// 4 in steps of a power of two.
func TestBitsAreSharedOut(t *testing.T) {
	for _, tt := range []struct {
		sites, bits int
		levels      int64
	}{{20, 8, 4}, {20, 16, 1024}, {20, 10, 16}, {3, 8, 32}} { // ⌊(2^(bits-1)-1)/sites⌋, down to a power of two
		f, err := payload.For(manifest(t, round.Train, tt.sites, func(p *round.Params) { p.Compression.Bits = tt.bits }), digest, "eu")
		require.NoError(t, err)
		require.Equal(t, tt.levels, f.Codec.Levels())
	}
	_, err := payload.For(manifest(t, round.Train, 128, func(p *round.Params) { p.Compression.Bits = 8 }), digest, "eu")
	require.ErrorIs(t, err, ring.ErrOverflow)
}

// The norm of what a site sends of a clipped update is at most the norm, so the
// noise is scaled to that; it falls on what was drawn only, before that stands
// for the rest. Over many rounds, 4 of 8 coordinates, multiplier 2, norm 1.
func TestNoiseOfDrawnCoordinates(t *testing.T) {
	for _, mechanism := range []string{round.PrivacyCentral, round.PrivacyDiscrete} {
		const rounds = 600
		squares := 0.0
		for n := range rounds {
			m := manifest(t, round.Train, 3, func(p *round.Params) {
				private(mechanism, round.UnitSite)(p)
				p.Compression = round.Compression{Codec: round.CodecRandK, ShareBP: 5000}
			})
			m.Number = n
			f, err := payload.For(m, digest, "eu")
			require.NoError(t, err)
			sum := f.NewSum()
			for k := range 3 {
				v, _, err := f.Encode(payload.Input{
					Tensors: deltas(make([]float32, 8)), Metrics: round.Metrics{Examples: 50}, RosterSites: 3,
					Rounding: seed(3*n + k), Noise: dp.Derive(seed(3*n+k), "noise"),
				})
				require.NoError(t, err)
				require.NoError(t, sum.AddAt(0, v.Bytes()))
			}
			got, err := f.Open(sum, 3, seed(n))
			require.NoError(t, err)
			zeros := 0
			for _, x := range flat(got.Tensors) {
				squares += x * x
				if x == 0 {
					zeros++
				}
			}
			require.Equal(t, 4, zeros)
		}
		// Half of the coordinates have noise of 2, or at the sites 2·√(3/t) with
		// t = 3 of 3, and count twice: (2·2)².
		require.InEpsilon(t, 16, squares/(4*rounds), 0.15, mechanism)
	}
}

func adaptive(mechanism string) func(*round.Params) {
	return func(p *round.Params) {
		private(mechanism, round.UnitSite)(p)
		p.Privacy.NoiseMultiplier, p.Privacy.ClipNorm = 1, 0.5
		p.Privacy.Adaptive = round.Adaptive{Quantile: 0.7, CountNoise: 1.5}
	}
}

// Noise with the norm that clipped, z_Δ·C = C·(z^-2 - (2σ_b)^-2)^-1/2 on the
// update and σ_b on the count, and both are charged as one answer of z.
func TestTheCountIsNoisedAndChargedWithTheUpdate(t *testing.T) {
	for _, mechanism := range []string{round.PrivacyCentral, round.PrivacyDiscrete, round.PrivacySkellam} {
		t.Run(mechanism, func(t *testing.T) {
			const n, rounds, clip = 5, 700, 0.25
			m := manifest(t, round.Train, n, adaptive(mechanism))
			m.Clip = clip // and not the 0.5 that the run began with
			f, err := payload.For(m, digest, "eu")
			require.NoError(t, err)
			var mean, squares, updates float64
			for r := range rounds {
				sum := f.NewSum()
				for k := range n {
					v, cut, err := f.Encode(payload.Input{
						Tensors: deltas(make([]float32, 8)), Metrics: round.Metrics{Examples: 50}, RosterSites: n, Within: k < 4,
						Rounding: seed(r*n + k), Noise: dp.Derive(seed(r*n+k), "noise"),
					})
					require.NoError(t, err)
					require.Zero(t, cut)
					require.NoError(t, sum.AddAt(0, v.Bytes()))
				}
				got, err := f.Open(sum, n, seed(r))
				require.NoError(t, err)
				mean += got.Within / rounds
				squares += (got.Within - 1.5) * (got.Within - 1.5) / rounds // 4/2 - 1/2
				for _, x := range flat(got.Tensors) {
					updates += x * x / (8 * rounds)
				}
			}
			// With five sites four are in every sum, each of the shares is of a
			// fourth of the variance, and all five are here.
			more := 1.0
			if mechanism != round.PrivacyCentral {
				more = math.Sqrt(5. / 4)
			}
			zd := 1 / math.Sqrt(1-1/(4*1.5*1.5))
			require.InDelta(t, 1.5, mean, 5*1.5*more/math.Sqrt(rounds))
			require.InEpsilon(t, 1.5*more, math.Sqrt(squares), 5/math.Sqrt(2*rounds))
			require.InEpsilon(t, zd*clip*more, math.Sqrt(updates), 5/math.Sqrt(16*rounds))

			event, costs, err := f.Event()
			require.NoError(t, err)
			require.True(t, costs)
			charge, err := dp.Epsilon([]dp.Event{event}, 1e-5)
			require.NoError(t, err)
			truth := dp.GaussianEpsilon(1, 1e-5)
			require.GreaterOrEqual(t, charge.Epsilon, truth)
			require.Less(t, charge.Epsilon, truth*1.15)
		})
	}
}

// C·exp(-η(b - γ)) by hand: 6 and 2 sites, of whom 3.5 and -1 halves say that
// 6.5 of 8 are within; the default rate is 0.2.
func TestNextClip(t *testing.T) {
	p := manifest(t, round.Train, 8, adaptive(round.PrivacyCentral)).Params.Privacy
	got, err := payload.NextClip(p, 2, []payload.Count{{Sites: 6, Within: 3.5}, {Sites: 2, Within: -1}})
	require.NoError(t, err)
	require.InDelta(t, 2*math.Exp(-0.2*((2.5/8+0.5)-0.7)), got, 1e-15)
	got, err = payload.NextClip(p, 2, nil)
	require.NoError(t, err)
	require.Equal(t, 2.0, got)
	got, err = payload.NextClip(p, 1e-6, []payload.Count{{Sites: 1, Within: 9}})
	require.NoError(t, err)
	require.Equal(t, 1e-6, got, "no smaller than a norm may be")
	p.Adaptive = round.Adaptive{}
	got, err = payload.NextClip(p, 2, []payload.Count{{Sites: 6, Within: -3}})
	require.NoError(t, err)
	require.Equal(t, 2.0, got)
}
