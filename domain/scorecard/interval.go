package scorecard

import (
	"math"

	"github.com/atom-fabric/fabric/domain/statistics"
)

// proportion returns k/n and its interval in basis points.
func proportion(k, n int64) (value, low, high int64) {
	l, h := statistics.Wilson(k, n)
	return k * 10_000 / n, basis(l), basis(h)
}

// basis returns x in basis points, rounded to the nearest.
func basis(x float64) int64 { return int64(math.Round(x * 10_000)) }
