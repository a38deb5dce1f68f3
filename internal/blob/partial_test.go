package blob_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/blob"
)

// A spooled is a store with its spool. Reopening it is what a process does that
// was killed and started again.
type spooled struct {
	*blob.Spool
	store  activities.Blobs
	dir    string // of the spool
	reopen func(blob.Limits) *blob.Spool
}

// bothStores runs a test on a directory, and on a bucket with a local spool.
func bothStores(t *testing.T, run func(t *testing.T, s *spooled)) {
	t.Run("directory", func(t *testing.T) { run(t, onDir(t, t.TempDir())) })
	t.Run("bucket", func(t *testing.T) {
		server := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
		t.Cleanup(server.Close)
		store, err := blob.NewS3(t.Context(), blob.S3Config{
			Endpoint: server.URL, Region: "us-east-1", Bucket: bucket, AccessKey: "key", SecretKey: "secret",
		})
		require.NoError(t, err)
		s := &spooled{store: store, dir: t.TempDir()}
		s.reopen = func(l blob.Limits) *blob.Spool {
			spool, err := store.Uploads(s.dir, l)
			require.NoError(t, err)
			return spool
		}
		s.Spool = s.reopen(blob.Limits{})
		run(t, s)
	})
}

func onDir(t testing.TB, root string) *spooled {
	s := &spooled{dir: filepath.Join(root, "partial")}
	s.reopen = func(l blob.Limits) *blob.Spool {
		store, err := blob.NewDir(root)
		require.NoError(t, err)
		s.store = store
		spool, err := store.Uploads(l)
		require.NoError(t, err)
		return spool
	}
	s.Spool = s.reopen(blob.Limits{})
	return s
}

// has says whether the store has the blob, and that it is what its name says.
func (s *spooled) has(t *testing.T, digest artifact.Digest) bool {
	t.Helper()
	content, err := s.store.Open(t.Context(), digest)
	if errors.Is(err, api.ErrNotFound) {
		require.ErrorIs(t, err, activities.ErrNotFound, "each side knows its own word")
		return false
	}
	require.NoError(t, err)
	defer content.Close()
	_, err = io.Copy(io.Discard, content)
	require.NoError(t, err)
	return true
}

// left returns the files of the spool, but for its gate.
func (s *spooled) left(t *testing.T, suffix string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, "*"+suffix))
	require.NoError(t, err)
	return found
}

// noise is content that compresses to nothing less, the same each time.
func noise(n int) []byte {
	out := make([]byte, n)
	rand.NewChaCha8([32]byte{7}).Read(out)
	return out
}

func upload(owner string, content []byte) api.Upload {
	return api.Upload{Owner: owner, Digest: artifact.DigestOf(content), SizeBytes: int64(len(content)), MediaType: "text/plain"}
}

// send appends content[first:last].
func send(ctx context.Context, spool *blob.Spool, u api.Upload, content []byte, first, last int) (int64, error) {
	return spool.Append(ctx, u, int64(first), bytes.NewReader(content[first:last]))
}

func TestAnUploadGoesOnAfterEachProcess(t *testing.T) {
	content := noise(10_000)
	const piece = 1024
	bothStores(t, func(t *testing.T, s *spooled) {
		u := upload("h1/s1", content)
		for first := 0; first < len(content); first += piece {
			spool := s.reopen(blob.Limits{}) // the process before it is gone
			kept, err := spool.Resume(t.Context(), u)
			require.NoError(t, err)
			require.EqualValues(t, first, kept)
			require.False(t, s.has(t, u.Digest), "not whole, so it has no name")
			last := min(first+piece, len(content))
			kept, err = send(t.Context(), spool, u, content, first, last)
			require.NoError(t, err)
			require.EqualValues(t, last, kept)
		}
		require.True(t, s.has(t, u.Digest))
		require.Empty(t, s.left(t, ".data"))
		// The answer to the last piece was lost: asked or sent again, it is there.
		kept, err := s.reopen(blob.Limits{}).Resume(t.Context(), u)
		require.NoError(t, err)
		require.Equal(t, u.SizeBytes, kept)
		kept, err = send(t.Context(), s.Spool, u, content, 9216, 10_000)
		require.NoError(t, err)
		require.Equal(t, u.SizeBytes, kept)
	})
}

