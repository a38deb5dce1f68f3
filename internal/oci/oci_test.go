package oci_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	upstream "github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/oci"
	"github.com/atom-fabric/fabric/internal/registry"
)

const repository = "models/north/tumour"

// serve starts a server and counts the requests of each kind.
func serve(t *testing.T, handler http.Handler) (*oci.Registry, *counter) {
	t.Helper()
	c := &counter{next: handler}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	r, err := oci.New(server.URL, oci.Login{})
	require.NoError(t, err)
	require.Equal(t, server.URL, r.URL())
	return r, c
}

type counter struct {
	next http.Handler
	mu   sync.Mutex
	puts int
}

func (c *counter) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method == http.MethodPut {
		c.mu.Lock()
		c.puts++
		c.mu.Unlock()
	}
	c.next.ServeHTTP(w, req)
}

// carriers are the registries that every test of the port runs against.
func carriers(t *testing.T) map[string]http.Handler {
	t.Helper()
	ours, err := registry.Open(t.TempDir(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ours.Close()) })
	quiet := upstream.Logger(log.New(io.Discard, "", 0))
	all := map[string]http.Handler{
		"with the referrers API": ours,
		"with fallback tags":     upstream.New(quiet),
	}
	if server := distribution(t); server != nil {
		all["distribution v3"] = server
	}
	return all
}

func newPackage(weights string) activities.Package {
	open := func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(weights)), nil }
	return activities.Package{
		ArtifactType: artifact.MediaTypePackage,
		ConfigType:   artifact.MediaTypeModel,
		Config:       []byte(`{"descriptor":{"name":"tumour"}}`),
		Layers:       []activities.Layer{{Descriptor: artifact.Describe(artifact.MediaTypeWeights, []byte(weights)), Path: "weights.safetensors", Open: open}},
		Annotations:  map[string]string{"dev.fabric.run": "run-1"},
	}
}

func TestPackages(t *testing.T) {
	ctx := context.Background()
	for name, handler := range carriers(t) {
		t.Run(name, func(t *testing.T) {
			r, requests := serve(t, handler)
			require.NoError(t, r.Ping(ctx))
			pushed, err := r.Push(ctx, repository, newPackage("weights"))
			require.NoError(t, err)
			require.Equal(t, "application/vnd.oci.image.manifest.v1+json", pushed.MediaType)

			manifest, err := r.Manifest(ctx, repository, pushed.Digest)
			require.NoError(t, err)
			// The layer's digest is from `printf weights | sha256sum`.
			require.Equal(t, `{"annotations":{"dev.fabric.run":"run-1"},`+
				`"artifactType":"application/vnd.cncf.model.manifest.v1+json",`+
				`"config":{"digest":"`+string(artifact.DigestOf([]byte(`{"descriptor":{"name":"tumour"}}`)))+`","mediaType":"application/vnd.cncf.model.config.v1+json","size":32},`+
				`"layers":[{"annotations":{"org.cncf.model.filepath":"weights.safetensors"},"digest":"sha256:9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c",`+
				`"mediaType":"application/vnd.cncf.model.weight.v1.safetensors","size":7}],`+
				`"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}`, string(manifest))
			require.Equal(t, pushed.Digest, artifact.DigestOf(manifest))

			content, err := r.Blob(ctx, repository, artifact.DigestOf([]byte("weights")))
			require.NoError(t, err)
			got, err := io.ReadAll(content)
			require.NoError(t, err)
			require.NoError(t, content.Close())
			require.Equal(t, "weights", string(got))

			before := requests.puts
			again, err := r.Push(ctx, repository, newPackage("weights"))
			require.NoError(t, err)
			require.Equal(t, pushed, again)
			require.Equal(t, before+1, requests.puts, "only the manifest is sent again")
		})
	}
}

