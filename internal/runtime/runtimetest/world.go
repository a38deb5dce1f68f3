// Package runtimetest makes what a runtime is fed with, signed for real: a
// registry in the test's process, packages of small models, snapshots.
//
// Invariant: everything is made through the formats that the product reads,
// never through the code under test.
package runtimetest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/registry"
)

// A World is a signing key and a registry.
type World struct {
	Key      *ecdsa.PrivateKey
	Registry *httptest.Server
}

// NewWorld starts one; it ends with the test.
func NewWorld(t testing.TB) *World {
	t.Helper()
	packages, err := registry.Open(t.TempDir(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	server := httptest.NewServer(packages)
	t.Cleanup(func() {
		server.Close()
		require.NoError(t, packages.Close())
	})
	return &World{Key: NewKey(t), Registry: server}
}

// NewKey returns a signing key.
func NewKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// Sign returns a bundle: predicate of that type about subject.
func Sign(t testing.TB, key *ecdsa.PrivateKey, subject artifact.Digest, predicateType string, predicate any) json.RawMessage {
	t.Helper()
	statement, err := artifact.NewStatement("test", subject, predicateType, predicate)
	require.NoError(t, err)
	bundle, err := artifact.SignStatement(rand.Reader, key, statement)
	require.NoError(t, err)
	return bundle
}

// Logistic returns the weights of softmax regression with two inputs and two
// classes, mean 0 and scale 1, whose logits are (0, bias + x0 - x1).
func Logistic(t testing.TB, bias float32) []byte {
	t.Helper()
	tensors := artifact.Tensors{
		{Name: "linear.bias", DType: artifact.F32, Shape: []int{2}, F32: []float32{0, bias}},
		{Name: "linear.weight", DType: artifact.F32, Shape: []int{2, 2}, F32: []float32{0, 1, 0, -1}},
		{Name: "normalise.mean", DType: artifact.F32, Shape: []int{2}, F32: []float32{0, 0}},
		{Name: "normalise.scale", DType: artifact.F32, Shape: []int{2}, F32: []float32{1, 1}},
	}
	weights, err := tensors.Encode()
	require.NoError(t, err)
	return weights
}

// Push pushes weights as a package of the model and returns it, signed, for
// the regions.
func (w *World) Push(t testing.TB, tenant, model string, version int, weights []byte, regions ...string) routing.Package {
	t.Helper()
	repository := "models/" + tenant + "/" + model
	config := []byte(`{}`)
	for _, blob := range [][]byte{weights, config} {
		w.put(t, http.MethodPost, repository+"/blobs/uploads/?digest="+string(artifact.DigestOf(blob)), "application/octet-stream", blob)
	}
	layer := artifact.Describe(artifact.MediaTypeWeights, weights)
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": artifact.MediaTypePackage,
		"config": map[string]any{"mediaType": artifact.MediaTypeModel, "digest": artifact.DigestOf(config), "size": len(config)},
		"layers": []any{map[string]any{"mediaType": layer.MediaType, "digest": layer.Digest, "size": layer.SizeBytes}},
	})
	require.NoError(t, err)
	digest := artifact.DigestOf(manifest)
	w.put(t, http.MethodPut, repository+"/manifests/"+string(digest), "application/vnd.oci.image.manifest.v1+json", manifest)
	return routing.Package{
		Tenant: tenant, Model: model, Version: version, Registry: w.Registry.URL, Repository: repository, Manifest: digest, Regions: regions,
		Bundle: Sign(t, w.Key, digest, artifact.PredicateModelPackage, map[string]any{"tenant": tenant, "model": model, "weights": layer.Digest, "run": "run-1", "round": 1}),
	}
}

func (w *World) put(t testing.TB, method, path, media string, body []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.Registry.URL+"/v2/"+path, bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", media)
	resp, err := w.Registry.Client().Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusCreated, resp.StatusCode, path)
}
