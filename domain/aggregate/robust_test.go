package aggregate_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

var rules = []round.Strategy{
	{Rule: round.RuleMedian},
	{Rule: round.RuleTrimmedMean, Trim: 0.25, Byzantine: 2},
	{Rule: round.RuleKrum, Byzantine: 2},
	{Rule: round.RuleMultiKrum, Byzantine: 2},
	{Rule: round.RuleMultiKrum, Byzantine: 2, Keep: 3},
	{Rule: round.RuleBulyan, Byzantine: 2},
	{Rule: round.RuleGeometricMedian},
	{Rule: round.RuleNormBound, MaxNorm: 3},
}

// honest are n vectors around centre, spread by 0.1, and liars at the front,
// far away, all at one point.
func honest(random *rand.Rand, n, liars, length int, centre, lie float64) [][]float64 {
	out := make([][]float64, n)
	for k := range out {
		out[k] = make([]float64, length)
		for j := range out[k] {
			out[k][j] = centre + 0.1*random.NormFloat64()
			if k < liars {
				out[k][j] = lie
			}
		}
	}
	return out
}

func TestOrderOfVectorsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		rows := honest(random, rapid.IntRange(11, 20).Draw(t, "vectors"), 2, rapid.IntRange(2, 70).Draw(t, "length"), 1, 50)
		rows[5] = rows[4] // a tie, which the site's name breaks
		updates := flat(rows, artifact.F32)
		s := rapid.SampledFrom(rules).Draw(t, "rule")
		first, err := aggregate.Robust(s, updates)
		require.NoError(t, err)
		second, err := aggregate.Robust(s, rapid.Permutation(updates).Draw(t, "order"))
		require.NoError(t, err)
		a, err := first.Mean.Encode()
		require.NoError(t, err)
		b, err := second.Mean.Encode()
		require.NoError(t, err)
		require.Equal(t, a, b, "to the bit")
		require.Equal(t, first.Kept, second.Kept)
	})
}

// Two of eleven vectors lie by a lot. Every rule but the bound stays with the
// honest ones, and the selecting rules leave the liars out; a mean would be at
// 182. The bound holds the two at their allowed length, 3.
func TestLiarsDoNotMoveTheResult(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4))
	for _, lie := range []float64{1e3, -1e6} {
		updates := flat(honest(random, 11, 2, 5, 1, lie), artifact.F32)
		for _, s := range rules {
			got, err := aggregate.Robust(s, updates)
			require.NoError(t, err)
			tolerance := 0.35
			if s.Rule == round.RuleNormBound {
				tolerance = 1
			}
			for _, v := range values(got.Mean, "a", "b") {
				require.InDelta(t, 1, v, tolerance, "%+v", s)
			}
			if s.Rule != round.RuleBulyan { // which may select liars, and trims them
				require.NotContains(t, got.Kept, "t/100", "%+v", s)
				require.NotContains(t, got.Kept, "t/101", "%+v", s)
			}
		}
	}
}

// Vectors that are all one give that one, by every rule, to the bit.
func TestAgreementIsKept(t *testing.T) {
	rows := slices.Repeat([][]float64{{0.5, -1.25, 0}}, 11)
	for _, s := range rules {
		got, err := aggregate.Robust(s, flat(rows, artifact.F32))
		require.NoError(t, err)
		require.Equal(t, rows[0], values(got.Mean, "a", "b"), "%+v", s)
	}
}

// Equal scores: the first sites win.
func TestTiesGoToTheFirstSite(t *testing.T) {
	rows := slices.Repeat([][]float64{{1, 2}}, 9)
	got, err := aggregate.Robust(round.Strategy{Rule: round.RuleMultiKrum, Byzantine: 3, Keep: 2}, flat(rows, artifact.F32))
	require.NoError(t, err)
	require.Equal(t, []string{"t/100", "t/101"}, got.Kept)
	got, err = aggregate.Robust(round.Strategy{Rule: round.RuleBulyan, Byzantine: 1}, flat(rows, artifact.F32))
	require.NoError(t, err)
	require.Equal(t, []string{"t/100", "t/101", "t/102", "t/103", "t/104", "t/105", "t/106"}, got.Kept)
}

