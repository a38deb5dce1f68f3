package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/local"
	"github.com/atom-fabric/fabric/internal/pgserver"
)

// The governance demonstration begins in an empty folder. It empties its own and
// nobody else's.
func TestAnewEmptiesItsOwnFolderOnly(t *testing.T) {
	state := filepath.Join(t.TempDir(), "governance")
	require.NoError(t, anew(state))
	kept := filepath.Join(state, "pg", "row")
	require.NoError(t, os.MkdirAll(filepath.Dir(kept), 0o700))
	require.NoError(t, os.WriteFile(kept, nil, 0o600))

	release, err := local.Layout{State: state}.Prepare()
	require.NoError(t, err)
	require.ErrorIs(t, anew(state), local.ErrRunning, "a system runs on it")
	require.FileExists(t, kept)
	release()

	require.NoError(t, anew(state))
	require.NoFileExists(t, kept)
	require.FileExists(t, filepath.Join(state, demoMarker), "the next one may empty it too")

	theirs := filepath.Join(t.TempDir(), "governance")
	kept = filepath.Join(theirs, "thesis.txt")
	require.NoError(t, os.MkdirAll(theirs, 0o700))
	require.NoError(t, os.WriteFile(kept, nil, 0o600))
	require.ErrorContains(t, anew(theirs), "was not made by this demonstration")
	require.FileExists(t, kept)
}

// Root's database lies elsewhere where the server's user cannot get to the
// folder: it is forgotten with it.
func TestAnewForgetsADatabaseElsewhere(t *testing.T) {
	parent := t.TempDir()
	require.NoError(t, os.Chmod(parent, 0o700))
	state := filepath.Join(parent, "governance")
	require.NoError(t, anew(state))
	place, err := pgserver.Place(filepath.Join(state, "pg"))
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(place) })
	row := filepath.Join(place, "data", "row")
	require.NoError(t, os.MkdirAll(filepath.Dir(row), 0o700))
	require.NoError(t, os.WriteFile(row, nil, 0o600))
	require.NoError(t, anew(state))
	require.NoDirExists(t, place)
}
