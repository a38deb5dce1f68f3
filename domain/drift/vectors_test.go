package drift_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/drift"
)

func vectors(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile("../../tests/vectors/drift/" + name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

func TestPublished(t *testing.T) {
	type counts struct {
		Tolerance, ZeroShare, Distance, Index float64
		Reference, Current                    []float64
	}
	var v struct{ Hellinger, PSI counts }
	vectors(t, "published.json", &v)
	got, err := drift.Hellinger(v.Hellinger.Reference, v.Hellinger.Current)
	require.NoError(t, err)
	require.InDelta(t, v.Hellinger.Distance, got, v.Hellinger.Tolerance)
	require.Equal(t, drift.ZeroShare, v.PSI.ZeroShare)
	got, err = drift.PSI(v.PSI.Reference, v.PSI.Current, drift.ZeroShare)
	require.NoError(t, err)
	require.InDelta(t, v.PSI.Index, got, v.PSI.Tolerance)
}

func TestSciPy(t *testing.T) {
	var v struct {
		Gaps []struct {
			Reference, Current                  []float64
			KS, Wasserstein, Energy, Normalised float64
		}
		Shares []struct {
			Reference, Current            []float64
			JensenShannon, Hellinger, PSI float64
		}
		Nulls []struct {
			N, M int64
			Bins int
			PSI  float64
		}
	}
	vectors(t, "scipy.json", &v)
	require.Len(t, v.Gaps, 5)
	for _, c := range v.Gaps {
		got, err := drift.Compare(c.Reference, c.Current)
		require.NoError(t, err)
		require.InDelta(t, c.KS, got.KS, 1e-12)
		require.InDelta(t, c.Wasserstein, got.Wasserstein, 1e-12)
		require.InDelta(t, c.Energy, got.Energy, 1e-12)
		require.InEpsilon(t, c.Normalised, got.Normalised(), 1e-10)
	}
	require.Len(t, v.Shares, 3)
	for _, c := range v.Shares {
		got, err := drift.JensenShannon(c.Reference, c.Current)
		require.NoError(t, err)
		require.InDelta(t, c.JensenShannon, got, 1e-12)
		got, err = drift.Hellinger(c.Reference, c.Current)
		require.NoError(t, err)
		require.InDelta(t, c.Hellinger, got, 1e-12)
		got, err = drift.PSI(c.Reference, c.Current, drift.ZeroShare)
		require.NoError(t, err)
		require.InDelta(t, c.PSI, got, 1e-12)
	}
	require.Len(t, v.Nulls, 3)
	for _, c := range v.Nulls {
		require.InEpsilon(t, c.PSI, drift.PSINull(c.N, c.M, c.Bins, 0.05), 1e-9)
	}
}

type stream struct {
	Items, SHA256         string
	Alarms, FirstWarnings []int
}

// alarms runs a detector over a stream whose digest is checked first.
func (s stream) alarms(t *testing.T, add func(i int, x float64) bool) (at []int) {
	t.Helper()
	digest := sha256.Sum256([]byte(s.Items))
	require.Equal(t, s.SHA256, hex.EncodeToString(digest[:]))
	for i, c := range s.Items {
		if add(i, float64(c-'0')) {
			at = append(at, i)
		}
	}
	return at
}

func TestStreams(t *testing.T) {
	var v struct{ PageHinkley, ADWIN, DDM []stream }
	vectors(t, "streams.json", &v)
	require.Len(t, v.PageHinkley, 2)
	for _, s := range v.PageHinkley {
		d := drift.NewPageHinkley()
		require.Equal(t, s.Alarms, s.alarms(t, func(_ int, x float64) bool { return d.Add(x) }))
	}
	require.Len(t, v.ADWIN, 2)
	for _, s := range v.ADWIN {
		var d drift.ADWIN
		require.Equal(t, s.Alarms, s.alarms(t, func(_ int, x float64) bool { return d.Add(x) }))
	}
	require.Len(t, v.DDM, 2)
	for _, s := range v.DDM {
		var d drift.DDM
		var warnings []int
		silent := true // until something is said again after an alarm
		require.Equal(t, s.Alarms, s.alarms(t, func(i int, x float64) bool {
			warn, alarm := d.Add(x == 1)
			if warn && silent {
				warnings, silent = append(warnings, i), false
			}
			silent = silent || alarm
			return alarm
		}))
		if s.FirstWarnings != nil {
			require.Equal(t, s.FirstWarnings, warnings)
		}
	}
}