func TestWhatCameOfABrokenPieceIsKept(t *testing.T) {
	away := errors.New("sender away")
	content := noise(10_000)
	bothStores(t, func(t *testing.T, s *spooled) {
		u := upload("h1/s1", content)
		_, err := send(t.Context(), s.Spool, u, content, 0, 4000)
		require.NoError(t, err)
		_, err = s.Append(t.Context(), u, 4000, io.MultiReader(bytes.NewReader(content[4000:5000]), iotest.ErrReader(away)))
		require.ErrorIs(t, err, away)
		kept, err := s.reopen(blob.Limits{}).Resume(t.Context(), u)
		require.NoError(t, err)
		require.EqualValues(t, 5000, kept)
		kept, err = send(t.Context(), s.Spool, u, content, 5000, 10_000)
		require.NoError(t, err)
		require.Equal(t, u.SizeBytes, kept)
		require.True(t, s.has(t, u.Digest))
	})
}

// A kill between the bytes and their record, or in the middle of a record,
// leaves the record before it; what is behind that is overwritten.
func TestARecordThatWasNotWritten(t *testing.T) {
	content := noise(10_000)
	tests := []struct {
		name string
		kill func(t *testing.T, data, state string)
		kept int64
	}{
		{"bytes without a record", func(t *testing.T, data, _ string) { grow(t, data, strings.Repeat("what nobody counted", 500)) }, 6000},
		{"a torn record", func(t *testing.T, _, state string) { scribble(t, state, 512) }, 3000},      // the third is in the second slot
		{"an older torn record", func(t *testing.T, _, state string) { scribble(t, state, 0) }, 6000}, // the second is in the first
		{"no record at all", func(t *testing.T, _, state string) { require.NoError(t, os.Truncate(state, 0)) }, 0},
		{"bytes that were lost", func(t *testing.T, data, _ string) { require.NoError(t, os.Truncate(data, 5999)) }, 0},
		{"all bytes lost", func(t *testing.T, data, _ string) { require.NoError(t, os.Remove(data)) }, 0},
		{"no ticket", func(t *testing.T, _, state string) { require.NoError(t, os.Remove(state)) }, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := onDir(t, t.TempDir())
			u := upload("h1/s1", content)
			for _, at := range []int{0, 3000} { // records 2 and 3; the first is of the ticket
				_, err := send(t.Context(), s.Spool, u, content, at, at+3000)
				require.NoError(t, err)
			}
			tt.kill(t, s.left(t, ".data")[0], s.left(t, ".state")[0])
			spool := s.reopen(blob.Limits{})
			kept, err := spool.Resume(t.Context(), u)
			require.NoError(t, err)
			require.Equal(t, tt.kept, kept)
			kept, err = send(t.Context(), spool, u, content, int(kept), len(content))
			require.NoError(t, err)
			require.Equal(t, u.SizeBytes, kept)
			require.True(t, s.has(t, u.Digest))
		})
	}
}

func grow(t *testing.T, path, text string) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString(text)
	require.NoError(t, errors.Join(err, file.Close()))
}

func scribble(t *testing.T, path string, at int64) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte("torn"), at+100)
	require.NoError(t, errors.Join(err, file.Close()))
}

