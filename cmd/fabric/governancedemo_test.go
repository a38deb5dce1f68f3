package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/local"
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
