package modelpack_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
)

// manifest is a manifest as another program would write it.
func manifest(t *testing.T, change func(m map[string]any)) []byte {
	t.Helper()
	digest := "sha256:" + strings.Repeat("a", 64)
	layer := func(media, path string) map[string]any {
		return map[string]any{"mediaType": media, "digest": digest, "size": 10, "annotations": map[string]any{"org.cncf.model.filepath": path}}
	}
	m := map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": "application/vnd.cncf.model.manifest.v1+json",
		"config": map[string]any{"mediaType": "application/vnd.cncf.model.config.v1+json", "digest": digest, "size": 2},
		"layers": []any{
			layer("application/vnd.cncf.model.weight.v1.safetensors", "weights.safetensors"),
			layer("application/vnd.cncf.model.doc.v1.raw", "card.json"),
		},
	}
	if change != nil {
		change(m)
	}
	text, err := json.Marshal(m)
	require.NoError(t, err)
	return text
}

func layers(m map[string]any) []any                { return m["layers"].([]any) }
func layer(m map[string]any, n int) map[string]any { return layers(m)[n].(map[string]any) }

func TestAManifestOfAPackageIsRead(t *testing.T) {
	p, err := modelpack.ParseManifest(manifest(t, nil))
	require.NoError(t, err)
	require.Equal(t, "weights.safetensors", p.Files()[0].Path)
	require.Equal(t, "card.json", p.Card.Path)
	require.Len(t, p.Parts(), 3)
	require.Empty(t, p.Parts()[0].Path, "the config comes first and is no file")

	p, err = modelpack.ParseManifest(manifest(t, func(m map[string]any) { m["layers"] = layers(m)[:1] }))
	require.NoError(t, err)
	require.Nil(t, p.Card)
}

func TestAManifestOfAnythingElseIsRefused(t *testing.T) {
	for name, change := range map[string]func(m map[string]any){
		"schema version 1":               func(m map[string]any) { m["schemaVersion"] = 1 },
		"an index instead of a manifest": func(m map[string]any) { m["mediaType"] = "application/vnd.oci.image.index.v1+json" },
		"an index's list of manifests":   func(m map[string]any) { m["manifests"] = []any{} },
		"a docker manifest":              func(m map[string]any) { m["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json" },
		"a container image":              func(m map[string]any) { delete(m, "artifactType") },
		"a config of an image": func(m map[string]any) {
			m["config"].(map[string]any)["mediaType"] = "application/vnd.oci.image.config.v1+json"
		},
		"a subject":                     func(m map[string]any) { m["subject"] = m["config"] },
		"a foreign layer with urls":     func(m map[string]any) { layer(m, 0)["urls"] = []any{"https://elsewhere.invalid/w"} },
		"a layer with its own data":     func(m map[string]any) { layer(m, 0)["data"] = "AAAA" },
		"a compressed layer":            func(m map[string]any) { layer(m, 0)["mediaType"] = "application/vnd.cncf.model.weight.v1.tar+gzip" },
		"a tar layer":                   func(m map[string]any) { layer(m, 0)["mediaType"] = "application/vnd.cncf.model.weight.v1.tar" },
		"raw weights of unknown format": func(m map[string]any) { layer(m, 0)["mediaType"] = "application/vnd.cncf.model.weight.v1.raw" },
		"a pickle by its name": func(m map[string]any) {
			layer(m, 0)["annotations"] = map[string]any{"org.cncf.model.filepath": "model.pt"}
		},
		"a path out of the folder": func(m map[string]any) {
			layer(m, 1)["annotations"] = map[string]any{"org.cncf.model.filepath": "../card.json"}
		},
		"a layer without a path":          func(m map[string]any) { delete(layer(m, 1), "annotations") },
		"weights by the path of the card": func(m map[string]any) { layer(m, 0)["annotations"] = layer(m, 1)["annotations"] },
		"code":                            func(m map[string]any) { layer(m, 1)["mediaType"] = "application/vnd.cncf.model.code.v1.raw" },
		"an ONNX layer": func(m map[string]any) {
			m["layers"] = append(layers(m), map[string]any{"mediaType": "application/onnx", "digest": layer(m, 0)["digest"], "size": 1})
		},
		"two weights":               func(m map[string]any) { m["layers"] = append(layers(m), layers(m)[0]) },
		"two cards":                 func(m map[string]any) { m["layers"] = append(layers(m), layers(m)[1]) },
		"no weights":                func(m map[string]any) { m["layers"] = layers(m)[1:] },
		"no layers":                 func(m map[string]any) { delete(m, "layers") },
		"an empty layer":            func(m map[string]any) { layer(m, 0)["size"] = 0 },
		"a negative size":           func(m map[string]any) { layer(m, 0)["size"] = -1 },
		"a size that is no integer": func(m map[string]any) { layer(m, 0)["size"] = 1.5 },
		"weights beyond 4 GiB":      func(m map[string]any) { layer(m, 0)["size"] = int64(4<<30) + 1 },
		"a card beyond 1 MiB":       func(m map[string]any) { layer(m, 1)["size"] = 1<<20 + 1 },
		"a config beyond 1 MiB":     func(m map[string]any) { m["config"].(map[string]any)["size"] = 1<<20 + 1 },
		"a digest by another hash":  func(m map[string]any) { layer(m, 0)["digest"] = "sha512:" + strings.Repeat("a", 128) },
		"a digest in capitals":      func(m map[string]any) { layer(m, 0)["digest"] = "sha256:" + strings.Repeat("A", 64) },
		"no digest":                 func(m map[string]any) { delete(layer(m, 0), "digest") },
		"a key in another case":     func(m map[string]any) { m["Layers"] = m["layers"] },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := modelpack.ParseManifest(manifest(t, change))
			require.ErrorIs(t, err, modelpack.ErrManifest)
		})
	}
	_, err := modelpack.ParseManifest([]byte(strings.Replace(string(manifest(t, nil)), `{`, `{"layers":[],`, 1)))
	require.ErrorIs(t, err, artifact.ErrDuplicateKey)
	_, err = modelpack.ParseManifest(append(manifest(t, nil), "{}"...))
	require.ErrorIs(t, err, artifact.ErrTrailing)
	_, err = modelpack.ParseManifest([]byte(strings.Repeat(" ", modelpack.MaxManifest+1)))
	require.ErrorIs(t, err, artifact.ErrTooLarge)
}

func TestEqualPackagesHaveEqualManifests(t *testing.T) {
	config := artifact.Describe("", []byte("{}"))
	one, err := modelpack.NewManifest(config, artifact.Describe("", []byte("w")), artifact.Describe("", []byte("c")), map[string]string{"b": "2", "a": "1"})
	require.NoError(t, err)
	two, err := modelpack.NewManifest(config, artifact.Describe("", []byte("w")), artifact.Describe("", []byte("c")), map[string]string{"a": "1", "b": "2"})
	require.NoError(t, err)
	require.Equal(t, one, two)
	_, err = modelpack.NewManifest(config, artifact.Descriptor{}, config, nil)
	require.ErrorIs(t, err, modelpack.ErrManifest)
}
