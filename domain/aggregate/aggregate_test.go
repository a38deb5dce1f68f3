package aggregate_test

import (
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

var spec = round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: 2, Classes: 2}

// delta is an update of a train round: bias [2], weight [2,2].
func delta(v ...float32) artifact.Tensors {
	return artifact.Tensors{
		{Name: "linear.bias", DType: artifact.F32, Shape: []int{2}, F32: v[:2]},
		{Name: "linear.weight", DType: artifact.F32, Shape: []int{2, 2}, F32: v[2:6]},
	}
}

func update(tenant, site string, examples int64, v ...float32) aggregate.Update {
	return aggregate.Update{Tenant: tenant, Site: site, Examples: examples, Tensors: delta(v...)}
}

// Worked by hand: (3·[1 0 2 0 0 4] + 1·[5 4 -2 0 8 0]) / 4 = [2 1 1 0 2 3].
func TestFedAvg(t *testing.T) {
	mean, err := aggregate.FedAvg([]aggregate.Update{
		update("b", "s", 1, 5, 4, -2, 0, 8, 0),
		update("a", "s", 3, 1, 0, 2, 0, 0, 4),
	})
	require.NoError(t, err)
	require.Equal(t, []float64{2, 1}, mean[0].F64)
	require.Equal(t, []float64{1, 0, 2, 3}, mean[1].F64)
}

func TestApplyAddsTheMeanToTheBase(t *testing.T) {
	base := weights(1, 2, 3, 4, 5, 6)
	updates := []aggregate.Update{update("a", "s", 1, 0.5, 0, -1, 0, 0, 2)}
	sum, err := aggregate.WeightedSum(spec, round.Train, "eu", updates)
	require.NoError(t, err)
	mean, err := aggregate.Mean(spec, round.Train, []aggregate.Partial{sum})
	require.NoError(t, err)
	got, err := aggregate.Apply(spec, round.Train, base, mean)
	require.NoError(t, err)
	require.Equal(t, weights(1.5, 2, 2, 4, 5, 8), got)
	require.Equal(t, weights(1, 2, 3, 4, 5, 6), base, "the base is not changed")
}

// A fused multiply-add rounds once where we round twice, and gives other bits.
// Compilers fuse on arm64 and the like, so that is where this test can be red.
func TestProductsAreRoundedBeforeTheyAreAdded(t *testing.T) {
	tiny := artifact.Tensors{{Name: "x", DType: artifact.F64, Shape: []int{1}, F64: []float64{1 + math.Ldexp(1, -52)}}}
	one := artifact.Tensors{{Name: "x", DType: artifact.F64, Shape: []int{1}, F64: []float64{-1}}}
	mean, err := aggregate.FedAvg([]aggregate.Update{
		{Tenant: "a", Site: "s", Examples: 3, Tensors: one},
		{Tenant: "b", Site: "s", Examples: 3, Tensors: tiny},
	})
	require.NoError(t, err)
	// 3·(1+2^-52) = 3+3·2^-52 lies between 3+2^-51 and 3+2^-50 and rounds to even, 3+2^-50.
	// Rounded: (3+2^-50-3)/6; fused it would be 3·2^-52/6.
	require.Equal(t, math.Ldexp(1, -50)/6, mean[0].F64[0])
}

func TestBadUpdatesNameTheirSite(t *testing.T) {
	good := update("a", "s", 1, 0, 0, 0, 0, 0, 0)
	short := update("b", "s", 1, 0, 0, 0, 0, 0, 0)
	short.Tensors = short.Tensors[:1]
	moved := update("b", "s", 1, 0, 0, 0, 0, 0, 0)
	moved.Tensors[1].Shape = []int{4, 1}
	tests := []struct {
		name string
		give aggregate.Update
		want error
	}{
		{"a tensor is missing", short, aggregate.ErrShape},
		{"another shape", moved, aggregate.ErrShape},
		{"no examples", update("b", "s", 0, 0, 0, 0, 0, 0, 0), aggregate.ErrExamples},
		{"fewer than none", update("b", "s", -1, 0, 0, 0, 0, 0, 0), aggregate.ErrExamples},
		{"more examples than a float can count", update("b", "s", aggregate.MaxExamples+1, 0, 0, 0, 0, 0, 0), aggregate.ErrExamples},
		{"a site twice", update("a", "s", 1, 0, 0, 0, 0, 0, 0), aggregate.ErrDuplicate},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := aggregate.FedAvg([]aggregate.Update{tt.give, good})
			require.ErrorIs(t, err, tt.want)
			var at *aggregate.UpdateError
			require.ErrorAs(t, err, &at)
			require.Equal(t, tt.give.Tenant, at.Tenant)
			_, err = aggregate.WeightedSum(spec, round.Train, "eu", []aggregate.Update{tt.give, good})
			require.ErrorIs(t, err, tt.want)
		})
	}
	_, err := aggregate.FedAvg(nil)
	require.ErrorIs(t, err, aggregate.ErrNoUpdates)
	_, err = aggregate.WeightedSum(spec, round.Train, "eu", nil)
	require.ErrorIs(t, err, aggregate.ErrNoUpdates)
	_, err = aggregate.Mean(spec, round.Train, nil)
	require.ErrorIs(t, err, aggregate.ErrNoUpdates)
}

