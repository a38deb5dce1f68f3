package tumour_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/examples/tumour"
)

// A row outside the public range would still train, clipped; here none is.
func TestBoundsHoldEveryRow(t *testing.T) {
	bounds := tumour.Bounds()
	require.Len(t, bounds, tumour.Inputs)
	rows := tumour.Table()
	for i := range rows.Len() {
		for j, v := range rows.Rows[i] {
			require.GreaterOrEqual(t, float64(v), bounds[j][0]-1e-6, "row %d, %s", i, tumour.Columns()[j])
			require.LessOrEqual(t, float64(v), bounds[j][1]+1e-6, "row %d, %s", i, tumour.Columns()[j])
		}
	}
	for j, b := range bounds {
		require.Less(t, b[0], b[1], tumour.Columns()[j])
	}
}
