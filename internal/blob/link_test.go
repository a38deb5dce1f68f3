package blob_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/blob"
)

// A second name is the same file, needs no second room, and stays when the
// first one goes.
func TestLink(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	store, err := blob.NewDir(from)
	require.NoError(t, err)
	beside, err := blob.NewDir(to)
	require.NoError(t, err)
	d, err := store.Put(t.Context(), "text/plain", strings.NewReader("abc"))
	require.NoError(t, err)
	for range 2 { // a caller that crashed does it again
		require.NoError(t, store.Link(d.Digest, to))
	}
	there := func(root string) string { return filepath.Join(root, "sha256", d.Digest.Hex()[:2], d.Digest.Hex()) }
	one, err := os.Stat(there(from))
	require.NoError(t, err)
	other, err := os.Stat(there(to))
	require.NoError(t, err)
	require.True(t, os.SameFile(one, other))
	require.NoError(t, os.Remove(there(from)))
	content, err := beside.Open(t.Context(), d.Digest)
	require.NoError(t, err)
	defer content.Close()
	text, err := io.ReadAll(content)
	require.NoError(t, err)
	require.Equal(t, "abc", string(text))
}

func TestLinkRefuses(t *testing.T) {
	store, err := blob.NewDir(t.TempDir())
	require.NoError(t, err)
	d, err := store.Put(t.Context(), "text/plain", strings.NewReader("abc"))
	require.NoError(t, err)
	to := t.TempDir()
	_, err = blob.NewDir(to)
	require.NoError(t, err)
	tests := []struct {
		name   string
		digest artifact.Digest
		in     string
		want   error
	}{
		{"what is not there", artifact.DigestOf([]byte("abd")), to, activities.ErrNotFound},
		{"a directory that is none of blobs", d.Digest, t.TempDir(), activities.ErrNotFound},
		{"what is no digest", "sha256:../../../etc/passwd", to, artifact.ErrDigest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.ErrorIs(t, store.Link(tt.digest, tt.in), tt.want)
			require.Empty(t, files(t, to))
		})
	}
}

// A part is read from where it begins, and is not compared: one that ends
// before a damage is as good as one of a whole that has none.
func TestOpenSeeks(t *testing.T) {
	root := t.TempDir()
	store, err := blob.NewDir(root)
	require.NoError(t, err)
	d, err := store.Put(t.Context(), "text/plain", strings.NewReader("abcdef"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(root, "sha256", d.Digest.Hex()[:2], d.Digest.Hex()), []byte("Abcdef"), 0o600))
	content, err := store.Open(t.Context(), d.Digest)
	require.NoError(t, err)
	defer content.Close()
	at, err := content.(io.Seeker).Seek(2, io.SeekStart)
	require.NoError(t, err)
	require.Equal(t, int64(2), at)
	text, err := io.ReadAll(content)
	require.NoError(t, err)
	require.Equal(t, "cdef", string(text))
}
