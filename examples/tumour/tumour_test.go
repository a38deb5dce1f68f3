package tumour_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/site/table"
)

// 569 rows, 212 malignant, 357 benign: the counts of the UCI repository's page.
func TestTable(t *testing.T) {
	whole := tumour.Table()
	require.Len(t, whole.Columns, tumour.Inputs)
	require.Equal(t, 569, whole.Len())
	count := map[int]int{}
	for _, label := range whole.Labels {
		count[label]++
	}
	require.Equal(t, map[int]int{tumour.Malignant: 212, tumour.Benign: 357}, count)
	require.Equal(t, 17.99, whole.Rows[0][0])
	require.Equal(t, "mean_radius", whole.Columns[0])
	require.Equal(t, "worst_fractal_dimension", whole.Columns[29])
}

func TestHospitalsPartTheTable(t *testing.T) {
	left := map[string]int{}
	whole := tumour.Table()
	for i, row := range whole.Rows {
		left[fmt.Sprint(row, whole.Labels[i])]++
	}
	sizes := map[string]int{}
	regions := map[string]bool{}
	tenants := map[string]bool{}
	for _, h := range tumour.Split() {
		for i, row := range h.Rows.Rows {
			left[fmt.Sprint(row, h.Rows.Labels[i])]--
		}
		sizes[h.Site] = h.Rows.Len()
		regions[h.Region] = true
		tenants[h.Tenant] = true

		again, err := table.Read(bytes.NewReader(h.CSV()))
		require.NoError(t, err)
		require.Equal(t, h.Rows, again, "a site reads back exactly its rows")

		train, held := h.Rows.Split()
		require.Equal(t, 2, train.Classes())
		labels := map[int]bool{}
		for _, label := range held.Labels {
			labels[label] = true
		}
		require.Len(t, labels, 2, "%s holds out rows of both classes", h.Site)
	}
	for row, n := range left {
		require.Zero(t, n, "row %s", row)
	}
	require.Equal(t, map[string]int{"north": 171, "harbour": 142, "lakeside": 114, "summit": 85, "coral": 57}, sizes)
	require.Equal(t, map[string]bool{"eu": true, "us": true, "apac": true}, regions)
	require.Len(t, tenants, 5)
}

func TestPooledIsTheUnion(t *testing.T) {
	train, held := tumour.Pooled()
	require.Equal(t, 569, train.Len()+held.Len())
	require.Equal(t, 171/5+142/5+114/5+85/5+57/5, held.Len())
	require.Equal(t, tumour.Split(), tumour.Split(), "the same in every call")
}
