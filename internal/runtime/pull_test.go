package runtime_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/runtime/runtimetest"
)

func TestRefusesWhatWasNotVouchedFor(t *testing.T) {
	w := runtimetest.NewWorld(t)
	weights := runtimetest.Logistic(t, 0)
	predicate := func(tenant, model string, content []byte) map[string]any {
		return map[string]any{"tenant": tenant, "model": model, "weights": artifact.DigestOf(content)}
	}
	tests := []struct {
		name   string
		reason string
		change func(t *testing.T, p *routing.Package)
	}{
		{"another key", "signature", func(t *testing.T, p *routing.Package) {
			p.Bundle = runtimetest.Sign(t, runtimetest.NewKey(t), p.Manifest, artifact.PredicateModelPackage, predicate("a", "m", weights))
		}},
		{"another predicate", "signature", func(t *testing.T, p *routing.Package) {
			p.Bundle = runtimetest.Sign(t, w.Key, p.Manifest, artifact.PredicatePromotion, predicate("a", "m", weights))
		}},
		{"a bundle over other content", "signature", func(t *testing.T, p *routing.Package) {
			p.Bundle = runtimetest.Sign(t, w.Key, artifact.DigestOf(weights), artifact.PredicateModelPackage, predicate("a", "m", weights))
		}},
		{"no bundle", "signature", func(_ *testing.T, p *routing.Package) { p.Bundle = nil }},
		{"another tenant's package", "vouched", func(t *testing.T, p *routing.Package) {
			p.Bundle = runtimetest.Sign(t, w.Key, p.Manifest, artifact.PredicateModelPackage, predicate("b", "m", weights))
		}},
		{"another model's package", "vouched", func(t *testing.T, p *routing.Package) {
			p.Bundle = runtimetest.Sign(t, w.Key, p.Manifest, artifact.PredicateModelPackage, predicate("a", "n", weights))
		}},
		{"weights that the signature does not name", "manifest", func(t *testing.T, p *routing.Package) {
			p.Bundle = runtimetest.Sign(t, w.Key, p.Manifest, artifact.PredicateModelPackage, predicate("a", "m", []byte("x")))
		}},
		{"a manifest that is not there", "registry", func(t *testing.T, p *routing.Package) { p.Repository = "models/a/other" }},
		{"a registry that is a file", "registry", func(_ *testing.T, p *routing.Package) { p.Registry = "file:///etc" }},
		{"a registry that does not answer", "registry", func(_ *testing.T, p *routing.Package) { p.Registry = "http://127.0.0.1:1" }},
		{"weights that are no model", "weights", func(t *testing.T, p *routing.Package) { *p = w.Push(t, "a", "m", 1, []byte("junk"), "eu") }},
		{"weights that are too large", "size", func(t *testing.T, p *routing.Package) { *p = w.Push(t, "a", "m", 1, make([]byte, 1<<20+1), "eu") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			r := start(t, dir, w.Key)
			pkg := w.Push(t, "a", "m", 1, weights, "eu")
			tt.change(t, &pkg)
			other := w.Push(t, "a", "healthy", 1, runtimetest.Logistic(t, 9), "eu")
			require.NoError(t, r.Use(snapshot(1, pkg, other)))
			require.Contains(t, r.settles(t, 1), `"packages":{"a/healthy/1"`)
			_, health := r.call(t, "GET", "/health", "")
			require.Contains(t, health, "not loaded: 1 "+tt.reason)
			code, _ := r.call(t, "POST", "/v2/models/a.m/infer", rows)
			require.Equal(t, 404, code)
			code, _ = r.call(t, "POST", "/v2/models/a.healthy/infer", rows)
			require.Equal(t, 200, code)
			if tt.reason != "weights" {
				require.NoDirExists(t, filepath.Join(dir, pkg.Manifest.Hex()))
			}
		})
	}
}