func TestTooFewVectorsAreRefused(t *testing.T) {
	tests := []struct {
		name string
		give round.Strategy
		ok   int // the least number that is enough
	}{
		{"krum: 2f+3", round.Strategy{Rule: round.RuleKrum, Byzantine: 3}, 9},
		{"krum without liars", round.Strategy{Rule: round.RuleKrum}, 3},
		{"multi-krum: 2f+3", round.Strategy{Rule: round.RuleMultiKrum, Byzantine: 3}, 9},
		{"multi-krum: keep at most n-f-2", round.Strategy{Rule: round.RuleMultiKrum, Byzantine: 1, Keep: 5}, 8},
		{"bulyan: 4f+3", round.Strategy{Rule: round.RuleBulyan, Byzantine: 2}, 11},
		{"trimmed mean: something is left", round.Strategy{Rule: round.RuleTrimmedMean, Trim: 0.4}, 1},
		{"median", round.Strategy{Rule: round.RuleMedian}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rows := honest(rand.New(rand.NewPCG(5, 5)), tt.ok, 0, 3, 0, 0)
			_, err := aggregate.Robust(tt.give, flat(rows, artifact.F32))
			require.NoError(t, err)
			if tt.ok > 1 {
				_, err = aggregate.Robust(tt.give, flat(rows[1:], artifact.F32))
				require.ErrorIs(t, err, round.ErrInfeasible)
			}
		})
	}
	// β >= f/n: of 10 values a tenth cuts one at each end, which is for one liar.
	rows := honest(rand.New(rand.NewPCG(5, 5)), 10, 0, 3, 0, 0)
	_, err := aggregate.Robust(round.Strategy{Rule: round.RuleTrimmedMean, Trim: 0.1, Byzantine: 1}, flat(rows, artifact.F32))
	require.NoError(t, err)
	_, err = aggregate.Robust(round.Strategy{Rule: round.RuleTrimmedMean, Trim: 0.1, Byzantine: 2}, flat(rows, artifact.F32))
	require.ErrorIs(t, err, round.ErrInfeasible)
	_, err = aggregate.Robust(round.Strategy{Rule: round.RuleTrimmedMean, Trim: 0.1, Byzantine: 1}, flat(rows[1:], artifact.F32))
	require.ErrorIs(t, err, round.ErrInfeasible)
}

func TestBadVectorsNameTheirSite(t *testing.T) {
	rows := honest(rand.New(rand.NewPCG(6, 6)), 5, 0, 3, 0, 0)
	tests := []struct {
		name   string
		change func(u []aggregate.Update)
		want   error
	}{
		{"a site twice", func(u []aggregate.Update) { u[3].Site = u[1].Site }, aggregate.ErrDuplicate},
		{"another shape", func(u []aggregate.Update) { u[1].Tensors[1].Shape = []int{1, 2} }, aggregate.ErrShape},
		{"a tensor is missing", func(u []aggregate.Update) { u[1].Tensors = u[1].Tensors[1:] }, aggregate.ErrShape},
		{"NaN", func(u []aggregate.Update) { u[1].Tensors[0].F32[0] = float32(math.NaN()) }, round.ErrNotFinite},
		{"infinite", func(u []aggregate.Update) { u[1].Tensors[1].F32[1] = float32(math.Inf(-1)) }, round.ErrNotFinite},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			updates := flat(rows, artifact.F32)
			tt.change(updates)
			for _, s := range rules[:1] {
				_, err := aggregate.Robust(s, updates)
				require.ErrorIs(t, err, tt.want)
				var at *aggregate.UpdateError
				require.ErrorAs(t, err, &at)
				require.Equal(t, "101", at.Site)
			}
		})
	}
	_, err := aggregate.Robust(rules[0], nil)
	require.ErrorIs(t, err, aggregate.ErrNoUpdates)
	_, err = aggregate.Robust(round.Strategy{}, flat(rows, artifact.F32))
	require.ErrorIs(t, err, aggregate.ErrNotRobust)
	_, err = aggregate.Robust(round.Strategy{Rule: "best"}, flat(rows, artifact.F32))
	require.ErrorIs(t, err, round.ErrRule)
}

