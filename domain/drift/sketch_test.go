package drift_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/drift"
)

func floats(t *rapid.T, label string) []float64 {
	return rapid.SliceOfN(rapid.Float64Range(-50, 50), 1, 200).Draw(t, label)
}

// Adding sketches and then comparing is comparing the pooled sample, and what
// the bins hide is no more than is stated.
func TestSketchesAddUpAndBoundTheirError(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		reference := slices.Sorted(slices.Values(floats(t, "reference")))
		bins, err := drift.EqualMass(reference, rapid.IntRange(1, 40).Draw(t, "bins"))
		require.NoError(t, err)
		var merged drift.Sketch
		var pooled []float64
		for range rapid.IntRange(1, 4).Draw(t, "sites") {
			site := floats(t, "site")
			pooled = append(pooled, site...)
			require.NoError(t, merged.Merge(drift.Count(bins, site)))
		}
		whole := drift.Count(bins, pooled)
		require.Equal(t, whole, merged)
		for i, n := range whole.Counts { // by the definition of a bin
			low, high := math.Inf(-1), math.Inf(1)
			if i > 0 {
				low = bins.Cuts[i-1]
			}
			if i < len(bins.Cuts) {
				high = bins.Cuts[i]
			}
			var want int64
			for _, v := range pooled {
				if v > low && v <= high {
					want++
				}
			}
			require.Equal(t, want, n, "bin %d", i)
		}
		got, err := drift.CompareBinned(bins, drift.Count(bins, reference), merged)
		require.NoError(t, err)
		inside := slices.Clone(pooled)
		for i := range inside {
			inside[i] = min(max(inside[i], bins.Low), bins.High)
		}
		slices.Sort(inside)
		slices.Sort(pooled)
		truth, err := drift.Compare(reference, pooled)
		require.NoError(t, err)
		require.LessOrEqual(t, got.KS, truth.KS+1e-12)
		require.GreaterOrEqual(t, got.KS+got.KSError, truth.KS-1e-12)
		clipped, err := drift.Compare(reference, inside)
		require.NoError(t, err)
		require.InDelta(t, clipped.Wasserstein, got.Wasserstein, got.WError+1e-9)
		require.EqualValues(t, len(reference), got.N)
		require.EqualValues(t, len(pooled), got.M)
	})
}

func TestBinsThatCutNothing(t *testing.T) {
	nan := math.NaN()
	for name, b := range map[string]drift.Bins{
		"descending":     {Low: 0, High: 9, Cuts: []float64{3, 2}},
		"twice the same": {Low: 0, High: 9, Cuts: []float64{3, 3}},
		"not a number":   {Low: 0, High: 9, Cuts: []float64{nan}},
		"outside":        {Low: 0, High: 9, Cuts: []float64{10}},
		"no end":         {Low: 0, High: math.Inf(1)},
		"inside out":     {Low: 2, High: 1},
		"too many":       {Low: 0, High: 1, Cuts: make([]float64, drift.MaxBins)},
	} {
		require.ErrorIs(t, b.Check(), drift.ErrBins, name)
	}
	_, err := drift.EqualWidth(1, 1, 4)
	require.ErrorIs(t, err, drift.ErrBins)
	b, err := drift.EqualWidth(0, 4, 4)
	require.NoError(t, err)
	require.Equal(t, []float64{1, 2, 3}, b.Cuts)
	s := drift.Count(b, []float64{-1, 0, 1, 1.5, 2, 9, nan, math.Inf(-1)})
	require.Equal(t, drift.Sketch{Counts: []int64{3, 2, 0, 1}, Missing: 2}, s)
	require.Equal(t, 1, b.Index(2), "right-closed")
	require.ErrorIs(t, (&drift.Sketch{Counts: []int64{1}}).Merge(s), drift.ErrBins)
	_, err = drift.CompareBinned(b, s, drift.Sketch{Counts: make([]int64, 4)})
	require.ErrorIs(t, err, drift.ErrEmpty)
	_, err = drift.CompareBinned(b, s, drift.Sketch{Counts: make([]int64, 3)})
	require.ErrorIs(t, err, drift.ErrBins)
	_, err = drift.PSI([]float64{1, -1}, []float64{1, 1}, drift.ZeroShare)
	require.ErrorIs(t, err, drift.ErrCount)
	_, err = drift.JensenShannon([]float64{0, 0}, []float64{1, 1})
	require.ErrorIs(t, err, drift.ErrEmpty)
	_, err = drift.Hellinger([]float64{nan, 0}, []float64{1, 1})
	require.ErrorIs(t, err, drift.ErrCount)
}

