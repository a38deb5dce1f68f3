package api_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/blob"
	"github.com/atom-fabric/fabric/internal/site/agent"
)

// A chunked API keeps blobs and pieces in a directory. Sites s1 and s2 of h1
// are asked for an update.
type chunked struct {
	*served
	dir  *blob.Dir
	auth request
}

func chunks(t testing.TB, limits blob.Limits, maxUpload int64) *chunked {
	t.Helper()
	dir, err := blob.NewDir(t.TempDir())
	require.NoError(t, err)
	uploads, err := dir.Uploads(limits)
	require.NoError(t, err)
	s := serve(t, func(o *api.Options, p *api.Ports) {
		o.MaxUpload = maxUpload
		p.Blobs, p.Uploads = dir, uploads
	})
	manifest, err := dir.Put(t.Context(), artifact.MediaTypeManifest, strings.NewReader(`{"kind":"train"}`))
	require.NoError(t, err)
	for _, site := range []string{"h1/s1", "h1/s2"} {
		s.fabric.WorkItems[site] = []api.Work{{Manifest: manifest, Stage: contract.StageRef{
			Subject: contract.Subject{Tenant: "lab", ModelID: "m"}, Run: "run-1", Number: 1, Kind: round.Train, Region: "eu",
		}}}
	}
	return &chunked{served: s, dir: dir, auth: s.asSite("h1", "s1")}
}

func random(n int) []byte {
	out := make([]byte, n)
	rand.NewChaCha8([32]byte{3}).Read(out)
	return out
}

func blobPath(content []byte) string { return "/blobs/" + string(artifact.DigestOf(content)) }

