package api_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api/apitest"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// stores is what a fabric keeps; a refusal leaves all of it as it was.
func stores(f *apitest.Fabric) [5][]string {
	text := func(keys ...artifact.Digest) []string {
		out := make([]string, len(keys))
		for i, k := range keys {
			out[i] = string(k)
		}
		slices.Sort(out)
		return out
	}
	var leaves []string
	for _, l := range f.Leaves {
		leaves = append(leaves, fmt.Sprint(l))
	}
	return [5][]string{
		text(slices.Collect(maps.Keys(f.Content))...), text(slices.Collect(maps.Keys(f.Registry))...),
		slices.Sorted(maps.Keys(f.ModelRows)), leaves, {fmt.Sprint(len(f.AliasRows))},
	}
}

// raw makes safetensors of a header and data, whatever they are.
func raw(header string, data int) []byte {
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...), make([]byte, data)...)
}

// Weights that are no safetensors in our form, each signed as if they were:
// the signature of a trusted key is no reason to keep what nobody should load.
func TestSignedWeightsThatAreNotCanonicalSafetensorsAreRefused(t *testing.T) {
	long := func(n uint64) []byte { return append(binary.LittleEndian.AppendUint64(nil, n), "{}"...) }
	one := `{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`
	tests := map[string][]byte{
		"a file of fewer than 8 bytes":        []byte("{}"),
		"a header of length 0":                long(0),
		"a header beyond 16 MiB":              long(16<<20 + 8),
		"a header of 2^63 bytes":              long(1 << 63),
		"a header of 2^64-1 bytes":            long(1<<64 - 1),
		"a header longer than the file":       long(4096),
		"a first byte that is no brace":       raw(" "+one, 8),
		"not UTF-8":                           raw("{\"\xff\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8),
		"padding with zeros":                  raw(one+strings.Repeat("\x00", (8-len(one)%8)%8), 8),
		"a tensor twice":                      raw(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}`, 16),
		"a field twice":                       raw(`{"w":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8),
		"an unknown field":                    raw(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}}`, 8),
		"an unknown dtype":                    raw(`{"w":{"dtype":"F4","shape":[2],"data_offsets":[0,8]}}`, 8),
		"a missing field":                     raw(`{"w":{"dtype":"F32","data_offsets":[0,8]}}`, 8),
		"a negative number":                   raw(`{"w":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}`, 8),
		"a number with a point":               raw(`{"w":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}`, 8),
		"a number with an exponent":           raw(`{"w":{"dtype":"F32","shape":[2e0],"data_offsets":[0,8]}}`, 8),
		"a begin after its end":               raw(`{"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}`, 8),
		"tensors that overlap":                raw(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12),
		"a hole between tensors":              raw(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}`, 20),
		"a tail that no tensor has":           raw(one, 9),
		"truncated":                           raw(one, 7),
		"a shape that is not its range":       raw(`{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}`, 8),
		"a product that overflows":            raw(`{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}`, 8),
		"9 dimensions":                        raw(`{"w":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}}`, 8),
		"a name that is empty":                raw(`{"":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8),
		"a name of 513 bytes":                 raw(`{"`+strings.Repeat("n", 513)+`":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8),
		"a name with a control character":     raw("{\"a\x01\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8),
		"metadata that are no text":           raw(`{"__metadata__":{"n":1},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8),
		"deep nesting":                        raw(`{"w":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`}`, 8),
		"a tensor of size zero":               raw(`{"w":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}`, 0),
		"more than 100,000 tensors":           manyTensors(100_001),
		"tensors out of the order of names":   raw(`{"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}`, 16),
		"a pickle of protocol 2":              []byte("\x80\x02}q\x00."),
		"a pickle of protocol 5":              []byte("\x80\x05\x95\x0b\x00\x00\x00\x00\x00\x00\x00}."),
		"a checkpoint of torch (zip, pickle)": []byte("PK\x03\x04\x14\x00\x00\x00\x00\x00archive/data.pkl\x80\x02."),
		"TorchScript (zip, code)":             []byte("PK\x03\x04\x14\x00\x00\x00\x00\x00archive/code/__torch__.py"),
		"Keras in HDF5":                       []byte("\x89HDF\r\n\x1a\n\x00\x00\x00\x00\x00\x08\x08\x00"),
		"GGUF":                                []byte("GGUF\x03\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00"),
		"joblib (zlib)":                       []byte("\x78\x9c\x6b\x60\x8a\x05\x00\x00\x8f\x00\x4d"),
		"ONNX":                                []byte("\x08\x07\x12\x07pytorch\x3a\x10"),
		"a tar archive":                       append([]byte("../evil"), make([]byte, 1017)...),
		"a gzip stream":                       []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
	}
	s := serve(t)
	before := stores(s.fabric)
	for name, weights := range tests {
		t.Run(name, func(t *testing.T) {
			s.in(t).upload(packWith(t, "t1", weights, nil, nil), s.as("t1", "data-scientist")).is(422, "bad_package")
			require.Equal(t, s.configAlone(before), stores(s.fabric))
		})
	}
}

// configAlone is what the stores may hold after a refusal of the weights: the
// config came before them, and was what its signed manifest says.
func (s *served) configAlone(before [5][]string) [5][]string {
	config := string(artifact.DigestOf([]byte(`{"config":1}`)))
	if !slices.Contains(before[0], config) {
		before[0] = slices.Sorted(slices.Values(append(slices.Clone(before[0]), config)))
	}
	return before
}

func manyTensors(n int) []byte {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		fmt.Fprintf(&b, `"%06d":{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]},`, i, 4*i, 4*i+4)
	}
	return raw(strings.TrimSuffix(b.String(), ",")+"}", 4*n)
}

// A manifest of another shape, signed by a trusted key.
func TestSignedManifestsOfOtherThingsAreRefused(t *testing.T) {
	first := func(m map[string]any) map[string]any { return m["layers"].([]any)[0].(map[string]any) }
	tests := map[string]func(m map[string]any){
		"an index instead of a manifest": func(m map[string]any) { m["mediaType"] = "application/vnd.oci.image.index.v1+json" },
		"a foreign layer with urls":      func(m map[string]any) { first(m)["urls"] = []any{"https://elsewhere.invalid/"} },
		"a compressed layer":             func(m map[string]any) { first(m)["mediaType"] = "application/vnd.cncf.model.weight.v1.tar+gzip" },
		"an archive of files":            func(m map[string]any) { first(m)["mediaType"] = "application/vnd.cncf.model.weight.v1.tar" },
		"an ONNX layer":                  func(m map[string]any) { first(m)["mediaType"] = "application/onnx" },
		"a pickle by its name": func(m map[string]any) {
			first(m)["annotations"] = map[string]any{"org.cncf.model.filepath": "model.pkl"}
		},
		"a path out of the folder": func(m map[string]any) {
			first(m)["annotations"] = map[string]any{"org.cncf.model.filepath": "../weights.safetensors"}
		},
		"weights beyond 4 GiB": func(m map[string]any) { first(m)["size"] = int64(4<<30) + 1 },
	}
	s := serve(t)
	before := stores(s.fabric)
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			s.in(t).upload(packWith(t, "t1", safetensors(t), change, nil), s.as("t1", "admin")).is(422, "bad_package")
			require.Equal(t, before, stores(s.fabric))
		})
	}
	t.Run("a layer size that is not that of the bytes", func(t *testing.T) {
		p := packWith(t, "t1", safetensors(t), func(m map[string]any) { first(m)["size"] = len(safetensors(t)) + 1 }, nil)
		s.in(t).upload(p, s.as("t1", "admin")).is(422, "bad_package")
		require.Equal(t, s.configAlone(before), stores(s.fabric))
	})
}

