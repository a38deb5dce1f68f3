package durable_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/durable"
)

func read(t *testing.T, path string) (string, fs.FileMode) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	return string(text), info.Mode().Perm()
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	return found
}

func TestAFileIsTheOldOrTheNewOne(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.json")
	require.NoError(t, durable.Write(path, []byte("one"), 0o600))
	require.NoError(t, durable.Write(path, []byte("two"), 0o644))
	text, mode := read(t, path)
	require.Equal(t, "two", text)
	require.Equal(t, fs.FileMode(0o644), mode, "whatever the umask is")

	broken := errors.New("broken")
	err := durable.Stream(path, 0o600, func(dst io.Writer) error {
		_, err := io.WriteString(dst, "half")
		require.NoError(t, err)
		now, _ := read(t, path)
		require.Equal(t, "two", now, "what is being written is nobody's yet")
		return broken
	})
	require.ErrorIs(t, err, broken)
	text, mode = read(t, path)
	require.Equal(t, "two", text)
	require.Equal(t, fs.FileMode(0o644), mode)
	require.Equal(t, []string{path}, names(t, dir), "nothing is left beside it")
}

func TestAFolderThatIsNotThereIsSaid(t *testing.T) {
	require.ErrorIs(t, durable.Write(filepath.Join(t.TempDir(), "no", "file"), nil, 0o600), fs.ErrNotExist)
}
