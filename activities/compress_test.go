package activities_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/compress"
	"github.com/atom-fabric/fabric/domain/round"
)

// compressed plans a train round with a codec, and returns its manifest.
func compressed(t *testing.T, w *activitytest.World, change func(*round.Params)) (contract.RoundInput, contract.RoundPlan, round.Manifest) {
	t.Helper()
	in := roundInput(1, round.Train)
	change(&in.Params)
	var err error
	in.Params, err = in.Params.Validate()
	require.NoError(t, err)
	plan, err := act(t, contract.PlanRound, (&activities.Round{Blobs: w, Rounds: w.Rows()}).PlanRound, in)
	require.NoError(t, err)
	var m round.Manifest
	require.NoError(t, artifact.DecodeStrict(w.Content[plan.Manifest.Digest], &m))
	return in, plan, m
}

// packed is an update of six elements as a site sends it.
func packed(t *testing.T, w *activitytest.World, m round.Manifest, values ...float32) artifact.Descriptor {
	t.Helper()
	wire, ok := compress.Of(m)
	require.True(t, ok)
	var content bytes.Buffer
	require.NoError(t, wire.Encode(&content, compress.Flat(values)))
	return w.Keep(artifact.MediaTypeWeights, content.Bytes())
}

// Three sites in two regions send by a codec: the weights move by the mean of
// what was sent, (3·x + 1·y + 4·z)/8 of every parameter by hand.
func TestARoundAddsWhatCodecsStandFor(t *testing.T) {
	x := []float32{1, 2, 3, 4, -5, 6}
	y := []float32{5, -1, 1, 0.5, 0, 1}
	z := []float32{-1, 1, -2, -1, 2, 1}
	mean := make([]float64, 6)
	for i := range mean {
		mean[i] = (3*float64(x[i]) + float64(y[i]) + 4*float64(z[i])) / 8
	}
	tests := []struct {
		name string
		c    round.Compression
		want []float64
		far  float64
	}{
		{"halves of small integers are exact", round.Compression{Codec: round.CodecF16}, mean, 1e-6},
		{"so are the other halves", round.Compression{Codec: round.CodecBF16}, mean, 1e-6},
		{"integers of a scale", round.Compression{Codec: round.CodecInt8}, mean, (3*6 + 1*5 + 4*2) / 8. / 254},
		// The two largest of x are 6 and -5, of y 5 and the first of those of
		// magnitude 1, which is -1; of z the two of magnitude 2.
		{"the largest", round.Compression{Codec: round.CodecTopK, ShareBP: 3333}, []float64{5. / 8, -1. / 8, -1, 0, (-15. + 8) / 8, 18. / 8}, 1e-6},
		{"all of them", round.Compression{Codec: round.CodecTopK, ShareBP: 10_000}, mean, 1e-6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := world(t)
			in, plan, m := compressed(t, w, func(p *round.Params) { p.Compression = tt.c })
			got := moved(t, w, in, plan, m, x, y, z)
			require.InDeltaSlice(t, tt.want, got, tt.far)
		})
	}
	t.Run("drawn ones count for the others", func(t *testing.T) {
		w := world(t)
		in, plan, m := compressed(t, w, func(p *round.Params) { p.Compression = round.Compression{Codec: round.CodecRandK, ShareBP: 5000} })
		got := moved(t, w, in, plan, m, x, y, z)
		zeros := 0
		for i, v := range got {
			if v == 0 {
				zeros++
				continue
			}
			require.InDelta(t, 2*mean[i], v, 1e-6)
		}
		require.Equal(t, 3, zeros)
	})
	t.Run("a robust rule looks at what was sent", func(t *testing.T) {
		w := world(t)
		in, plan, m := compressed(t, w, func(p *round.Params) {
			p.Compression.Codec, p.Strategy.Rule = round.CodecF16, round.RuleMedian
		})
		require.InDeltaSlice(t, []float64{1, 1, 1, 0.5, 0, 1}, moved(t, w, in, plan, m, x, y, z), 1e-6)
	})
}

// moved aggregates and combines, and returns by how much the weights moved.
func moved(t *testing.T, w *activitytest.World, in contract.RoundInput, plan contract.RoundPlan, m round.Manifest, x, y, z []float32) []float64 {
	t.Helper()
	w.StageOf(ref(1, round.Train, "eu")).Submissions = []activities.Submission{
		submission("clinic", "a", packed(t, w, m, x...), 3), submission("north", "a", packed(t, w, m, y...), 1),
	}
	w.StageOf(ref(1, round.Train, "us")).Submissions = []activities.Submission{submission("clinic", "b", packed(t, w, m, z...), 4)}
	var regions []contract.RegionResult
	for _, region := range []string{"eu", "us"} {
		got, err := act(t, contract.AggregateRegion, aggregates(w).AggregateRegion, ref(1, round.Train, region))
		require.NoError(t, err)
		require.Empty(t, got.Dropped)
		regions = append(regions, got)
	}
	combined, err := act(t, contract.CombineRegions, aggregates(w).CombineRegions, contract.CombineInput{
		Subject: subject(), Run: "run-1", Number: 1, Kind: round.Train, Params: in.Params, Base: plan.Base, Regions: regions,
	})
	require.NoError(t, err)
	before, err := artifact.ParseTensors(w.Content[plan.Base.Digest])
	require.NoError(t, err)
	after, err := artifact.ParseTensors(w.Content[combined.Weights.Digest])
	require.NoError(t, err)
	var out []float64
	for _, name := range []string{"linear.bias", "linear.weight"} {
		b, _ := before.Get(name)
		a, _ := after.Get(name)
		for i := range a.F32 {
			out = append(out, float64(a.F32[i])-float64(b.F32[i]))
		}
	}
	return out
}

