// Package blobtest holds the tests that every store of blobs must pass.
//
// Invariant: a store that passes keeps what the port activities.Blobs promises.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// A Subject is a store under test.
type Subject struct {
	Store activities.Blobs
	// Corrupt overwrites what is stored under the digest, behind the store's back.
	Corrupt func(t *testing.T, digest artifact.Digest, content []byte)
	// Count returns how many files or objects there are, temporary ones too.
	Count func(t *testing.T) int
}

// abc is the first test vector of FIPS 180-2, appendix B.1.
const abc = artifact.Digest("sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")

// Run tests a store that open makes empty.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	ctx := context.Background()
	t.Run("keeps content by its digest", func(t *testing.T) {
		s := open(t)
		got, err := s.Store.Put(ctx, "text/plain", iotest.OneByteReader(strings.NewReader("abc")))
		require.NoError(t, err)
		require.Equal(t, artifact.Descriptor{Digest: abc, SizeBytes: 3, MediaType: "text/plain"}, got)
		require.Equal(t, "abc", read(t, s.Store, abc))
	})
	t.Run("keeps nothing as something", func(t *testing.T) {
		s := open(t)
		got, err := s.Store.Put(ctx, "text/plain", strings.NewReader(""))
		require.NoError(t, err)
		require.Equal(t, artifact.DigestOf(nil), got.Digest)
		require.Empty(t, read(t, s.Store, got.Digest))
	})
	t.Run("keeps the same content once", func(t *testing.T) {
		s := open(t)
		for range 2 {
			_, err := s.Store.Put(ctx, "text/plain", strings.NewReader("abc"))
			require.NoError(t, err)
		}
		require.Equal(t, 1, s.Count(t))
		require.Equal(t, "abc", read(t, s.Store, abc))
	})
	t.Run("keeps several megabytes", func(t *testing.T) {
		s := open(t)
		content := bytes.Repeat([]byte("0123456789abcdef"), 5<<20/16)
		got, err := s.Store.Put(ctx, "text/plain", bytes.NewReader(content))
		require.NoError(t, err)
		require.Equal(t, artifact.DigestOf(content), got.Digest)
		require.Equal(t, string(content), read(t, s.Store, got.Digest))
	})
	t.Run("keeps the same content from many at once", func(t *testing.T) {
		s := open(t)
		var writers sync.WaitGroup
		for range 16 {
			writers.Go(func() {
				if _, err := s.Store.Put(ctx, "text/plain", strings.NewReader("abc")); err != nil {
					t.Error(err)
				}
			})
		}
		writers.Wait()
		require.Equal(t, 1, s.Count(t))
		require.Equal(t, "abc", read(t, s.Store, abc))
	})
	refused(t, open)
}

func refused(t *testing.T, open func(t *testing.T) Subject) {
	ctx := context.Background()
	t.Run("does not find what was never put", func(t *testing.T) {
		_, err := open(t).Store.Open(ctx, abc)
		require.ErrorIs(t, err, activities.ErrNotFound)
	})
	t.Run("does not take any text for a digest", func(t *testing.T) {
		s := open(t)
		for _, digest := range []artifact.Digest{"", "sha256:", "sha256:../../etc/passwd", abc + "0", "sha512:" + abc[7:]} {
			_, err := s.Store.Open(ctx, digest)
			require.ErrorIs(t, err, artifact.ErrDigest, "%q", digest)
		}
	})
	t.Run("gives altered content away with an error", func(t *testing.T) {
		s := open(t)
		_, err := s.Store.Put(ctx, "text/plain", strings.NewReader("abc"))
		require.NoError(t, err)
		for _, altered := range []string{"abd", "ab", "", "abcd"} {
			s.Corrupt(t, abc, []byte(altered))
			content, err := s.Store.Open(ctx, abc)
			require.NoError(t, err)
			_, err = io.ReadAll(content)
			require.ErrorIs(t, err, artifact.ErrContent, "%q", altered)
			require.NoError(t, content.Close())
		}
	})
	away := errors.New("sender away")
	ended, end := context.WithCancel(ctx)
	end()
	for _, tt := range []struct {
		name    string
		ctx     context.Context
		content io.Reader
		want    error
	}{
		{"keeps nothing of content that breaks off", ctx, io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(away)), away},
		{"keeps nothing of content over a limit", ctx, artifact.Limit(strings.NewReader("abc"), 2), artifact.ErrTooLarge},
		{"keeps nothing of content that is not the expected", ctx, artifact.Expect(strings.NewReader("abd"), abc), artifact.ErrContent},
		{"keeps nothing after the caller has gone", ended, strings.NewReader("abc"), context.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t)
			_, err := s.Store.Put(tt.ctx, "text/plain", tt.content)
			require.ErrorIs(t, err, tt.want)
			require.Zero(t, s.Count(t))
		})
	}
}

func read(t *testing.T, store activities.Blobs, digest artifact.Digest) string {
	t.Helper()
	content, err := store.Open(context.Background(), digest)
	require.NoError(t, err)
	got, err := io.ReadAll(content)
	require.NoError(t, err)
	require.NoError(t, content.Close())
	return string(got)
}
