package chart

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAxesAreWholeSteps(t *testing.T) {
	for _, tt := range []struct {
		low, high float64
		want      scale
	}{
		{0, 100, scale{low: 0, high: 100, step: 20}}, {1, 20, scale{low: 0, high: 20, step: 5}}, {0, 0, scale{low: 0, high: 1, step: 0.2}},
		{0, 1.3e6, scale{low: 0, high: 1.5e6, step: 5e5}}, {-3, 7, scale{low: -4, high: 8, step: 2}}, {math.NaN(), 1, scale{low: 0, high: 1, step: 0.2}}, {5, 5, scale{low: 5, high: 6, step: 0.2}},
	} {
		got := newScale(tt.low, tt.high, 5, 0, 1)
		require.InDelta(t, tt.want.low, got.low, 1e-9)
		require.InDelta(t, tt.want.high, got.high, 1e-9)
		require.InDelta(t, tt.want.step, got.step, 1e-9)
	}
	require.Equal(t, []float64{0, 1, 2}, newScale(0, 2, 20, 0, 1).whole().ticks(), "nobody counts half a round")
}