func TestSumKeepsTheOrder(t *testing.T) {
	sum := aggregate.NewSum(spec, round.Train)
	require.NoError(t, sum.Add(update("b", "s", 1, 1, 1, 1, 1, 1, 1)))
	require.ErrorIs(t, sum.Add(update("a", "s", 1, 9, 9, 9, 9, 9, 9)), aggregate.ErrOrder)
	require.ErrorIs(t, sum.Add(update("b", "s", 1, 9, 9, 9, 9, 9, 9)), aggregate.ErrDuplicate)
	require.NoError(t, sum.Add(update("b", "t", 2, 1, 1, 1, 1, 1, 1)))
	partial, err := sum.Partial("eu")
	require.NoError(t, err)
	require.EqualValues(t, 3, partial.Examples, "a refused update leaves no trace")
	require.Equal(t, []float64{3, 3}, partial.Sum[0].F64)
}

func TestBadRegionsAreNamed(t *testing.T) {
	part := func(region string, examples int64) aggregate.Partial {
		p, err := aggregate.WeightedSum(spec, round.Train, region, []aggregate.Update{update("a", "s", 1, 0, 0, 0, 0, 0, 0)})
		require.NoError(t, err)
		p.Examples = examples
		return p
	}
	short := part("us", 1)
	short.Sum = short.Sum[1:]
	tests := []struct {
		name string
		give []aggregate.Partial
		want error
	}{
		{"a region twice", []aggregate.Partial{part("us", 1), part("eu", 1), part("us", 1)}, aggregate.ErrDuplicate},
		{"no examples", []aggregate.Partial{part("eu", 1), part("us", 0)}, aggregate.ErrExamples},
		{"a count that overflows", []aggregate.Partial{part("eu", 1), part("us", math.MaxInt64)}, aggregate.ErrExamples},
		{"other tensors", []aggregate.Partial{part("eu", 1), short}, aggregate.ErrShape},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := aggregate.Mean(spec, round.Train, tt.give)
			require.ErrorIs(t, err, tt.want)
			var at *aggregate.RegionError
			require.ErrorAs(t, err, &at)
			require.Equal(t, "us", at.Region)
		})
	}
}

func TestApplyRefuses(t *testing.T) {
	mean := func(kind round.Kind) artifact.Tensors {
		var out artifact.Tensors
		for _, s := range spec.Partial(kind) {
			n := 1
			for _, d := range s.Shape {
				n *= d
			}
			out = append(out, artifact.Tensor{Name: s.Name, DType: artifact.F64, Shape: s.Shape, F64: slices.Repeat([]float64{1}, n)})
		}
		return out
	}
	_, err := aggregate.Apply(spec, round.Train, weights(0, 0, 0, 0, 0, 0)[1:], mean(round.Train))
	require.ErrorIs(t, err, round.ErrTensors)
	_, err = aggregate.Apply(spec, round.Train, weights(0, 0, 0, 0, 0, 0), mean(round.Statistics))
	require.ErrorIs(t, err, aggregate.ErrShape)
	_, err = aggregate.Apply(spec, round.Statistics, weights(0, 0, 0, 0, 0, 0), mean(round.Train))
	require.ErrorIs(t, err, aggregate.ErrShape)
	huge := mean(round.Train)
	huge[0].F64[0] = 1e39
	_, err = aggregate.Apply(spec, round.Train, weights(0, 0, 0, 0, 0, 0), huge)
	require.ErrorIs(t, err, round.ErrNotFinite)
}

// Regions and sites in any order give the same bits; and the bits are near the
// flat mean over all sites, which groups the same terms otherwise.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		regions := rapid.IntRange(1, 4).Draw(t, "regions")
		var all []aggregate.Update
		byRegion := make([][]aggregate.Update, regions)
		for k := range rapid.IntRange(regions, 12).Draw(t, "sites") {
			values := rapid.SliceOfN(rapid.Float32Range(-1e3, 1e3), 6, 6).Draw(t, "values")
			u := update("t"+strconv.Itoa(k%3), "s"+strconv.Itoa(k), rapid.Int64Range(1, 1e6).Draw(t, "examples"), values...)
			all = append(all, u)
			byRegion[k%regions] = append(byRegion[k%regions], u)
		}
		run := func(shuffle func([]aggregate.Update) []aggregate.Update, order []int) artifact.Tensors {
			var partials []aggregate.Partial
			for _, r := range order {
				p, err := aggregate.WeightedSum(spec, round.Train, "r"+strconv.Itoa(r), shuffle(byRegion[r]))
				require.NoError(t, err)
				partials = append(partials, p)
			}
			mean, err := aggregate.Mean(spec, round.Train, partials)
			require.NoError(t, err)
			return mean
		}
		var order []int
		for r := range regions {
			order = append(order, r)
		}
		plain := run(func(u []aggregate.Update) []aggregate.Update { return u }, order)
		mixed := run(func(u []aggregate.Update) []aggregate.Update { return rapid.Permutation(u).Draw(t, "sites") },
			rapid.Permutation(order).Draw(t, "regions"))
		first, err := plain.Encode()
		require.NoError(t, err)
		second, err := mixed.Encode()
		require.NoError(t, err)
		require.Equal(t, first, second, "to the bit")

		flat, err := aggregate.FedAvg(rapid.Permutation(all).Draw(t, "flat"))
		require.NoError(t, err)
		for i := range flat {
			for j, want := range flat[i].F64 {
				// relative to the largest term: cancellation keeps absolute error
				require.InDelta(t, want, plain[i].F64[j], 1e-12*1e3)
			}
		}
	})
}

