package agent

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/measure"
	"github.com/atom-fabric/fabric/domain/round"
)

// Behind the masks three sites count their held-out rows: the sum is what all of
// their rows, looked at here, come to. Each stage is played by an agent that was
// started anew.
func TestTheCountsAreThoseOfTheRows(t *testing.T) {
	rows, _ := rowsOf(t, newGroup(t, 3, round.Evaluate, nil).sites[0])
	column := rows.Columns[0]
	middle, cut := rows.Rows[0][1], rows.Rows[0][0]
	g := newGroup(t, 3, round.Evaluate, func(m *round.Manifest) {
		m.Params.Measurement = round.Measurement{
			GroupColumn: rows.Columns[1], Groups: []round.MeasuredGroup{{Name: "one", Value: middle}, {Name: "none", Value: -1e9}},
			ScoreBins: 5, Features: []round.MeasuredFeature{{Column: column, Low: cut - 1, High: cut + 1, Bins: 2}},
		}
	})
	everybody := []int{0, 1, 2}
	g.until(round.StageUnmask, everybody...)
	got := g.sum(everybody...)

	var below, above, held, positive, members int64
	for _, o := range g.sites {
		_, own := rowsOf(t, o)
		for i, row := range own.Rows {
			held++
			if row[0] <= cut {
				below++
			} else {
				above++
			}
			if row[1] == middle {
				members++
			}
			if own.Labels[i] == 1 {
				positive++
			}
		}
	}
	require.Positive(t, below)
	require.Positive(t, above)
	require.Equal(t, held, got.Metrics.Evaluated)
	m := g.manifest.Params.Measurement
	require.Len(t, got.Counts, m.Len())
	m.Floor = 1 // show every cell
	said, err := measure.Read(m, got.Counts)
	require.NoError(t, err)
	require.Equal(t, []int64{below, above}, said.Features[0].Sketch.Counts)
	require.Equal(t, members, said.Groups[0].N())
	require.Zero(t, said.Groups[1].N())
	var scored, positives int64
	for _, b := range said.Bins {
		scored, positives = scored+b.N, positives+b.Positives
	}
	require.Equal(t, held, scored)
	require.Equal(t, positive, positives)
}
