package demo

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/site/table"
)

func simulated(t *testing.T, seed uint64) *Governance {
	t.Helper()
	dir := t.TempDir()
	return &Governance{
		Demo: &Demo{}, random: rand.New(rand.NewPCG(seed, 5)),
		GovernanceOptions: GovernanceOptions{Seed: seed, Rows: func(site string) string { return filepath.Join(dir, site) }},
	}
}

// What is simulated is a function of the seed; a drifted hospital's watched
// columns are higher by the scale, and nothing else is.
func TestDriftedRows(t *testing.T) {
	hospital := tumour.Split()[0]
	plain, n, err := simulated(t, 7).rows(hospital, false)
	require.NoError(t, err)
	require.Equal(t, resampled*hospital.Rows.Len(), n)
	again, _, err := simulated(t, 7).rows(hospital, false)
	require.NoError(t, err)
	require.Equal(t, plain, again)
	g := simulated(t, 7)
	_, _, err = g.rows(hospital, true)
	require.NoError(t, err)
	drifted, err := table.ReadFile(g.Rows(hospital.Site))
	require.NoError(t, err)
	g = simulated(t, 7)
	_, _, err = g.rows(hospital, false)
	require.NoError(t, err)
	before, err := table.ReadFile(g.Rows(hospital.Site))
	require.NoError(t, err)
	require.Equal(t, before.Labels, drifted.Labels)
	for i, row := range before.Rows {
		for j, v := range row {
			want := v
			if j < columns {
				want *= scale
			}
			require.InEpsilon(t, want+1, drifted.Rows[i][j]+1, 1e-6, "row %d, column %d", i, j)
		}
	}
}

// The distance that callers report tells drifted inputs from the others by far
// more than the half that the loop asks for.
func TestCallersMeasureDrift(t *testing.T) {
	g := simulated(t, 1)
	c, err := g.newCallers()
	require.NoError(t, err)
	require.Equal(t, []string{"apac", "eu", "us"}, c.regions())
	mean := func(region string) float64 {
		sum := 0.0
		for range 50 {
			rows, psi := c.batch(region, c.random[region])
			require.Len(t, rows, perCall)
			sum += psi / 50
		}
		return sum
	}
	quiet := mean(drifting)
	c.drift(drifting)
	require.Greater(t, mean(drifting), 3*quiet)
	require.InDelta(t, quiet, mean(trying), quiet/4, "the others do not drift")
}

func TestInOrder(t *testing.T) {
	at := func(region, state string, second int) v1.RolloutRegion {
		return v1.RolloutRegion{Region: region, State: v1.RolloutRegionState(state), At: time.Unix(int64(second), 0)}
	}
	right := []v1.RolloutRegion{
		at("eu", "published", 1), at("eu", "active", 2), at("apac", "published", 3), at("apac", "active", 4), at("us", "published", 5), at("us", "active", 6),
	}
	require.NoError(t, inOrder(right))
	require.ErrorIs(t, inOrder(nil), ErrShown)
	require.ErrorIs(t, inOrder(right[:4]), ErrShown, "a region is missing")
	require.ErrorIs(t, inOrder(right[:5]), ErrShown, "the last was never active")
	require.ErrorIs(t, inOrder(append(right[2:4:4], append(right[:2:2], right[4:]...)...)), ErrShown, "another region first")
	early := append([]v1.RolloutRegion{}, right...)
	early[2].At = time.Unix(1, 0)
	require.ErrorIs(t, inOrder(early), ErrShown, "published before the one before was active")
}