func TestRefusesALayerThatTheRegistryAltered(t *testing.T) {
	w := runtimetest.NewWorld(t)
	pkg := w.Push(t, "a", "m", 1, runtimetest.Logistic(t, 0), "eu")
	var lie atomic.Bool
	lie.Store(true)
	front := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, req *http.Request) {
		recorded := httptest.NewRecorder()
		w.Registry.Config.Handler.ServeHTTP(recorded, req)
		body := recorded.Body.Bytes()
		if lie.Load() && strings.Contains(req.URL.Path, "/blobs/") {
			body = bytes.Clone(body)
			body[len(body)-1] ^= 1
		}
		out.WriteHeader(recorded.Code)
		_, _ = out.Write(body)
	}))
	defer front.Close()
	pkg.Registry = front.URL
	r := start(t, t.TempDir(), w.Key)
	require.NoError(t, r.Use(snapshot(1, pkg)))
	require.Contains(t, r.settles(t, 1), `"packages":{}`)
	_, health := r.call(t, "GET", "/health", "")
	require.Contains(t, health, "1 digest")
	entries, err := os.ReadDir(r.dir)
	require.NoError(t, err)
	require.Empty(t, entries, "nothing is kept of what was altered")

	lie.Store(false) // and it is tried again by itself
	require.Eventually(t, func() bool { code, _ := r.call(t, "GET", "/v2/models/a.m/ready", ""); return code == 200 }, 5*time.Second, 10*time.Millisecond)
}

func TestRestartsWithoutTheRegistry(t *testing.T) {
	w := runtimetest.NewWorld(t)
	dir := t.TempDir()
	pkg := w.Push(t, "a", "m", 1, runtimetest.Logistic(t, 0), "eu")
	first := start(t, dir, w.Key)
	require.NoError(t, first.Use(snapshot(1, pkg)))
	require.Contains(t, first.settles(t, 1), pkg.Manifest)
	w.Registry.Close()

	again := start(t, dir, w.Key)
	require.NoError(t, again.Use(snapshot(1, pkg)))
	require.Contains(t, again.settles(t, 1), pkg.Manifest)

	// One altered byte on disk, and the registry away: not served.
	path := filepath.Join(dir, pkg.Manifest.Hex(), "weights.safetensors")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	text[len(text)-1] ^= 1
	require.NoError(t, os.WriteFile(path, text, 0o600))
	third := start(t, dir, w.Key)
	require.NoError(t, third.Use(snapshot(1, pkg)))
	require.Contains(t, third.settles(t, 1), `"packages":{}`)
}

func TestObeysTheRegionsPolicyItself(t *testing.T) {
	w := runtimetest.NewWorld(t)
	r := start(t, t.TempDir(), w.Key)
	pkg := w.Push(t, "consortium", "tumour", 1, runtimetest.Logistic(t, 0), "eu")
	s := snapshot(1, pkg)
	s.Policies[0].Rules = []policy.Rule{
		{Name: "clinic-here", Tenant: "clinic", Model: "tumour", Regions: []string{"eu"}, Kinds: []string{policy.Neural}},
		{Name: "others-away", Tenant: "*", Model: "*", Regions: []string{"us"}, Kinds: []string{policy.Neural}},
	}
	require.NoError(t, r.Use(s))
	require.Contains(t, r.settles(t, 1), pkg.Manifest)
	const infer = "/v2/models/consortium.tumour/infer"
	code, _ := r.call(t, "POST", infer, rows, "X-Fabric-Tenant", "clinic")
	require.Equal(t, 200, code)
	code, body := r.call(t, "POST", infer, rows, "X-Fabric-Tenant", "lab")
	require.Equal(t, 403, code, body)
	code, _ = r.call(t, "POST", infer, rows)
	require.Equal(t, 403, code, "a caller without a name is a stranger")

	// A revision that permits it to nobody unloads it.
	next := snapshot(2, pkg)
	next.Policies = []policy.Document{s.Policies[0]}
	next.Policies[0].Rules = s.Policies[0].Rules[1:]
	require.NoError(t, r.Use(next))
	require.Contains(t, r.settles(t, 2), `"packages":{}`)
	_, health := r.call(t, "GET", "/health", "")
	require.Contains(t, health, "1 policy")

	mars := snapshot(3, pkg)
	mars.Regions = mars.Regions[1:]
	require.ErrorIs(t, r.Use(mars), routing.ErrRegion)
}