func TestJudge(t *testing.T) {
	still := func(name string, weight float64) drift.Feature {
		return drift.Feature{Name: name, Importance: weight, Effect: 0.01, P: 0.5, N: 1000, M: 1000}
	}
	moved := func(name string, weight float64) drift.Feature {
		return drift.Feature{Name: name, Importance: weight, Effect: 0.3, P: 1e-9, N: 1000, M: 1000}
	}
	tests := []struct {
		name     string
		features []drift.Feature
		share    float64
		drifted  bool
		complete bool
	}{
		{"nothing moved", []drift.Feature{still("a", 0), still("b", 0)}, 0, false, true},
		{"half of the importance is not more than half", []drift.Feature{moved("a", 1), still("b", 1)}, 0.5, false, true},
		{"the important one moved", []drift.Feature{moved("a", 3), still("b", 1)}, 0.75, true, true},
		{"the unimportant one moved", []drift.Feature{still("a", 3), moved("b", 1)}, 0.25, false, true},
		{"one moved beyond the hard limit", []drift.Feature{still("a", 9), {Name: "b", Importance: 1, Effect: 1.5, P: 0, N: 1000, M: 1000}}, 0.1, true, true},
		{"significant and of no effect", []drift.Feature{{Name: "a", Effect: 0.02, P: 1e-30, N: 1e6, M: 1e6}}, 0, false, true},
		{"an effect that chance explains", []drift.Feature{{Name: "a", Effect: 0.2, P: 0.3, N: 1000, M: 1000}}, 0, false, true},
		// 0.04 alone would be significant; of four with p = 0.04, 0.9, 0.9, 0.9 its q is 0.16
		{"one of many looks", []drift.Feature{{Name: "a", Importance: 9, Effect: 0.2, P: 0.04, N: 1000, M: 1000}, still("b", 0), still("c", 0), still("d", 0)}, 0, false, true},
		{"too few rows keep their weight", []drift.Feature{{Name: "a", Importance: 1, Effect: 9, P: 0, N: 99, M: 1000}, moved("b", 1)}, 0.5, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := drift.Judge(tt.features, drift.Defaults())
			require.NoError(t, err)
			require.InDelta(t, tt.share, v.Share, 1e-12)
			require.Equal(t, tt.drifted, v.Drifted)
			require.Equal(t, tt.complete, v.Complete)
			require.Len(t, v.Findings, len(tt.features), "no feature is dropped")
		})
	}
	_, err := drift.Judge(nil, drift.Defaults())
	require.ErrorIs(t, err, drift.ErrEmpty)
	_, err = drift.Judge([]drift.Feature{{Effect: math.NaN()}}, drift.Defaults())
	require.ErrorIs(t, err, drift.ErrCount)
}

// A value that is not a number moves no detector.
func TestDetectorsLeaveOutWhatIsNoNumber(t *testing.T) {
	d, h := drift.ADWIN{}, drift.NewPageHinkley()
	for i := range 200 {
		require.False(t, d.Add(math.NaN()))
		require.False(t, h.Add(math.Inf(1)))
		require.False(t, d.Add(float64(i%2)))
		require.False(t, h.Add(float64(i%2)))
	}
	require.Equal(t, 200, d.Width())
	require.InDelta(t, 0.5, d.Mean(), 1e-12)
}