func TestPushRefuses(t *testing.T) {
	ctx := context.Background()
	away := errors.New("blob away")
	for name, handler := range carriers(t) {
		t.Run(name, func(t *testing.T) {
			r, _ := serve(t, handler)
			lying := newPackage("weights")
			lying.Layers[0].Open = func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("wejghts")), nil }
			_, err := r.Push(ctx, repository, lying)
			require.Error(t, err, "content that is not what its descriptor says")
			var who *oci.RegistryError
			require.ErrorAs(t, err, &who)
			require.Equal(t, lying.Layers[0].Descriptor.Digest, who.Digest)
			_, err = r.Blob(ctx, repository, lying.Layers[0].Descriptor.Digest)
			require.ErrorIs(t, err, activities.ErrNotFound, "nothing was kept")

			broken := newPackage("other weights")
			broken.Layers[0].Open = func(context.Context) (io.ReadCloser, error) { return nil, away }
			_, err = r.Push(ctx, repository, broken)
			require.ErrorIs(t, err, away)

			for _, bad := range []string{"", "Models/north", "models//north", "../models", "models/north:latest", "models/a..b"} {
				_, err = r.Push(ctx, bad, newPackage("weights"))
				require.ErrorIs(t, err, oci.ErrRepository, "%q", bad)
			}
		})
	}
}

func TestNotFound(t *testing.T) {
	ctx := context.Background()
	for name, handler := range carriers(t) {
		t.Run(name, func(t *testing.T) {
			r, _ := serve(t, handler)
			none := artifact.DigestOf([]byte("none"))
			_, err := r.Manifest(ctx, repository, none)
			require.ErrorIs(t, err, activities.ErrNotFound)
			_, err = r.Blob(ctx, repository, none)
			require.ErrorIs(t, err, activities.ErrNotFound)
			bundles, err := r.Bundles(ctx, repository, none, artifact.PredicateModelPackage)
			require.NoError(t, err)
			require.Empty(t, bundles)
			for _, bad := range []artifact.Digest{"", "latest", "sha256:AA"} {
				_, err = r.Manifest(ctx, repository, bad)
				require.ErrorIs(t, err, artifact.ErrDigest)
				_, err = r.Blob(ctx, repository, bad)
				require.ErrorIs(t, err, artifact.ErrDigest)
				_, err = r.Bundles(ctx, repository, bad, artifact.PredicateModelPackage)
				require.ErrorIs(t, err, artifact.ErrDigest)
			}
		})
	}
}

func TestBundles(t *testing.T) {
	ctx := context.Background()
	for name, handler := range carriers(t) {
		t.Run(name, func(t *testing.T) {
			r, _ := serve(t, handler)
			one, err := r.Push(ctx, repository, newPackage("one"))
			require.NoError(t, err)
			two, err := r.Push(ctx, repository, newPackage("two"))
			require.NoError(t, err)

			for range 2 { // attached twice is attached once
				require.NoError(t, r.Attach(ctx, repository, one, artifact.PredicateModelPackage, []byte(`{"bundle":1}`)))
			}
			require.NoError(t, r.Attach(ctx, repository, one, artifact.PredicatePromotion, []byte(`{"bundle":2}`)))
			require.NoError(t, r.Attach(ctx, repository, two, artifact.PredicateModelPackage, []byte(`{"bundle":3}`)))

			bundles, err := r.Bundles(ctx, repository, one.Digest, artifact.PredicateModelPackage)
			require.NoError(t, err)
			require.Equal(t, [][]byte{[]byte(`{"bundle":1}`)}, bundles)
			bundles, err = r.Bundles(ctx, repository, two.Digest, artifact.PredicateModelPackage)
			require.NoError(t, err)
			require.Equal(t, [][]byte{[]byte(`{"bundle":3}`)}, bundles)
			bundles, err = r.Bundles(ctx, repository, two.Digest, artifact.PredicatePromotion)
			require.NoError(t, err)
			require.Empty(t, bundles)

			require.ErrorIs(t, r.Attach(ctx, repository, one, artifact.PredicatePromotion, make([]byte, artifact.MaxBundle+1)), artifact.ErrTooLarge)
		})
	}
}