// piece sends content[first:last+1] of a whole.
func (c *chunked) piece(content []byte, first, last int, auth request) answer {
	c.t.Helper()
	return c.do("PUT", blobPath(content), content[first:last+1], auth,
		header("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(content))))
}

// kept asks for the state.
func (c *chunked) kept(content []byte, auth request) answer {
	c.t.Helper()
	return c.do("PUT", blobPath(content), []byte{}, auth, header("Content-Range", fmt.Sprintf("bytes */%d", len(content))))
}

func (a answer) keeps(last int) {
	a.t.Helper()
	want := ""
	if last >= 0 {
		want = fmt.Sprintf("bytes=0-%d", last)
	}
	require.Equal(a.t, want, a.Header.Get("Range"))
}

func TestAnUpdateComesInPieces(t *testing.T) {
	c := chunks(t, blob.Limits{}, 0)
	content := random(9000)
	c.kept(content, c.auth).is(308).keeps(-1)
	c.piece(content, 0, 3999, c.auth).is(308).keeps(3999)
	c.piece(content, 4000, 7999, c.auth).is(308).keeps(7999)
	c.kept(content, c.auth).is(308).keeps(7999)
	c.kept(content, c.asSite("h1", "s2")).is(308).keeps(-1) // of another site nothing is told
	c.piece(content, 4000, 7999, c.auth).is(409, "wrong_offset").keeps(7999)
	c.piece(content, 8001, 8999, c.auth).is(409, "wrong_offset").keeps(7999)
	_, _, err := c.dir.File(artifact.DigestOf(content))
	require.ErrorIs(t, err, api.ErrNotFound)
	a := c.piece(content, 8000, 8999, c.auth).is(201)
	require.JSONEq(t, fmt.Sprintf(`{"digest":%q,"size_bytes":9000,"media_type":%q}`, artifact.DigestOf(content), artifact.MediaTypeWeights), string(a.body))
	c.kept(content, c.auth).is(201) // that answer may be lost
	c.kept(content, c.asSite("h1", "s2")).is(308).keeps(-1)
	file, _, err := c.dir.File(artifact.DigestOf(content))
	require.NoError(t, err)
	defer file.Close()
	got, err := io.ReadAll(file)
	require.NoError(t, err)
	require.Equal(t, content, got)
}

func TestAPieceThatBreaksOffIsKeptAsFarAsItCame(t *testing.T) {
	c := chunks(t, blob.Limits{}, 0)
	content := random(3 << 20)
	c.piece(content, 0, 1<<20-1, c.auth).is(308)
	away := errors.New("sender away")
	body := io.MultiReader(bytes.NewReader(content[1<<20:2<<20]), readFunc(func([]byte) (int, error) { return 0, away }))
	req, err := http.NewRequestWithContext(t.Context(), "PUT", c.url+blobPath(content), body)
	require.NoError(t, err)
	c.auth(req)
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", 1<<20, 3<<20-1, 3<<20))
	req.ContentLength = 2 << 20
	_, err = http.DefaultClient.Do(req)
	require.ErrorIs(t, err, away)
	var kept int
	require.Eventually(t, func() bool { // once the server has noticed
		_, err := fmt.Sscanf(c.kept(content, c.auth).Header.Get("Range"), "bytes=0-%d", &kept)
		return err == nil && kept >= 1<<20
	}, 10*time.Second, 10*time.Millisecond)
	require.Less(t, kept, 2<<20) // what the connection still held is lost
	c.piece(content, kept+1, 3<<20-1, c.auth).is(201)
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestPiecesThatAreRefused(t *testing.T) {
	c := chunks(t, blob.Limits{}, 1<<30)
	content := random(100)
	tests := []struct {
		name  string
		span  string
		body  []byte
		is    int
		code  string
		media string
	}{
		{"no range", "100", content, 400, "invalid_request", ""},
		{"another unit", "lines 0-99/100", content, 400, "invalid_request", ""},
		{"a total that is not said", "bytes 0-99/*", content, 400, "invalid_request", ""},
		{"nothing", "bytes */0", nil, 400, "invalid_request", ""},
		{"a minus", "bytes -1-98/100", content, 400, "invalid_request", ""},
		{"a plus", "bytes +0-99/100", content, 400, "invalid_request", ""},
		{"backwards", "bytes 99-0/100", content, 400, "invalid_request", ""},
		{"a number that is too long", "bytes 0-99/99999999999999999999", content, 400, "invalid_request", ""},
		{"the end after the end", "bytes 0-100/100", content, 416, "range_not_satisfiable", ""},
		{"a piece that is too large", fmt.Sprintf("bytes 0-%d/%d", 8<<20, 9<<20), make([]byte, 8<<20+1), 413, "too_large", ""},
		{"a whole that is too large", fmt.Sprintf("bytes 0-99/%d", 1<<30+1), content, 413, "too_large", ""},
		{"a body that is too short", "bytes 0-99/100", content[:99], 400, "bad_request", ""},
		{"a question with a body", "bytes */100", content, 400, "bad_request", ""},
		{"another media type", "bytes 0-99/100", content, 415, "unsupported_media_type", "application/json"},
		{"none, to see the table work", "bytes 0-99/100", content, 201, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			changes := []request{c.auth, header("Content-Range", tt.span)}
			if tt.media != "" {
				changes = append(changes, header("Content-Type", tt.media))
			}
			body := tt.body
			if body == nil {
				body = []byte{}
			}
			a := c.in(t).do("PUT", blobPath(content), body, changes...)
			if tt.code == "" {
				a.is(tt.is)
				return
			}
			a.is(tt.is, tt.code)
		})
	}
	t.Run("of a site that is asked for nothing", func(t *testing.T) {
		c.in(t).do("PUT", blobPath(content), content, c.asSite("h9", "s1"), header("Content-Range", "bytes 0-99/100")).is(409, "no_open_stage")
	})
}

func TestAWholeThatIsNotItsDigestLeavesNothing(t *testing.T) {
	c := chunks(t, blob.Limits{}, 0)
	content := random(9000)
	c.piece(content, 0, 3999, c.auth).is(308)
	altered := bytes.Clone(content)
	altered[8999] ^= 1
	c.do("PUT", blobPath(content), altered[4000:], c.auth, header("Content-Range", "bytes 4000-8999/9000")).is(422, "unverified")
	c.kept(content, c.auth).is(308).keeps(-1)
	for _, d := range [][]byte{content, altered} {
		_, _, err := c.dir.File(artifact.DigestOf(d))
		require.ErrorIs(t, err, api.ErrNotFound)
	}
}

func TestAFullSpoolAsksToComeBack(t *testing.T) {
	c := chunks(t, blob.Limits{Bytes: 10_000}, 0)
	content, other := random(9000), random(2000)
	c.piece(content, 0, 99, c.auth).is(308)
	second := c.asSite("h1", "s2")
	a := c.piece(other, 0, 99, second).is(429, "uploads_full")
	require.Equal(t, "30", a.Header.Get("Retry-After"))
	c.piece(content, 100, 8999, c.auth).is(201)
	c.piece(other, 0, 99, second).is(308)
}

// The site's own client against the API: 20 MiB in three pieces, the second
// time without a byte sent.
func TestTheAgentUploadsInPieces(t *testing.T) {
	c := chunks(t, blob.Limits{}, 0)
	content := random(20 << 20)
	token, _, err := c.issuer.MintSite("h1", "s1", "eu", time.Hour)
	require.NoError(t, err)
	sent := &counter{next: http.DefaultTransport}
	fabric, err := agent.Dial(c.url, sent)
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, fabric.PutBlob(t.Context(), token, artifact.DigestOf(content), int64(len(content)), bytes.NewReader(content)))
	}
	require.Equal(t, []int64{0, 8 << 20, 8 << 20, 4 << 20, 0}, sent.bodies)
	file, size, err := c.dir.File(artifact.DigestOf(content))
	require.NoError(t, err)
	defer file.Close()
	require.EqualValues(t, len(content), size)
}

