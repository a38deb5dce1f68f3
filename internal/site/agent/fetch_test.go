package agent

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A leaky fabric hangs up in the middle of each answer.
type leaky struct {
	*world
	client Fabric
	mu     sync.Mutex
	asked  []string // Range of each call
}

func (l *leaky) Blob(ctx context.Context, token string, digest artifact.Digest, first int64) (io.ReadCloser, error) {
	return l.client.Blob(ctx, token, digest, first)
}

// serveCut serves content, at most so many bytes an answer; ranges says whether
// it knows them.
func (l *leaky) serveCut(t *testing.T, content []byte, most int, ranges bool) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		l.asked = append(l.asked, r.Header.Get("Range"))
		l.mu.Unlock()
		first := 0
		if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &first); n == 1 && ranges {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, len(content)-1, len(content)))
		} else {
			first = 0
		}
		rest := content[first:]
		w.Header().Set("Content-Length", fmt.Sprint(len(rest)))
		if first > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		if most < len(rest) {
			_, _ = w.Write(rest[:most])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(rest)
	}))
	t.Cleanup(server.Close)
	client, err := Dial(server.URL, http.DefaultTransport)
	require.NoError(t, err)
	l.client = client
}

func downloading(t *testing.T, opts Options, l *leaky) *Agent {
	a := start(t, opts, l)
	id, err := openIdentity(opts)
	require.NoError(t, err)
	t.Cleanup(id.close)
	a.id = id
	require.NoError(t, a.enrol(t.Context()))
	return a
}

// A download goes on where it was cut, as often as it is, and also in another
// process.
func TestADownloadGoesOnWhereItWasCut(t *testing.T) {
	content := make([]byte, 5*mib+3)
	rand.NewChaCha8([32]byte{6}).Read(content)
	d := artifact.Describe(artifact.MediaTypeWeights, content)
	for _, ranges := range []bool{true, false} {
		opts, l := options(t), &leaky{world: newWorld(t)}
		// Without ranges each answer has to reach beyond what is kept.
		most := map[bool]int{true: 2 * mib, false: 4 * mib}[ranges]
		l.serveCut(t, content, most, ranges)
		a := downloading(t, opts, l)
		if !ranges {
			l.serveCut(t, content, most, ranges)
			ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
			_, err := a.save(ctx, d, 8*mib)
			stop()
			require.Error(t, err, "it was cut at the same byte each time")
			l.serveCut(t, content, len(content), ranges)
		}
		path, err := a.save(t.Context(), d, 8*mib)
		require.NoError(t, err)
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, d.Digest, artifact.DigestOf(got))
		if ranges {
			require.Len(t, l.asked, 3)
			require.Empty(t, l.asked[0])
			require.NotEqual(t, l.asked[1], l.asked[2])
		}

		// The agent was killed before the program had it: it is not asked for again.
		calls := len(l.asked)
		path, err = a.save(t.Context(), d, 8*mib)
		require.NoError(t, err)
		require.Len(t, l.asked, calls)

		// Killed in the middle: some of it is there.
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.WriteFile(path+partial, content[:4*mib], 0o600))
		_, err = a.save(t.Context(), d, 8*mib)
		require.NoError(t, err)
		require.Equal(t, []string{fmt.Sprintf("bytes=%d-", 4*mib)}, l.asked[calls:])
	}
}

func TestDownloadsThatAreRefused(t *testing.T) {
	content := make([]byte, mib)
	d := artifact.Describe(artifact.MediaTypeWeights, content)
	opts, l := options(t), &leaky{world: newWorld(t)}
	l.serveCut(t, append(content[:mib-1:mib-1], 1), mib, true)
	a := downloading(t, opts, l)
	_, err := a.save(t.Context(), d, mib)
	require.ErrorIs(t, err, ErrContent)
	require.Len(t, l.asked, 3, "another download might do")
	left, err := filepath.Glob(filepath.Join(a.downloads(), "*"))
	require.NoError(t, err)
	for _, path := range left {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Zero(t, info.Size(), "nothing is kept of it")
	}
	_, err = a.save(t.Context(), d, mib-1)
	require.ErrorIs(t, err, ErrNotAllowed)
	_, err = a.save(t.Context(), artifact.Descriptor{Digest: "sha256:../../x", SizeBytes: 1}, mib)
	require.Error(t, err)
	require.Len(t, l.asked, 3)

	old := time.Now().Add(25 * time.Hour)
	require.NoError(t, a.tidyDownloads(old.Add(-2*time.Hour)))
	again, err := filepath.Glob(filepath.Join(a.downloads(), "*"))
	require.NoError(t, err)
	require.Equal(t, left, again)
	require.NoError(t, a.tidyDownloads(old))
	again, err = filepath.Glob(filepath.Join(a.downloads(), "*"))
	require.NoError(t, err)
	require.Empty(t, again)
}