// Twenty at the same time, each from a client of its own, as from twenty
// processes.
func TestConcurrentAttaches(t *testing.T) {
	ctx := context.Background()
	server := httptest.NewServer(carriers(t)["with the referrers API"])
	t.Cleanup(server.Close)
	first, err := oci.New(server.URL, oci.Login{})
	require.NoError(t, err)
	subject, err := first.Push(ctx, repository, newPackage("weights"))
	require.NoError(t, err)
	var writers sync.WaitGroup
	for i := range 20 {
		client, err := oci.New(server.URL, oci.Login{})
		require.NoError(t, err)
		writers.Go(func() {
			if err := client.Attach(ctx, repository, subject, artifact.PredicateModelPackage, fmt.Appendf(nil, `{"bundle":%d}`, i)); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	bundles, err := first.Bundles(ctx, repository, subject.Digest, artifact.PredicateModelPackage)
	require.NoError(t, err)
	require.Len(t, bundles, 20)
}

// Without the referrers API the list is a tag that writers overwrite for each
// other. A lost line is attached again, and a registry that loses it every
// time is found out.
func TestLostAttachment(t *testing.T) {
	ctx := context.Background()
	for _, tt := range []struct {
		name  string
		times int
		want  error
	}{
		{"once", 1, nil},
		{"every time", 100, oci.ErrLost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			next, lost := carriers(t)["with fallback tags"], 0
			r, _ := serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if req.Method == http.MethodPut && strings.Contains(req.URL.Path, "/manifests/sha256-") && lost < tt.times {
					lost++
					w.WriteHeader(http.StatusCreated)
					return
				}
				next.ServeHTTP(w, req)
			}))
			subject, err := r.Push(ctx, repository, newPackage("weights"))
			require.NoError(t, err)
			err = r.Attach(ctx, repository, subject, artifact.PredicateModelPackage, []byte(`{"bundle":1}`))
			require.Positive(t, lost)
			require.ErrorIs(t, err, tt.want)
			if tt.want == nil {
				require.NoError(t, err)
				bundles, err := r.Bundles(ctx, repository, subject.Digest, artifact.PredicateModelPackage)
				require.NoError(t, err)
				require.Len(t, bundles, 1)
			}
		})
	}
}

func TestTooManyBundles(t *testing.T) {
	ctx := context.Background()
	r, _ := serve(t, carriers(t)["with the referrers API"])
	subject, err := r.Push(ctx, repository, newPackage("weights"))
	require.NoError(t, err)
	for i := range 64 {
		require.NoError(t, r.Attach(ctx, repository, subject, artifact.PredicateModelPackage, fmt.Appendf(nil, `{"bundle":%d}`, i)))
	}
	bundles, err := r.Bundles(ctx, repository, subject.Digest, artifact.PredicateModelPackage)
	require.NoError(t, err)
	require.Len(t, bundles, 64)
	require.NoError(t, r.Attach(ctx, repository, subject, artifact.PredicateModelPackage, []byte(`{"bundle":64}`)))
	_, err = r.Bundles(ctx, repository, subject.Digest, artifact.PredicateModelPackage)
	require.ErrorIs(t, err, oci.ErrReferrers)
}

func TestURLs(t *testing.T) {
	for _, bad := range []string{"", "localhost:5000", "ftp://host", "http://", "http://host/v2", "https://user:secret@host", "https://host?x=1"} {
		_, err := oci.New(bad, oci.Login{})
		require.ErrorIs(t, err, oci.ErrURL, bad)
		require.NotContains(t, err.Error(), "secret")
	}
	login := oci.Login{Username: "fabric", Password: "secret"}
	for base, want := range map[string]error{
		"http://127.0.0.1:5000": nil, "http://[::1]:5000": nil, "http://localhost:5000/": nil, "https://registry.example.org": nil,
		"http://registry:5000": oci.ErrClearText, "http://127.example.org": oci.ErrClearText,
	} {
		_, err := oci.New(base, login)
		require.ErrorIs(t, err, want, base)
		if want == nil {
			require.NoError(t, err, base)
		}
		_, err = oci.New(base, oci.Login{})
		require.NoError(t, err, base)
	}
}

func TestLogin(t *testing.T) {
	ctx := context.Background()
	next := carriers(t)["with the referrers API"]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if user, password, _ := req.BasicAuth(); user != "fabric" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	nobody, err := oci.New(server.URL, oci.Login{})
	require.NoError(t, err)
	require.Error(t, nobody.Ping(ctx))
	_, err = nobody.Push(ctx, repository, newPackage("weights"))
	require.Error(t, err)
	known, err := oci.New(server.URL, oci.Login{Username: "fabric", Password: "secret"})
	require.NoError(t, err)
	require.NoError(t, known.Ping(ctx))
	_, err = known.Push(ctx, repository, newPackage("weights"))
	require.NoError(t, err)
}
