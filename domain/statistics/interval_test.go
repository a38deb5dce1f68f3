package statistics_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/statistics"
)

func TestIntervals(t *testing.T) {
	var vectors struct {
		Proportions []struct {
			K, N      int64
			Low, High float64
		}
		Differences []struct {
			K1, N1, K2, N2 int64
			Low, High      float64
		}
	}
	text, err := os.ReadFile("../../tests/vectors/wilson/newcombe1998.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &vectors))
	require.Len(t, vectors.Proportions, 4)
	require.Len(t, vectors.Differences, 8)
	for _, v := range vectors.Proportions {
		low, high := statistics.Wilson(v.K, v.N)
		require.InDelta(t, v.Low, low, 5e-5, "%d of %d", v.K, v.N)
		require.InDelta(t, v.High, high, 5e-5, "%d of %d", v.K, v.N)
	}
	for _, v := range vectors.Differences {
		_, low, high := statistics.Difference(v.K1, v.N1, v.K2, v.N2)
		require.InDelta(t, v.Low, low, 5e-5, "%d/%d - %d/%d", v.K1, v.N1, v.K2, v.N2)
		require.InDelta(t, v.High, high, 5e-5, "%d/%d - %d/%d", v.K1, v.N1, v.K2, v.N2)
	}
}