// A multipart form that is not as it should be, around a good package.
func TestFormsThatAreNotInOrderAreRefused(t *testing.T) {
	type field struct {
		header textproto.MIMEHeader
		text   []byte
	}
	form := func(t *testing.T, change func(fields []field) []field) ([]byte, string) {
		var fields []field
		for _, part := range pack(t, "t1", nil).parts {
			fields = append(fields, field{textproto.MIMEHeader{"Content-Disposition": {fmt.Sprintf(`form-data; name=%q`, part.name)}}, part.text})
		}
		var body bytes.Buffer
		w := multipart.NewWriter(&body)
		for _, f := range change(fields) {
			part, err := w.CreatePart(f.header)
			require.NoError(t, err)
			_, err = part.Write(f.text)
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		return body.Bytes(), w.FormDataContentType()
	}
	named := func(disposition string) func([]field) []field {
		return func(f []field) []field {
			f[5].header.Set("Content-Disposition", disposition)
			return f
		}
	}
	tests := []struct {
		name   string
		change func([]field) []field
		status int
		code   string
	}{
		{"a part too many", func(f []field) []field { return append(f, f[4]) }, 422, "bad_package"},
		{"a hundred thousand parts", func(f []field) []field { return append(f, slices.Repeat(f[4:5], 100_000)...) }, 422, "bad_package"},
		{"another order", func(f []field) []field { f[2], f[3] = f[3], f[2]; return f }, 422, "bad_package"},
		{"a name twice", func(f []field) []field { f[6] = f[5]; return f }, 422, "bad_package"},
		{"a part of no name", named("form-data"), 422, "bad_package"},
		{"a file name that is a path", named(`form-data; name="weights"; filename="../../etc/passwd"`), 422, "bad_package"},
		{"a file name with a back-slash", named(`form-data; name="weights"; filename="a\\b"`), 422, "bad_package"},
		{"a file name of control characters", named("form-data; name=\"weights\"; filename=\"a\tb\""), 422, "bad_package"},
		{"a file name of 300 bytes", named(`form-data; name="weights"; filename="` + strings.Repeat("n", 300) + `"`), 422, "bad_package"},
		{"twenty thousand headers", func(f []field) []field {
			for i := range 20_000 {
				f[0].header.Set(fmt.Sprintf("X-%d", i), "1")
			}
			return f
		}, 413, "too_large"},
		{"a header of 12 MB", func(f []field) []field { f[0].header.Set("X-Large", strings.Repeat("x", 12_000_000)); return f }, 413, "too_large"},
		{"a manifest beyond 1 MiB", func(f []field) []field { f[0].text = bytes.Repeat([]byte(" "), 1<<20+1); return f }, 413, "too_large"},
	}
	s := serve(t)
	before := stores(s.fabric)
	send := func(t *testing.T, body io.Reader, kind string) answer {
		return s.in(t).do("POST", "/models/upload", "", s.as("t1", "admin"), func(r *http.Request) {
			r.Header.Set("Content-Type", kind)
			r.Body, r.ContentLength = io.NopCloser(body), -1
			if b, ok := body.(*bytes.Reader); ok {
				r.ContentLength = b.Size()
			}
		})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body, kind := form(t, tt.change)
			send(t, bytes.NewReader(body), kind).is(tt.status, tt.code)
			after := stores(s.fabric)
			require.Equal(t, before[1:], after[1:], "neither registry, nor versions, nor log, nor aliases")
			require.Subset(t, kept(t), after[0], "nothing that its signed manifest does not name")
		})
	}
	t.Run("a length that nobody says", func(t *testing.T) {
		body, kind := form(t, func(f []field) []field { return f })
		send(t, struct{ io.Reader }{bytes.NewReader(body)}, kind).is(411, "length_required")
	})
	t.Run("a file name is of no consequence", func(t *testing.T) {
		body, kind := form(t, named(`form-data; name="weights"; filename="my-model.safetensors"`))
		send(t, bytes.NewReader(body), kind).is(201)
	})
}