// A robust rule over buckets: 30 sites, 4 of them lying, in buckets of 3. Each
// bucket with a liar is a bad vector; at most 4 of 10 are, so the median of
// the buckets' means stays with the honest ones. No site's update is seen.
func TestRobustOverBuckets(t *testing.T) {
	rows := honest(rand.New(rand.NewPCG(7, 7)), 30, 4, 5, 1, 400)
	var names []string
	bySite := map[string]aggregate.Update{}
	for _, u := range flat(rows, artifact.F32) {
		u.Examples = 10
		names = append(names, u.Site)
		bySite[u.Site] = u
	}
	buckets, err := aggregate.Buckets(names, 3, []byte("seed"))
	require.NoError(t, err)
	var vectors []aggregate.Update
	for b, sites := range buckets {
		sum := aggregate.SumOf([]round.TensorSpec{{Name: "a", DType: artifact.F64, Shape: []int{1}}, {Name: "b", DType: artifact.F64, Shape: []int{4}}})
		for _, site := range sites {
			require.NoError(t, sum.Add(bySite[site]))
		}
		p, err := sum.Partial("eu")
		require.NoError(t, err)
		v, err := aggregate.BucketMean(b, p)
		require.NoError(t, err)
		require.EqualValues(t, 30, v.Examples)
		vectors = append(vectors, v)
	}
	require.Equal(t, "bucket-000009", vectors[9].Site)
	got, err := aggregate.Robust(round.Strategy{Rule: round.RuleMedian, BucketSites: 3}, vectors)
	require.NoError(t, err)
	for _, v := range values(got.Mean, "a", "b") {
		require.InDelta(t, 1, v, 0.3)
	}
	_, err = aggregate.BucketMean(0, aggregate.Partial{Region: "eu"})
	require.ErrorIs(t, err, aggregate.ErrExamples)
}

func TestBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, size := rapid.IntRange(3, 300).Draw(t, "sites"), rapid.IntRange(3, 20).Draw(t, "size")
		var sites []string
		for i := range n {
			sites = append(sites, "s"+strconv.Itoa(i))
		}
		seed := rapid.SliceOf(rapid.Byte()).Draw(t, "seed")
		got, err := aggregate.Buckets(sites, size, seed)
		if n < size {
			require.ErrorIs(t, err, aggregate.ErrBuckets)
			return
		}
		require.NoError(t, err)
		require.Len(t, got, n/size)
		var all []string
		for _, b := range got {
			require.GreaterOrEqual(t, len(b), size)
			require.True(t, slices.IsSorted(b))
			all = append(all, b...)
		}
		require.ElementsMatch(t, sites, all)
		again, err := aggregate.Buckets(rapid.Permutation(sites).Draw(t, "order"), size, seed)
		require.NoError(t, err)
		require.Equal(t, got, again)
	})
	_, err := aggregate.Buckets([]string{"a", "b", "c", "d"}, 2, nil)
	require.ErrorIs(t, err, aggregate.ErrBuckets, "in a bucket of two, each knows the other's update")
	_, err = aggregate.Buckets([]string{"a", "b", "c", "a"}, 3, nil)
	require.ErrorIs(t, err, aggregate.ErrBuckets)
	a, err := aggregate.Buckets([]string{"a", "b", "c", "d", "e", "f"}, 3, []byte("1"))
	require.NoError(t, err)
	b, err := aggregate.Buckets([]string{"a", "b", "c", "d", "e", "f"}, 3, []byte("2"))
	require.NoError(t, err)
	require.NotEqual(t, a, b)
}
