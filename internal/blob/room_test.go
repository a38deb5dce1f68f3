package blob_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/blob"
)

// begun sends the first byte of an upload.
func begun(t *testing.T, spool *blob.Spool, owner, text string) (api.Upload, error) {
	t.Helper()
	u := upload(owner, []byte(text))
	_, err := send(t.Context(), spool, u, []byte(text), 0, 1)
	return u, err
}

func TestTheSpoolHasRoomForSoMuch(t *testing.T) {
	t.Run("in number", func(t *testing.T) {
		spool := onDir(t, t.TempDir()).reopen(blob.Limits{Uploads: 2})
		one, err := begun(t, spool, "h1/s1", "one")
		require.NoError(t, err)
		_, err = begun(t, spool, "h2/s1", "two")
		require.NoError(t, err)
		_, err = begun(t, spool, "h3/s1", "three")
		require.ErrorIs(t, err, api.ErrFull)
		_, err = send(t.Context(), spool, one, []byte("one"), 1, 3)
		require.NoError(t, err, "what was let in comes to its end")
		_, err = begun(t, spool, "h3/s1", "three")
		require.NoError(t, err, "and makes room")
	})
	t.Run("in bytes, counted whole from the start", func(t *testing.T) {
		spool := onDir(t, t.TempDir()).reopen(blob.Limits{Bytes: 10})
		_, err := begun(t, spool, "h1/s1", "123456")
		require.NoError(t, err)
		_, err = begun(t, spool, "h2/s1", "12345")
		require.ErrorIs(t, err, api.ErrFull)
		_, err = begun(t, spool, "h2/s1", "1234")
		require.NoError(t, err)
		_, err = begun(t, spool, "h3/s1", "12345678901")
		require.ErrorIs(t, err, artifact.ErrTooLarge, "there is never room")
	})
	t.Run("of one owner, who loses the one that waited longest", func(t *testing.T) {
		s := onDir(t, t.TempDir())
		spool := s.reopen(blob.Limits{Own: 3})
		var all []api.Upload
		for i := range 5 {
			u, err := begun(t, spool, "h1/s1", fmt.Sprintf("number %d", i))
			require.NoError(t, err)
			all = append(all, u)
			time.Sleep(5 * time.Millisecond) // later in the file system's clock
		}
		other, err := begun(t, spool, "h2/s1", "another's")
		require.NoError(t, err)
		for i, want := range []int64{0, 0, 1, 1, 1} {
			kept, err := spool.Resume(t.Context(), all[i])
			require.NoError(t, err)
			require.Equal(t, want, kept, i)
		}
		kept, err := spool.Resume(t.Context(), other)
		require.NoError(t, err)
		require.EqualValues(t, 1, kept)
	})
	t.Run("of one owner, but what is whole goes first", func(t *testing.T) {
		s := onDir(t, t.TempDir())
		spool := s.reopen(blob.Limits{Own: 2})
		old, err := begun(t, spool, "h1/s1", "old")
		require.NoError(t, err)
		time.Sleep(5 * time.Millisecond)
		_, err = send(t.Context(), spool, upload("h1/s1", []byte("done")), []byte("done"), 0, 4)
		require.NoError(t, err)
		_, err = begun(t, spool, "h1/s1", "new")
		require.NoError(t, err)
		kept, err := spool.Resume(t.Context(), old)
		require.NoError(t, err)
		require.EqualValues(t, 1, kept)
		require.True(t, s.has(t, artifact.DigestOf([]byte("done"))))
	})
	t.Run("of one owner, but not those that are being written", func(t *testing.T) {
		spool := onDir(t, t.TempDir()).reopen(blob.Limits{Own: 1})
		reader, writer := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			_, err := spool.Append(t.Context(), upload("h1/s1", []byte("slow")), 0, reader)
			ended <- err
		}()
		_, err := writer.Write([]byte("slo"))
		require.NoError(t, err)
		_, err = begun(t, spool, "h1/s1", "quick")
		require.ErrorIs(t, err, api.ErrFull)
		_, err = writer.Write([]byte("w"))
		require.NoError(t, err)
		require.NoError(t, <-ended)
	})
}

func TestWhatNobodySendsAnyMoreIsRemoved(t *testing.T) {
	s := onDir(t, t.TempDir())
	u, err := begun(t, s.Spool, "h1/s1", "old")
	require.NoError(t, err)
	fresh, err := begun(t, s.Spool, "h2/s1", "fresh")
	require.NoError(t, err)
	orphan := s.dir + "/" + strings.Repeat("0", 32) + "-" + strings.Repeat("1", 64) + ".data"
	require.NoError(t, os.WriteFile(orphan, []byte("lost"), 0o600))
	old := time.Now().Add(-25 * time.Hour)
	for _, path := range append(s.left(t, "-"+u.Digest.Hex()+"*"), orphan) {
		require.NoError(t, os.Chtimes(path, old, old))
	}
	spool := s.reopen(blob.Limits{})
	require.Len(t, s.left(t, ".data"), 1)
	require.Len(t, s.left(t, ".state"), 1)
	kept, err := spool.Resume(t.Context(), u)
	require.NoError(t, err)
	require.Zero(t, kept)
	kept, err = spool.Resume(t.Context(), fresh)
	require.NoError(t, err)
	require.EqualValues(t, 1, kept)
}

// 256 MiB pass through a heap that grows by less than a piece.
func TestMemoryDoesNotGrowWithTheUpload(t *testing.T) {
	const total, piece = 256 << 20, 8 << 20
	sum := sha256.New()
	_, err := io.CopyN(sum, rand.NewChaCha8([32]byte{1}), total)
	require.NoError(t, err)
	u := api.Upload{
		Owner: "h1/s1", SizeBytes: total, MediaType: "text/plain",
		Digest: artifact.Digest("sha256:" + hex.EncodeToString(sum.Sum(nil))),
	}
	s := onDir(t, t.TempDir())
	content := rand.NewChaCha8([32]byte{1})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for first := int64(0); first < total; first += piece {
		_, err := s.Append(t.Context(), u, first, io.LimitReader(content, piece))
		require.NoError(t, err)
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20), "all that was ever allocated, for 32 pieces")
	require.True(t, s.has(t, u.Digest))
}

func BenchmarkUpload(b *testing.B) {
	const total = 256 << 20
	content := make([]byte, total)
	rand.NewChaCha8([32]byte{1}).Read(content)
	u := upload("h1/s1", content)
	b.Run("whole", func(b *testing.B) {
		s := onDir(b, b.TempDir())
		b.SetBytes(total)
		for b.Loop() {
			_, err := s.store.Put(b.Context(), "text/plain", bytes.NewReader(content))
			require.NoError(b, err)
		}
	})
	b.Run("pieces of 8 MiB", func(b *testing.B) {
		b.SetBytes(total)
		for b.Loop() {
			s := onDir(b, b.TempDir())
			for first := 0; first < total; first += 8 << 20 {
				_, err := send(b.Context(), s.Spool, u, content, first, first+8<<20)
				require.NoError(b, err)
			}
		}
	})
}
