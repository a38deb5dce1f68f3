package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/apitest"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/round"
)

// A packaged is a model package as a client uploads it.
type packaged struct {
	parts []struct {
		name string
		text []byte
	}
	weights []byte
}

func (p *packaged) add(name string, text []byte) {
	p.parts = append(p.parts, struct {
		name string
		text []byte
	}{name, text})
}

// safetensors is a small model in canonical form.
func safetensors(t testing.TB) []byte {
	t.Helper()
	weights, err := artifact.Tensors{{Name: "w", DType: artifact.F32, Shape: []int{3}, F32: []float32{1, 2, 3}}}.Encode()
	require.NoError(t, err)
	return weights
}

// pack builds a package of a tenant's model "m" that the test verifier believes.
func pack(t testing.TB, tenant string, change func(statement map[string]any)) *packaged {
	t.Helper()
	return packWith(t, tenant, safetensors(t), nil, change)
}

// packWith is pack with other weights, and a manifest that is changed before it
// is signed.
func packWith(t testing.TB, tenant string, weights []byte, reshape func(manifest map[string]any), change func(statement map[string]any)) *packaged {
	t.Helper()
	config, card := []byte(`{"config":1}`), []byte(`{"card":1}`)
	blob := func(media, path string, text []byte) map[string]any {
		d := map[string]any{"mediaType": media, "digest": artifact.DigestOf(text), "size": len(text)}
		if path != "" {
			d["annotations"] = map[string]any{"org.cncf.model.filepath": path}
		}
		return d
	}
	content := map[string]any{
		"schemaVersion": 2, "mediaType": modelpack.MediaTypeImage, "artifactType": artifact.MediaTypePackage,
		"config": blob(artifact.MediaTypeModel, "", config),
		"layers": []any{blob(artifact.MediaTypeWeights, modelpack.WeightsFile, weights), blob(modelpack.MediaTypeCard, modelpack.CardFile, card)},
	}
	if reshape != nil {
		reshape(content)
	}
	manifest, err := json.Marshal(content)
	require.NoError(t, err)
	statement := map[string]any{"tenant": tenant, "model": "m", "weights": artifact.DigestOf(weights), "metrics": round.Metrics{Evaluated: 10, Correct: 9}}
	if change != nil {
		change(statement)
	}
	files, err := modelpack.FilesStatement("m", []modelpack.File{
		{Path: modelpack.WeightsFile, Descriptor: artifact.Describe(artifact.MediaTypeWeights, weights)},
		{Path: modelpack.CardFile, Descriptor: artifact.Describe(modelpack.MediaTypeCard, card)},
	})
	require.NoError(t, err)
	var listed map[string]any
	require.NoError(t, json.Unmarshal(files.Predicate, &listed))
	p := &packaged{weights: weights}
	p.add("manifest", manifest)
	p.add("bundle", apitest.Vouch(artifact.PredicateModelPackage, artifact.DigestOf(manifest), statement))
	p.add("oms", apitest.Vouch(artifact.PredicateOMS, files.Subject, listed))
	p.add("signature", apitest.Vouch(artifact.PredicateSign, artifact.DigestOf(manifest), map[string]any{}))
	p.add("config", config)
	p.add("weights", weights)
	p.add("card", card)
	return p
}

// set changes the content of a part.
func (p *packaged) set(name string, text []byte) *packaged {
	for i := range p.parts {
		if p.parts[i].name == name {
			p.parts[i].text = text
		}
	}
	return p
}

// part returns the content of a part.
func (p *packaged) part(name string) []byte {
	for _, part := range p.parts {
		if part.name == name {
			return part.text
		}
	}
	return nil
}

// without leaves a part out.
func (p *packaged) without(name string) *packaged {
	p.parts = slices.DeleteFunc(p.parts, func(part struct {
		name string
		text []byte
	}) bool {
		return part.name == name
	})
	return p
}

// upload sends the parts as a form.
func (s *served) upload(p *packaged, changes ...request) answer {
	s.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, part := range p.parts {
		field, err := w.CreateFormFile(part.name, part.name)
		require.NoError(s.t, err)
		_, err = field.Write(part.text)
		require.NoError(s.t, err)
	}
	require.NoError(s.t, w.Close())
	return s.do("POST", "/models/upload", body.Bytes(), append(changes, header("Content-Type", w.FormDataContentType()))...)
}

