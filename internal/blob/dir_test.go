package blob_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/blob"
	"github.com/atom-fabric/fabric/internal/blob/blobtest"
)

func files(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			all = append(all, path)
		}
		return err
	}))
	return all
}

func TestDir(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blobtest.Subject {
		root := t.TempDir()
		store, err := blob.NewDir(root)
		require.NoError(t, err)
		return blobtest.Subject{
			Store: store,
			Corrupt: func(t *testing.T, digest artifact.Digest, content []byte) {
				require.NoError(t, os.WriteFile(filepath.Join(root, "sha256", digest.Hex()[:2], digest.Hex()), content, 0o600))
			},
			Count: func(t *testing.T) int { return len(files(t, root)) },
		}
	})
}

func TestDirIsReopened(t *testing.T) {
	root := t.TempDir()
	first, err := blob.NewDir(root)
	require.NoError(t, err)
	put, err := first.Put(context.Background(), "text/plain", strings.NewReader("abc"))
	require.NoError(t, err)

	left := filepath.Join(root, "tmp", "put-crashed")
	live := filepath.Join(root, "tmp", "put-live")
	for _, path := range []string{left, live} {
		require.NoError(t, os.WriteFile(path, []byte("half"), 0o600))
	}
	old := time.Now().Add(-25 * time.Hour)
	require.NoError(t, os.Chtimes(left, old, old))

	second, err := blob.NewDir(root)
	require.NoError(t, err)
	_, size, err := second.File(put.Digest)
	require.NoError(t, err)
	require.EqualValues(t, 3, size)
	require.NoFileExists(t, left)
	require.FileExists(t, live, "another process may be writing it")
}

// Writing again repairs a file that has rotted.
func TestDirRepairs(t *testing.T) {
	root := t.TempDir()
	store, err := blob.NewDir(root)
	require.NoError(t, err)
	put, err := store.Put(context.Background(), "text/plain", strings.NewReader("abc"))
	require.NoError(t, err)
	path := filepath.Join(root, "sha256", put.Digest.Hex()[:2], put.Digest.Hex())
	require.NoError(t, os.WriteFile(path, []byte("rot"), 0o600))
	_, err = store.Put(context.Background(), "text/plain", strings.NewReader("abc"))
	require.NoError(t, err)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "abc", string(content))
}

func TestDirThatCannotBe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := blob.NewDir(filepath.Join(path, "blobs"))
	require.Error(t, err)
}
