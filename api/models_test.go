package api_test

import (
	"bytes"
	"encoding/json"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/apitest"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
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

// pack builds a package of a tenant's model "m" that the test verifier believes.
func pack(t testing.TB, tenant string, change func(statement map[string]any)) *packaged {
	t.Helper()
	weights, config, card := []byte("the weights"), []byte(`{"config":1}`), []byte(`{"card":1}`)
	blob := func(media string, text []byte) map[string]any {
		return map[string]any{"mediaType": media, "digest": artifact.DigestOf(text), "size": len(text)}
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": artifact.MediaTypePackage,
		"config": blob(artifact.MediaTypeModel, config),
		"layers": []any{blob(artifact.MediaTypeWeights, weights), blob("application/vnd.cncf.model.doc.v1.raw", card)},
	})
	require.NoError(t, err)
	statement := map[string]any{"tenant": tenant, "model": "m", "weights": artifact.DigestOf(weights), "metrics": round.Metrics{Evaluated: 10, Correct: 9}}
	if change != nil {
		change(statement)
	}
	p := &packaged{weights: weights}
	p.add("manifest", manifest)
	p.add("bundle", apitest.Vouch(artifact.PredicateModelPackage, artifact.DigestOf(manifest), statement))
	p.add("weights", weights)
	p.add("config", config)
	p.add("card", card)
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
	require.Equal(t, "the weights", string(got.body))
	s.do("GET", "/models/m/download", nil, reader, header("If-None-Match", got.Header.Get("ETag"))).is(304)
	require.Equal(t, "weights", string(s.do("GET", "/models/m/download?version=1", nil, reader, header("Range", "bytes=4-")).is(206).body))
	require.Equal(t, p.parts[0].text, s.do("GET", "/models/m/download?part=manifest", nil, reader).is(200).body)
	require.Equal(t, p.parts[4].text, s.do("GET", "/models/m/download?part=card", nil, reader).is(200).body)
	require.Equal(t, p.parts[1].text, s.do("GET", "/models/m/bundle", nil, reader).is(200).body)
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
			p.parts[2].text = []byte("the Weights")
			return p
		}, 422, "unverified"},
		{"weights with a byte more", func(t *testing.T) *packaged {
			p := pack(t, "t1", nil)
			p.parts[2].text = []byte("the weights!")
			return p
		}, 422, "unverified"},
		{"the bundle first", func(t *testing.T) *packaged {
			p := pack(t, "t1", nil)
			p.parts[0], p.parts[1] = p.parts[1], p.parts[0]
			return p
		}, 422, "bad_package"},
		{"no card", func(t *testing.T) *packaged { p := pack(t, "t1", nil); p.parts = p.parts[:4]; return p }, 422, "bad_package"},
		{"a part twice", func(t *testing.T) *packaged { p := pack(t, "t1", nil); p.parts[3] = p.parts[2]; return p }, 422, "bad_package"},
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
