package oci_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/oci"
)

// A liar is a registry that sends whatever a test wants it to.
type liar struct {
	manifests map[string]string // reference -> body
	blobs     map[string]string
	referrers []string // digests that it lists for any subject
	header    http.Header
}

func (l *liar) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	_, reference, _ := strings.Cut(req.URL.Path, repository+"/")
	kind, digest, _ := strings.Cut(reference, "/")
	body, mediaType, ok := "", "application/vnd.oci.image.manifest.v1+json", true
	switch kind {
	case "manifests":
		body, ok = l.manifests[digest]
	case "blobs":
		body, ok = l.blobs[digest]
		mediaType = "application/octet-stream"
	case "referrers":
		var list []string
		for _, d := range l.referrers {
			list = append(list, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, d, len(l.manifests[d])))
		}
		body, mediaType = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[`+strings.Join(list, ",")+`]}`, "application/vnd.oci.image.index.v1+json"
	}
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	for key := range l.header {
		w.Header().Set(key, l.header.Get(key))
	}
	_, _ = io.WriteString(w, body) // the client hangs up when it has read enough
}

func (l *liar) serve(t *testing.T) *oci.Registry {
	t.Helper()
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	r, err := oci.New(server.URL, oci.Login{})
	require.NoError(t, err)
	return r
}

func TestOtherBytesForADigest(t *testing.T) {
	ctx := context.Background()
	want := artifact.DigestOf([]byte("{}"))
	for name, header := range map[string]http.Header{
		"plainly":                       {},
		"under a lying header":          {"Docker-Content-Digest": {string(want)}},
		"as a compressed form of it":    {"Content-Encoding": {"gzip"}},
		"with a header of another kind": {"Docker-Content-Digest": {"sha512:00"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := &liar{manifests: map[string]string{string(want): `{ }`}, blobs: map[string]string{string(want): `{ }`}, header: header}
			r := l.serve(t)
			_, err := r.Manifest(ctx, repository, want)
			require.ErrorIs(t, err, artifact.ErrContent)
			content, err := r.Blob(ctx, repository, want)
			require.NoError(t, err)
			_, err = io.ReadAll(content)
			require.ErrorIs(t, err, artifact.ErrContent)
			require.NoError(t, content.Close())
		})
	}
}

func TestEndlessManifest(t *testing.T) {
	body := strings.Repeat(" ", 4<<20) + "{}"
	digest := artifact.DigestOf([]byte(body))
	l := &liar{manifests: map[string]string{string(digest): body}}
	_, err := l.serve(t).Manifest(context.Background(), repository, digest)
	require.ErrorIs(t, err, artifact.ErrTooLarge)
}

// What is listed but is no bundle of the subject is passed over, and does not
// hide the one that is.
func TestFalseReferrers(t *testing.T) {
	subject := artifact.DigestOf([]byte("subject"))
	const bundle = `{"bundle":1}`
	layer := func(content string) map[string]any {
		return map[string]any{"mediaType": artifact.MediaTypeBundle, "digest": artifact.DigestOf([]byte(content)), "size": len(content)}
	}
	good := func() map[string]any {
		return map[string]any{
			"schemaVersion": 2,
			"mediaType":     "application/vnd.oci.image.manifest.v1+json",
			"artifactType":  artifact.MediaTypeBundle,
			"config":        map[string]any{"mediaType": "application/vnd.oci.empty.v1+json", "digest": artifact.DigestOf([]byte("{}")), "size": 2},
			"layers":        []any{layer(bundle)},
			"subject":       map[string]any{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject, "size": 7},
			"annotations":   map[string]string{"dev.sigstore.bundle.predicateType": artifact.PredicateModelPackage},
		}
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, err := zip.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	large := strings.Repeat(" ", artifact.MaxBundle+1)

	tests := map[string]func(m map[string]any){
		"another subject": func(m map[string]any) { m["subject"].(map[string]any)["digest"] = artifact.DigestOf(nil) },
		"no subject":      func(m map[string]any) { delete(m, "subject") },
		"another predicate type": func(m map[string]any) {
			m["annotations"] = map[string]string{"dev.sigstore.bundle.predicateType": artifact.PredicateApproval}
		},
		"no annotation":         func(m map[string]any) { delete(m, "annotations") },
		"another artifact type": func(m map[string]any) { m["artifactType"] = "text/plain" },
		"an index":              func(m map[string]any) { m["mediaType"] = "application/vnd.oci.image.index.v1+json" },
		"no layer":              func(m map[string]any) { m["layers"] = []any{} },
		"two layers":            func(m map[string]any) { m["layers"] = []any{layer(bundle), layer(bundle)} },
		"a compressed layer": func(m map[string]any) {
			l := layer(packed.String())
			l["mediaType"] = artifact.MediaTypeBundle + "+gzip"
			m["layers"] = []any{l}
		},
		"a layer over 1 MiB": func(m map[string]any) { m["layers"] = []any{layer(large)} },
		"a layer over 1 MiB that says it is not": func(m map[string]any) {
			l := layer(large)
			l["size"] = 7
			m["layers"] = []any{l}
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			l := &liar{manifests: map[string]string{}, blobs: map[string]string{}}
			for _, content := range []string{bundle, packed.String(), large} {
				l.blobs[string(artifact.DigestOf([]byte(content)))] = content
			}
			bad := good()
			change(bad)
			for _, m := range []map[string]any{bad, good()} {
				encoded, err := json.Marshal(m)
				require.NoError(t, err)
				digest := string(artifact.DigestOf(encoded))
				l.manifests[digest] = string(encoded)
				l.referrers = append(l.referrers, digest)
			}
			l.referrers = append(l.referrers, string(artifact.DigestOf([]byte("listed, but not there"))))
			bundles, err := l.serve(t).Bundles(context.Background(), repository, subject, artifact.PredicateModelPackage)
			require.NoError(t, err)
			require.Equal(t, [][]byte{[]byte(bundle)}, bundles)
		})
	}
}

func TestReferrerWithOtherBytes(t *testing.T) {
	digest := string(artifact.DigestOf([]byte("x")))
	l := &liar{manifests: map[string]string{digest: "{}"}, referrers: []string{digest}}
	_, err := l.serve(t).Bundles(context.Background(), repository, artifact.DigestOf(nil), artifact.PredicateModelPackage)
	require.ErrorIs(t, err, artifact.ErrContent)
}
