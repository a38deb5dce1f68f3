package oci_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/oci"
)

// program is a real registry without the referrers API, from this folder. `make
// conformance` builds it; where it was not built, these tests run against the
// embedded registry and the fake one alone.
const program = "../../bin/registry"

// distribution runs the real registry until the test ends, behind a handler;
// nil when it was not built.
func distribution(t *testing.T) http.Handler {
	t.Helper()
	path, err := filepath.Abs(program)
	require.NoError(t, err)
	if _, err := os.Stat(path); err != nil {
		require.Empty(t, os.Getenv("FABRIC_CONFORMANCE"), "%s was not built", program)
		return nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil,
		"version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s}\n", filepath.Join(dir, "data"), address), 0o600))
	var out bytes.Buffer
	cmd := exec.Command(path, "serve", config)
	cmd.Env = []string{"HOME=" + dir, "OTEL_TRACES_EXPORTER=none"}
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Log(out.String())
		}
	})
	base := &url.URL{Scheme: "http", Host: address}
	require.Eventually(t, func() bool {
		answer, err := http.Get(base.String() + "/v2/")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}, 20*time.Second, 20*time.Millisecond, "the registry does not answer")
	return httputil.NewSingleHostReverseProxy(base)
}

// referring is a manifest that refers to subject and holds n.
func referring(subject artifact.Descriptor, n int) []byte {
	return fmt.Appendf(nil, `{"annotations":{"n":"%d"},"artifactType":"text/plain","config":{"digest":"%s","mediaType":"application/vnd.oci.empty.v1+json","size":2},`+
		`"layers":[{"digest":"%s","mediaType":"application/vnd.oci.empty.v1+json","size":2}],"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2,`+
		`"subject":{"digest":"%s","mediaType":"%s","size":%d}}`, n, empty, empty, subject.Digest, subject.MediaType, subject.SizeBytes)
}

// opening returns what a push of a text reads.
func opening(text string) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

// empty is the digest of {}, from `printf {} | sha256sum`.
const empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"

// The exact bytes of what refers to a package are carried from one registry to
// another, and each is listed there, once.
func TestConformanceReferrersAreCarriedAsTheyAre(t *testing.T) {
	ctx := t.Context()
	for name, handler := range carriers(t) {
		t.Run(name, func(t *testing.T) {
			r, requests := serve(t, handler)
			subject, err := r.Push(ctx, repository, newPackage("weights"))
			require.NoError(t, err)
			require.NoError(t, r.PushBlob(ctx, repository, artifact.Describe("application/vnd.oci.empty.v1+json", []byte("{}")), opening("{}")))
			none, err := r.Referrers(ctx, repository, subject.Digest)
			require.NoError(t, err)
			require.Empty(t, none)
			var want []artifact.Digest
			for n := range 5 {
				text := referring(subject, n)
				require.NoError(t, r.AttachManifest(ctx, repository, subject.Digest, "application/vnd.oci.image.manifest.v1+json", text))
				want = append(want, artifact.DigestOf(text))
				got, err := r.Manifest(ctx, repository, artifact.DigestOf(text))
				require.NoError(t, err)
				require.Equal(t, string(text), string(got))
			}
			listed, err := r.Referrers(ctx, repository, subject.Digest)
			require.NoError(t, err)
			require.ElementsMatch(t, want, listed)
			before := requests.puts
			require.NoError(t, r.AttachManifest(ctx, repository, subject.Digest, "application/vnd.oci.image.manifest.v1+json", referring(subject, 0)))
			require.Equal(t, before, requests.puts, "what is attached is not sent again")
		})
	}
}

// Writers at the same time lose each other's lines of a list that clients keep.
// Each lists again and attaches again while its own is missing; once none is
// missing to its writer, attaching all of them again, one after the other, is
// what makes the list whole, and from then on it stays so.
func TestConformanceLostUpdatesAreAttachedAgain(t *testing.T) {
	ctx := t.Context()
	const writers = 12
	for name, handler := range carriers(t) {
		t.Run(name, func(t *testing.T) {
			first, _ := serve(t, handler)
			subject, err := first.Push(ctx, repository, newPackage("weights"))
			require.NoError(t, err)
			require.NoError(t, first.PushBlob(ctx, repository, artifact.Describe("application/vnd.oci.empty.v1+json", []byte("{}")), opening("{}")))
			var all sync.WaitGroup
			for n := range writers {
				r, err := oci.New(first.URL(), oci.Login{}) // a client of its own: nothing is shared but the server
				require.NoError(t, err)
				all.Go(func() {
					err := r.AttachManifest(context.WithoutCancel(ctx), repository, subject.Digest, "application/vnd.oci.image.manifest.v1+json", referring(subject, n))
					if err != nil {
						t.Logf("writer %d: %v", n, err) // it says so: a loss is never silent
					}
				})
			}
			all.Wait()
			during, err := first.Referrers(ctx, repository, subject.Digest)
			require.NoError(t, err)
			t.Logf("%d of %d listed after they raced", len(during), writers)
			for n := range writers { // one writer per subject
				require.NoError(t, first.AttachManifest(ctx, repository, subject.Digest, "application/vnd.oci.image.manifest.v1+json", referring(subject, n)))
			}
			listed, err := first.Referrers(ctx, repository, subject.Digest)
			require.NoError(t, err)
			require.Len(t, listed, writers)
		})
	}
}