// kept is what the blobs may hold of a package that was refused after its
// signatures were verified: files that the signed manifest names.
func kept(t *testing.T) []string {
	p := pack(t, "t1", nil)
	return []string{string(artifact.DigestOf(p.part("config"))), string(artifact.DigestOf(p.weights)), string(artifact.DigestOf(p.part("card")))}
}

func TestAFileThatWasSentAheadIsItsSendersAlone(t *testing.T) {
	s := serve(t)
	p := pack(t, "t1", nil)
	digest, total := artifact.DigestOf(p.weights), len(p.weights)
	piece := func(who request, from, to int) answer {
		return s.do("PUT", "/models/uploads/"+string(digest), p.weights[from:to], who,
			header("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, total)))
	}
	ann := s.as("t1", "data-scientist")
	piece(ann, 0, 10).is(308)
	a := s.do("PUT", "/models/uploads/"+string(digest), []byte{}, ann, header("Content-Range", fmt.Sprintf("bytes */%d", total))).is(308)
	require.Equal(t, "bytes=0-9", a.Header.Get("Range"))
	short := pack(t, "t1", nil).without("weights")
	s.upload(short, ann).is(422, "bad_package") // not all of it came
	piece(ann, 11, total).is(409, "wrong_offset")
	piece(ann, 10, total).is(201)

	other := packWith(t, "t2", p.weights, nil, nil).without("weights")
	s.upload(other, s.as("t2", "data-scientist")).is(422, "bad_package") // who knows a digest has no content by it
	s.do("PUT", "/models/uploads/"+string(digest), p.weights, ann).is(400, "invalid_request")
	require.Empty(t, s.fabric.ModelRows)

	s.upload(short, ann).is(201)
	require.Equal(t, p.weights, s.do("GET", "/models/m/download", nil, ann).is(200).body)
}

func TestWeightsThatWereSentAheadAreLookedAtToo(t *testing.T) {
	s := serve(t)
	pickle := []byte("\x80\x05\x95\x0b\x00\x00\x00\x00\x00\x00\x00}.")
	ann := s.as("t1", "data-scientist")
	s.do("PUT", "/models/uploads/"+string(artifact.DigestOf(pickle)), pickle, ann, header("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(pickle)-1, len(pickle)))).is(201)
	s.upload(packWith(t, "t1", pickle, nil, nil).without("weights"), ann).is(422, "bad_package")
	require.Empty(t, s.fabric.ModelRows)
	require.Empty(t, s.fabric.Registry)
	require.Empty(t, s.fabric.Leaves)
}