// A counter notes the length of each request's body.
type counter struct {
	next   http.RoundTripper
	bodies []int64
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.bodies = append(c.bodies, r.ContentLength)
	return c.next.RoundTrip(r)
}

// One GiB over loopback: in pieces of 8 MiB and as 16 whole blobs of 64 MiB
// through the API, and in one request to the store alone, whose checks are the
// same. All end durable.
func BenchmarkUploadGiB(b *testing.B) {
	const total = 1 << 30
	content := random(total)
	run := func(name string, one func(b *testing.B, c *chunked)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(total)
			for b.Loop() {
				b.StopTimer()
				c := chunks(b, blob.Limits{}, 0)
				b.StartTimer()
				one(b, c)
				b.StopTimer()
				c.stop()
				b.StartTimer()
			}
		})
	}
	put := func(b *testing.B, url, path string, body []byte, want int, changes ...request) {
		req, err := http.NewRequestWithContext(b.Context(), "PUT", url+path, bytes.NewReader(body))
		require.NoError(b, err)
		req.Header.Set("Content-Type", "application/octet-stream")
		for _, change := range changes {
			change(req)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(b, err)
		require.Equal(b, want, resp.StatusCode)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(b, errors.Join(err, resp.Body.Close()))
	}
	whole, parts := artifact.DigestOf(content), make([]string, 16)
	for i := range parts {
		parts[i] = blobPath(content[i<<26 : (i+1)<<26])
	}
	run("pieces", func(b *testing.B, c *chunked) {
		for first := 0; first < total; first += 8 << 20 {
			last, want := first+8<<20-1, 308
			if last == total-1 {
				want = 201
			}
			put(b, c.url, "/blobs/"+string(whole), content[first:last+1], want, c.auth, header("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, total)))
		}
	})
	run("wholes", func(b *testing.B, c *chunked) {
		for i, path := range parts {
			put(b, c.url, path, content[i<<26:(i+1)<<26], 201, c.auth)
		}
	})
	run("one", func(b *testing.B, c *chunked) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := c.dir.Put(r.Context(), "text/plain", artifact.Expect(r.Body, whole))
			if err != nil {
				w.WriteHeader(500)
			}
		}))
		defer server.Close()
		put(b, server.URL, "/", content, 200)
	})
	b.Run("hash", func(b *testing.B) { // the limit of one core
		b.SetBytes(total)
		for b.Loop() {
			sha256.Sum256(content)
		}
	})
}