// The steps of the end x a crash after each: the bytes are whole and recorded,
// the name is given, and that is recorded.
func TestACrashAtTheEndLosesNothing(t *testing.T) {
	content := noise(10_000)
	u := upload("h1/s1", content)
	whole := func(t *testing.T) (*spooled, []byte) {
		s := onDir(t, t.TempDir())
		_, err := send(t.Context(), s.Spool, u, content, 0, 9999)
		require.NoError(t, err)
		// The store cannot take it: its folder is a file.
		blocked := filepath.Join(filepath.Dir(s.dir), "sha256", u.Digest.Hex()[:2])
		require.NoError(t, os.WriteFile(blocked, nil, 0o600))
		_, err = send(t.Context(), s.Spool, u, content, 9999, 10_000)
		require.Error(t, err)
		require.NoError(t, os.Remove(blocked))
		state, err := os.ReadFile(s.left(t, ".state")[0])
		require.NoError(t, err)
		return s, state
	}
	t.Run("before it has its name", func(t *testing.T) {
		s, _ := whole(t)
		kept, err := s.reopen(blob.Limits{}).Resume(t.Context(), u)
		require.NoError(t, err)
		require.Equal(t, u.SizeBytes, kept)
		require.True(t, s.has(t, u.Digest))
	})
	t.Run("before that is recorded", func(t *testing.T) {
		s, state := whole(t)
		_, err := s.Resume(t.Context(), u)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(s.left(t, ".state")[0], state, 0o600)) // as it was before
		kept, err := s.reopen(blob.Limits{}).Resume(t.Context(), u)
		require.NoError(t, err)
		require.Equal(t, u.SizeBytes, kept)
	})
	t.Run("and the store has lost it since", func(t *testing.T) {
		s, _ := whole(t)
		_, err := s.Resume(t.Context(), u)
		require.NoError(t, err)
		require.NoError(t, os.Remove(filepath.Join(filepath.Dir(s.dir), "sha256", u.Digest.Hex()[:2], u.Digest.Hex())))
		kept, err := s.Resume(t.Context(), u)
		require.NoError(t, err)
		require.Zero(t, kept)
		_, err = send(t.Context(), s.Spool, u, content, 0, 10_000)
		require.NoError(t, err)
		require.True(t, s.has(t, u.Digest))
	})
}