// A column that does not vary has, after rounding, a tiny variance for some
// values and sizes of sites. It keeps its unit all the same; a column that
// varies by a millionth of itself does not.
func TestColumnsThatDoNotVaryKeepTheirUnit(t *testing.T) {
	scale := func(values [2]float64, sizes []int64) float32 {
		var updates []aggregate.Update
		for k, n := range sizes {
			var m, q float64
			for i := range n {
				m += values[i%2]
				q += values[i%2] * values[i%2]
			}
			updates = append(updates, aggregate.Update{Tenant: "t", Site: strconv.Itoa(k), Examples: n, Tensors: artifact.Tensors{
				{Name: "moments.mean", DType: artifact.F64, Shape: []int{2}, F64: []float64{m / float64(n), 0}},
				{Name: "moments.mean_square", DType: artifact.F64, Shape: []int{2}, F64: []float64{q / float64(n), 0}},
			}})
		}
		mean, err := aggregate.FedAvg(updates)
		require.NoError(t, err)
		got, err := aggregate.Apply(spec, round.Statistics, weights(0, 0, 0, 0, 0, 0), mean)
		require.NoError(t, err)
		require.EqualValues(t, 1, got[3].F32[1], "a column of zeros")
		return got[3].F32[0]
	}
	for i := range 200 {
		v := 0.1 + 3.7*float64(i)
		require.EqualValues(t, 1, scale([2]float64{v, v}, []int64{138, 114, 92, 68, 46}), "%v", v)
	}
	require.InEpsilon(t, 5e-4, scale([2]float64{1000, 1000.001}, []int64{100, 50}), 1e-2)
}

func weights(v ...float32) artifact.Tensors {
	return append(delta(v...),
		artifact.Tensor{Name: "normalise.mean", DType: artifact.F32, Shape: []int{2}, F32: []float32{0, 0}},
		artifact.Tensor{Name: "normalise.scale", DType: artifact.F32, Shape: []int{2}, F32: []float32{1, 1}})
}

// The moments of sites, averaged by examples, are those of the pooled rows;
// a column that does not vary keeps its unit although 0.1 has no exact square.
func TestStatisticsAreThePooledMoments(t *testing.T) {
	sites := [][][2]float64{
		{{1, 0.1}, {2, 0.1}, {4, 0.1}},
		{{100, 0.1}},
		{{-3, 0.1}, {8.5, 0.1}, {0, 0.1}, {12, 0.1}, {7, 0.1}},
	}
	var updates []aggregate.Update
	var pooled []float64
	for k, rows := range sites {
		m := make([]float64, 2)
		q := make([]float64, 2)
		for _, row := range rows {
			pooled = append(pooled, row[0])
			for j, v := range row {
				m[j] += v / float64(len(rows))
				q[j] += v * v / float64(len(rows))
			}
		}
		updates = append(updates, aggregate.Update{Tenant: "t", Site: strconv.Itoa(k), Examples: int64(len(rows)), Tensors: artifact.Tensors{
			{Name: "moments.mean", DType: artifact.F64, Shape: []int{2}, F64: m},
			{Name: "moments.mean_square", DType: artifact.F64, Shape: []int{2}, F64: q},
		}})
	}
	sum, err := aggregate.WeightedSum(spec, round.Statistics, "eu", updates)
	require.NoError(t, err)
	mean, err := aggregate.Mean(spec, round.Statistics, []aggregate.Partial{sum})
	require.NoError(t, err)
	got, err := aggregate.Apply(spec, round.Statistics, weights(1, 2, 3, 4, 5, 6), mean)
	require.NoError(t, err)

	var average, variance float64 // in two passes, as a textbook does
	for _, v := range pooled {
		average += v / float64(len(pooled))
	}
	for _, v := range pooled {
		variance += (v - average) * (v - average) / float64(len(pooled))
	}
	require.InDelta(t, average, got[2].F32[0], 1e-5)
	require.InDelta(t, math.Sqrt(variance), got[3].F32[0], 1e-5)
	require.InDelta(t, 0.1, got[2].F32[1], 1e-8)
	require.EqualValues(t, 1, got[3].F32[1])
	require.Equal(t, delta(1, 2, 3, 4, 5, 6), got[:2], "what is trained does not move")
}
