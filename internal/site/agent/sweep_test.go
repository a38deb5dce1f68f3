package agent

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/round"
)

// carryAt writes what a run carries from round to round, as of a time.
func carryAt(t *testing.T, r *records, run string, at time.Time) order {
	t.Helper()
	o := order{Manifest: round.Manifest{Tenant: "consortium", Run: run, Number: 1}}
	a := &Agent{id: &identity{records: r}}
	require.NoError(t, a.keepVariate(o, variate{Number: 1, After: []byte("variate")}))
	for slot := range 2 {
		require.NoError(t, r.seal(variateName(o), restSlot(slot), strings.NewReader("rest")))
	}
	require.NoError(t, a.putRest(o, rest{Number: 1, Before: true}))
	age(t, r, o, at)
	return o
}

func age(t *testing.T, r *records, o order, at time.Time) {
	t.Helper()
	for _, end := range filesOf(t, r, o) {
		require.NoError(t, os.Chtimes(filepath.Join(r.dir, variateName(o)+end), at, at))
	}
}

// filesOf returns the ends of the names of a run's files.
func filesOf(t *testing.T, r *records, o order) (ends []string) {
	t.Helper()
	entries, err := os.ReadDir(r.dir)
	require.NoError(t, err)
	for _, entry := range entries {
		if end, ok := strings.CutPrefix(entry.Name(), variateName(o)); ok {
			ends = append(ends, end)
		}
	}
	slices.Sort(ends)
	return ends
}

var carriedAll = []string{".rest", ".rest0", ".rest1", ".variate"}

// What a run carries from round to round goes once the fabric says that it is
// over, and after a week; not on a guess, and never of a run that is open.
func TestWhatARunCarriesIsErasedWhenItIsOver(t *testing.T) {
	opts := options(t)
	w := newWorld(t)
	a := start(t, opts, w)
	id, err := openIdentity(opts)
	require.NoError(t, err)
	defer id.close()
	a.id = id
	require.NoError(t, a.enrol(t.Context()))
	now := time.Now()
	sweep := func() error { return a.sweepRuns(t.Context(), now) }
	require.NoError(t, sweep(), "a site that has answered nothing has no folder")

	old := now.Add(-carriedKept - time.Minute)
	open, over, young := carryAt(t, id.records, "open", old), carryAt(t, id.records, "over", old), carryAt(t, id.records, "young", now.Add(-carriedKept+time.Minute))
	busy := carryAt(t, id.records, "busy", old) // one of its files was written since
	require.NoError(t, os.Chtimes(filepath.Join(id.records.dir, variateName(busy)+restFile), now, now))
	w.runs = []v1.OpenRun{{Tenant: "consortium", Run: "open"}, {Tenant: "another", Run: "over"}}

	w.fail = func(_ int, name string) (error, error) {
		if name == "runs" {
			return errDown, nil
		}
		return nil, nil
	}
	require.ErrorIs(t, sweep(), errDown)
	require.Equal(t, carriedAll, filesOf(t, id.records, over), "nobody has said that it is over")
	w.fail = func(int, string) (error, error) { return nil, nil }

	require.NoError(t, sweep())
	require.Equal(t, carriedAll, filesOf(t, id.records, open))
	require.Empty(t, filesOf(t, id.records, over))
	require.Equal(t, carriedAll, filesOf(t, id.records, young))
	require.Equal(t, carriedAll, filesOf(t, id.records, busy))

	// The open run goes on from where it was.
	kept, err := a.variate(open)
	require.NoError(t, err)
	require.Equal(t, "variate", string(kept.After))
}

// A crash between two files leaves what the next start erases, and no pointer
// to a rest that is gone.
func TestErasingWhatARunCarriedSurvivesACrash(t *testing.T) {
	old := time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC) // a synthetic clock begins in 2000
	all := carriedFiles()
	require.Less(t, slices.Index(all[:], restFile), slices.Index(all[:], restSlot(0)))
	require.Less(t, slices.Index(all[:], restFile), slices.Index(all[:], restSlot(1)))
	for erased := range all {
		opts := options(t)
		synctest.Test(t, func(t *testing.T) {
			id, err := openIdentity(opts)
			require.NoError(t, err)
			o := carryAt(t, id.records, "over", old)
			for _, end := range all[:erased] {
				require.NoError(t, erase(filepath.Join(id.records.dir, variateName(o)+end)))
			}
			id.close()
			work(t, start(t, opts, newWorld(t)), 100*time.Millisecond)
			require.Empty(t, filesOf(t, id.records, o), "after a crash with %d erased", erased)
		})
	}
}