// A process is killed with SIGKILL while it writes a piece, over and over.
func TestAKilledProcessLeavesWhatItRecorded(t *testing.T) {
	content := noise(64 << 10)
	u := upload("h1/s1", content)
	const piece = 16 << 10
	if root := os.Getenv("FABRIC_TEST_KILLED_SPOOL"); root != "" { // the process that is killed
		s := onDir(t, root)
		kept, err := s.Resume(t.Context(), u)
		require.NoError(t, err)
		if kept+piece > u.SizeBytes {
			return
		}
		_, err = send(t.Context(), s.Spool, u, content, int(kept), int(kept)+piece)
		require.NoError(t, err)
		hang := readFunc(func([]byte) (int, error) {
			os.Stdout.WriteString("in the middle\n")
			select {}
		})
		_, _ = s.Append(t.Context(), u, kept+piece, io.MultiReader(bytes.NewReader(content[kept+piece:kept+piece+100]), hang))
		return
	}
	root := t.TempDir()
	for at := int64(piece); at < u.SizeBytes; at += piece {
		child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		child.Env = append(os.Environ(), "FABRIC_TEST_KILLED_SPOOL="+root)
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		line := make([]byte, len("in the middle\n"))
		_, err = io.ReadFull(out, line)
		require.NoError(t, err)
		require.Equal(t, "in the middle\n", string(line))
		busy := onDir(t, root)
		_, err = busy.Resume(t.Context(), u)
		require.ErrorIs(t, err, api.ErrUploading, "the other process has it")
		require.NoError(t, child.Process.Kill())
		_ = child.Wait() // killed
		kept, err := busy.Resume(t.Context(), u)
		require.NoError(t, err)
		require.Equal(t, at, kept)
	}
	s := onDir(t, root)
	_, err := send(t.Context(), s.Spool, u, content, 3*piece, 4*piece)
	require.NoError(t, err)
	require.True(t, s.has(t, u.Digest))
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestAWrongDigestAtTheEndLeavesNothing(t *testing.T) {
	content := noise(10_000)
	bothStores(t, func(t *testing.T, s *spooled) {
		u := upload("h1/s1", content)
		_, err := send(t.Context(), s.Spool, u, content, 0, 5000)
		require.NoError(t, err)
		altered := bytes.Clone(content[5000:])
		altered[17] ^= 1
		kept, err := s.Append(t.Context(), u, 5000, bytes.NewReader(altered))
		require.ErrorIs(t, err, artifact.ErrContent)
		require.Zero(t, kept)
		require.Empty(t, s.left(t, ".data"))
		require.Empty(t, s.left(t, ".state"))
		require.False(t, s.has(t, u.Digest))
		require.False(t, s.has(t, artifact.DigestOf(append(bytes.Clone(content[:5000]), altered...))))
		_, err = send(t.Context(), s.Spool, u, content, 0, 10_000)
		require.NoError(t, err)
		require.True(t, s.has(t, u.Digest))
	})
}

func TestPiecesThatDoNotFollow(t *testing.T) {
	content := noise(10_000)
	s := onDir(t, t.TempDir())
	u := upload("h1/s1", content)
	_, err := send(t.Context(), s.Spool, u, content, 0, 4000)
	require.NoError(t, err)
	for _, first := range []int{0, 3999, 4001, 9999} {
		kept, err := send(t.Context(), s.Spool, u, content, first, 10_000)
		require.ErrorIs(t, err, api.ErrOffset, first)
		require.EqualValues(t, 4000, kept)
	}
	longer := u
	longer.SizeBytes++
	_, err = s.Append(t.Context(), longer, 4000, bytes.NewReader(content[4000:]))
	require.ErrorIs(t, err, api.ErrConflict)
	kept, err := s.Append(t.Context(), u, 4000, io.MultiReader(bytes.NewReader(content[4000:]), strings.NewReader("and more")))
	require.NoError(t, err)
	require.Equal(t, u.SizeBytes, kept, "what comes after the end is not read")
	for _, digest := range []artifact.Digest{"", "sha256:../../x", u.Digest + "0"} {
		bad := u
		bad.Digest = digest
		_, err := s.Append(t.Context(), bad, 0, bytes.NewReader(content))
		require.ErrorIs(t, err, artifact.ErrDigest)
		_, err = s.Resume(t.Context(), bad)
		require.ErrorIs(t, err, artifact.ErrDigest)
	}
}

func TestTwoSendersOfOneDigest(t *testing.T) {
	content := noise(100_000)
	t.Run("of one owner take turns", func(t *testing.T) {
		s := onDir(t, t.TempDir())
		u := upload("h1/s1", content)
		var senders sync.WaitGroup
		for range 4 {
			spool := s.reopen(blob.Limits{}) // as if in processes of their own
			senders.Go(func() {
				next := int64(0)
				for next < u.SizeBytes && !t.Failed() {
					kept, err := send(t.Context(), spool, u, content, int(next), min(int(next)+999, len(content)))
					switch {
					case errors.Is(err, api.ErrUploading):
						time.Sleep(time.Millisecond)
						continue
					case err != nil && !errors.Is(err, api.ErrOffset):
						t.Error(err)
					}
					next = kept
				}
			})
		}
		senders.Wait()
		require.True(t, s.has(t, u.Digest))
		require.Empty(t, s.left(t, ".data"))
	})
	t.Run("of two owners know nothing of each other", func(t *testing.T) {
		bothStores(t, func(t *testing.T, s *spooled) {
			one, two := upload("h1/s1", content), upload("h2/s1", content)
			_, err := send(t.Context(), s.Spool, one, content, 0, 50_000)
			require.NoError(t, err)
			for _, step := range []int{0, 50_000} {
				kept, err := s.Resume(t.Context(), two)
				require.NoError(t, err)
				require.EqualValues(t, step, kept)
				_, err = send(t.Context(), s.Spool, two, content, step, step+50_000)
				require.NoError(t, err)
			}
			kept, err := s.Resume(t.Context(), one)
			require.NoError(t, err)
			require.EqualValues(t, 50_000, kept, "that another has it is not told")
			_, err = send(t.Context(), s.Spool, one, content, 50_000, 100_000)
			require.NoError(t, err)
			require.True(t, s.has(t, one.Digest))
		})
	})
}