func TestASignedPackageBecomesAVersion(t *testing.T) {
	s := serve(t)
	ann := s.as("t1", "data-scientist")
	p := pack(t, "t1", nil)
	v := into[v1.ModelVersion](s.upload(p, header("Idempotency-Key", "u1"), ann).is(201))
	require.Equal(t, 1, v.Version)
	require.EqualValues(t, 9000, *v.Metrics.AccuracyBp)
	a := s.upload(p, header("Idempotency-Key", "u1"), ann).is(201) // another boundary, the same request
	require.Equal(t, "true", a.Header.Get("Idempotency-Replayed"))
	s.upload(pack(t, "t1", func(m map[string]any) { m["run"] = "run-1" }), header("Idempotency-Key", "u1"), ann).is(422, "idempotency_key_reused")
	require.Len(t, s.fabric.ModelRows["t1/m"].Versions, 1)
	for _, part := range p.parts {
		require.Contains(t, s.fabric.Registry, artifact.DigestOf(part.text), part.name)
	}

	reader := s.as("t1", "auditor")
	got := s.do("GET", "/models/m/download", nil, reader).is(200)
	require.Equal(t, p.weights, got.body)
	sum := sha256.Sum256(p.weights)
	require.Equal(t, "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":", got.Header.Get("Repr-Digest"))
	require.Equal(t, "sha-256="+base64.StdEncoding.EncodeToString(sum[:]), got.Header.Get("Digest"))
	require.Equal(t, "1", got.Header.Get("X-Model-Version"))
	s.do("GET", "/models/m/download", nil, reader, header("If-None-Match", got.Header.Get("ETag"))).is(304)
	require.Equal(t, p.weights[4:], s.do("GET", "/models/m/download?version=1", nil, reader, header("Range", "bytes=4-")).is(206).body)
	require.Equal(t, p.weights, s.do("GET", "/models/m/download?version=1", nil, reader, header("Range", "bytes=0-1,3-4")).is(200).body, "no answer in parts")
	for _, part := range []string{"manifest", "card", "config"} {
		require.Equal(t, p.part(part), s.do("GET", "/models/m/download?part="+part, nil, reader).is(200).body)
	}
	for about, part := range map[string]string{"package": "bundle", "files": "oms", "manifest": "signature"} {
		require.Equal(t, p.part(part), s.do("GET", "/models/m/bundle?about="+about, nil, reader).is(200).body)
	}
	require.Equal(t, p.part("bundle"), s.do("GET", "/models/m/bundle", nil, reader).is(200).body)
	s.do("GET", "/models/m/download?version=2", nil, reader).is(404, "not_found")
	require.Len(t, into[v1.ModelPage](s.do("GET", "/models", nil, reader).is(200)).Items, 1)
	require.Len(t, into[v1.Model](s.do("GET", "/models/m", nil, reader).is(200)).Versions, 1)
}

func TestAPackageThatIsRefusedLeavesNothing(t *testing.T) {
	tests := []struct {
		name   string
		pack   func(t *testing.T) *packaged
		status int
		code   string
	}{
		{"unsigned", func(t *testing.T) *packaged { p := pack(t, "t1", nil); p.parts[1].text = []byte("{}"); return p }, 422, "unverified"},
		{"signed for another manifest", func(t *testing.T) *packaged {
			p := pack(t, "t1", nil)
			p.parts[0].text = append(p.parts[0].text, ' ')
			return p
		}, 422, "unverified"},
		{"a statement of another kind", func(t *testing.T) *packaged {
			p := pack(t, "t1", nil)
			p.parts[1].text = apitest.Vouch(artifact.PredicatePolicy, artifact.DigestOf(p.parts[0].text), map[string]any{})
			return p
		}, 422, "unverified"},
		{"of another tenant", func(t *testing.T) *packaged { return pack(t, "t2", nil) }, 404, "not_found"},
		{"other weights than the statement's", func(t *testing.T) *packaged {
			return pack(t, "t1", func(m map[string]any) { m["weights"] = artifact.DigestOf(nil) })
		}, 422, "bad_package"},
		{"a model that is a path", func(t *testing.T) *packaged {
			return pack(t, "t1", func(m map[string]any) { m["model"] = "../m" })
		}, 422, "bad_package"},
		{"weights with a byte changed", func(t *testing.T) *packaged {
			p := pack(t, "t1", nil)
			other := bytes.Clone(p.weights)
			other[len(other)-1] ^= 1
			return p.set("weights", other)
		}, 422, "unverified"},
		{"weights with a byte more", func(t *testing.T) *packaged {
			p := pack(t, "t1", nil)
			return p.set("weights", append(bytes.Clone(p.weights), '!'))
		}, 422, "unverified"},
		{"no statement about the files", func(t *testing.T) *packaged { return pack(t, "t1", nil).without("oms") }, 422, "bad_package"},
		{"a statement about the files that nobody signed", func(t *testing.T) *packaged { return pack(t, "t1", nil).set("oms", []byte("{}")) }, 422, "unverified"},
		{"a statement about other files", func(t *testing.T) *packaged {
			p := pack(t, "t1", nil)
			return p.set("oms", apitest.Vouch(artifact.PredicateOMS, artifact.DigestOf(nil), map[string]any{}))
		}, 422, "unverified"},
		{"a statement that lists other files under their root", func(t *testing.T) *packaged {
			p := pack(t, "t1", nil)
			parsed, err := modelpack.ParseManifest(p.part("manifest"))
			require.NoError(t, err)
			return p.set("oms", apitest.Vouch(artifact.PredicateOMS, modelpack.Root(parsed.Files()), map[string]any{"resources": []any{}}))
		}, 422, "bad_package"},
		{"no cosign signature", func(t *testing.T) *packaged { return pack(t, "t1", nil).without("signature") }, 422, "bad_package"},
		{"the package's attestation as its signature", func(t *testing.T) *packaged {
			p := pack(t, "t1", nil)
			return p.set("signature", p.part("bundle"))
		}, 422, "unverified"},
		{"the bundle first", func(t *testing.T) *packaged {
			p := pack(t, "t1", nil)
			p.parts[0], p.parts[1] = p.parts[1], p.parts[0]
			return p
		}, 422, "bad_package"},
		{"no card", func(t *testing.T) *packaged { return pack(t, "t1", nil).without("card") }, 422, "bad_package"},
		{"a part twice", func(t *testing.T) *packaged { p := pack(t, "t1", nil); p.parts[5] = p.parts[4]; return p }, 422, "bad_package"},
		{"the files in another order", func(t *testing.T) *packaged {
			p := pack(t, "t1", nil)
			p.parts[5], p.parts[6] = p.parts[6], p.parts[5]
			return p
		}, 422, "bad_package"},
		{"a manifest with a member twice", func(t *testing.T) *packaged {
			p := pack(t, "t1", nil)
			p.parts[0].text = bytes.Replace(p.parts[0].text, []byte("{"), []byte(`{"layers":[],`), 1)
			return p
		}, 400, "bad_request"},
		{"a manifest of something else", func(t *testing.T) *packaged {
			p := pack(t, "t1", nil)
			p.parts[0].text = []byte(`{"schemaVersion":2}`)
			return p
		}, 422, "bad_package"},
		{"a manifest of 2 MiB", func(t *testing.T) *packaged {
			p := pack(t, "t1", nil)
			p.parts[0].text = bytes.Repeat([]byte(" "), 2<<20)
			return p
		}, 413, "too_large"},
	}
	s := serve(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := s.in(t)
			s.upload(tt.pack(t), s.as("t1", "data-scientist")).is(tt.status, tt.code)
			require.Empty(t, s.fabric.ModelRows)
			require.Empty(t, s.fabric.Registry)
			require.Empty(t, s.fabric.Leaves)
		})
	}
	t.Run("not a form", func(t *testing.T) {
		s := s.in(t)
		s.do("POST", "/models/upload", `{}`, s.as("t1", "admin")).is(415, "unsupported_media_type")
	})
	t.Run("cut off", func(t *testing.T) {
		s := s.in(t)
		cut := func(r *http.Request) {
			r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		}
		s.do("POST", "/models/upload", []byte("--b\r\nContent-Disposition: form-data; name=\"manifest\"\r\n\r\n{"), s.as("t1", "admin"), cut).is(400, "bad_request")
	})
}

func TestAVersionWhoseContentIsLostIsOurFault(t *testing.T) {
	s := serve(t)
	s.upload(pack(t, "t1", nil), s.as("t1", "admin")).is(201)
	clear(s.fabric.Content)
	p := into[v1.Problem](s.do("GET", "/models/m/download", nil, s.as("t1", "auditor")).is(500, "internal"))
	require.Empty(t, p.Detail)
	require.Contains(t, s.log.String(), "lost")
	s.fabric.Fail = api.ErrUnavailable
	a := s.do("GET", "/models/m/download", nil, s.as("t1", "auditor")).is(503, "unavailable")
	require.Equal(t, "1", a.Header.Get("Retry-After"))
	require.False(t, strings.Contains(string(a.body), "not available now"))
}