// What is not of the round's codec is dropped and named, and the others count.
func TestARegionDropsWhatIsNoCodecs(t *testing.T) {
	for _, codec := range []string{round.CodecF16, round.CodecBF16, round.CodecInt8, round.CodecTopK, round.CodecRandK} {
		t.Run(codec, func(t *testing.T) {
			w := world(t)
			_, _, m := compressed(t, w, func(p *round.Params) { p.Compression.Codec = codec })
			good := packed(t, w, m, 1, 1, 1, 1, 1, 1)
			cut := w.Keep(artifact.MediaTypeWeights, w.Content[good.Digest][:good.SizeBytes-1])
			for _, bad := range []artifact.Descriptor{cut, update(t, w, 1)} { // half a value, and a whole update
				stage := w.StageOf(ref(1, round.Train, "eu"))
				stage.Closed, stage.Submissions = false, []activities.Submission{submission("clinic", "a", good, 3), submission("north", "a", bad, 5)}
				got, err := act(t, contract.AggregateRegion, aggregates(w).AggregateRegion, ref(1, round.Train, "eu"))
				require.NoError(t, err)
				require.Equal(t, round.Counts{Selected: 2, Accepted: 1, Rejected: 1}, got.Counts)
				require.Len(t, got.Dropped, 1)
			}
		})
	}
}

// Behind masks a tenth of the coordinates in 16 bits: the sum is the one
// without masks, bit by bit, and zero where nothing was drawn.
func TestASecuredRoundOfDrawnCoordinates(t *testing.T) {
	const inputs = 40_000
	f := newFleet(t, round.Train, func(p *round.Params) {
		p.Model.Inputs = inputs
		p.Compression = round.Compression{Codec: round.CodecRandK, ShareBP: 1000, Bits: 16}
	})
	f.players[2].gone = round.StageMask
	got, cause := f.play(2)
	require.Empty(t, cause)
	f.requireSum(got, 0, 1, 3, 4)
	require.Equal(t, 4001, f.form.Layout.Dim, "8,001 of 80,002 coordinates, two an element")
	sum, err := artifact.ParseTensors(f.w.Content[got.Partial.Digest])
	require.NoError(t, err)
	drawn := 0
	for _, tensor := range sum {
		for i, v := range tensor.F64 {
			if v == 0 {
				continue
			}
			drawn++
			want := 10. / 8 * (1 + 4 + 16 + 25) // Σ (i+1)² for those that stay
			if tensor.Name == "linear.weight" {
				want *= float64(i%7-3) / 4
			} else if i == 1 {
				want = -want
			}
			require.InDelta(t, want, v, 10*4*f.form.Codec.Step(), "%s %d", tensor.Name, i)
		}
	}
	require.LessOrEqual(t, drawn, 8001)
	require.Greater(t, drawn, (2*inputs+2)/15, "a seventh of the weights is 0")
}

// The norms of the five sites are 1/8 to 5/8 of one. Whatever the run begins
// with, the norm comes to their middle, from noised counts behind masks.
func TestTheNormComesToTheQuantile(t *testing.T) {
	unit := math.Sqrt(2 + (9+4+1)/16.) // of a contribution of 1: see there
	for _, start := range []float64{0.1, 5} {
		var params round.Params
		change := func(p *round.Params) {
			p.Bounds = [][2]float64{{0, 1}, {0, 1}}
			p.Privacy = round.Privacy{
				Mechanism: round.PrivacyDiscrete, Unit: round.UnitSite, NoiseMultiplier: 0.05, ClipNorm: start, Delta: 1e-5,
				Adaptive: round.Adaptive{Quantile: 0.5, Rate: 0.7},
			}
			var err error
			*p, err = p.Validate()
			require.NoError(t, err)
			params = *p
		}
		clip, logs := start, 0.0
		const rounds, settled = 24, 10
		for n := range rounds {
			f := newFleetWith(t, round.Train, clip, change)
			got, cause := f.play(1)
			require.Empty(t, cause)
			base, err := act(t, contract.PlanRound, (&activities.Round{Blobs: f.w, Rounds: f.w.Rows()}).PlanRound, contract.RoundInput{Subject: subject(), Run: "run-1", Number: 1, Params: params})
			require.NoError(t, err)
			require.Equal(t, clip, base.Clip, "the manifest says it")
			in := contract.CombineInput{
				Subject: subject(), Run: "run-1", Number: 1, Kind: round.Train, Params: params, Regions: []contract.RegionResult{got}, Clip: clip,
				Base: tensors(t, f.w, artifact.Tensors{
					{Name: "linear.bias", DType: artifact.F32, Shape: []int{2}, F32: make([]float32, 2)},
					{Name: "linear.weight", DType: artifact.F32, Shape: []int{2, 2}, F32: make([]float32, 4)},
					{Name: "normalise.mean", DType: artifact.F32, Shape: []int{2}, F32: make([]float32, 2)},
					{Name: "normalise.scale", DType: artifact.F32, Shape: []int{2}, F32: []float32{1, 1}},
				}),
			}
			combined, err := act(t, contract.CombineRegions, aggregates(f.w).CombineRegions, in)
			require.NoError(t, err)
			again, err := act(t, contract.CombineRegions, aggregates(f.w).CombineRegions, in)
			require.NoError(t, err)
			require.Equal(t, combined, again)
			within := min(1, max(0, got.Within/5+0.5)) // of five sites
			require.InDelta(t, -0.7*(within-0.5), math.Log(combined.Clip/clip), 1e-9)
			clip = combined.Clip
			if n >= rounds-settled {
				logs += math.Log(clip) / settled
			}
		}
		require.InEpsilon(t, 3./8*unit, math.Exp(logs), 0.2, "from %g", start)
	}
}
