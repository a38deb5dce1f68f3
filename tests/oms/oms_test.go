// Package oms compares what the fabric signs as OpenSSF Model Signing with a
// checker of that specification that was written from its text, and knows
// nothing of the fabric's code.
//
// Invariant: what the fabric emits is accepted by both, and every malformed
// variant in the list below is refused by both.
package oms

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/internal/cosign"
)

// A signed model: a folder, its files as the fabric knows them, and the bundle.
type model struct {
	dir    string
	files  []modelpack.File
	key    *ecdsa.PrivateKey
	public []byte
	bundle []byte
}

// emit writes a model to disk and signs it as the fabric does.
func emit(t *testing.T) *model {
	t.Helper()
	weights, err := artifact.Tensors{{Name: "w", DType: artifact.F32, Shape: []int{2, 2}, F32: []float32{1, 2, 3, 4}}}.Encode()
	require.NoError(t, err)
	m := &model{dir: t.TempDir()}
	for _, f := range []struct {
		path, media string
		content     []byte
	}{{modelpack.WeightsFile, artifact.MediaTypeWeights, weights}, {modelpack.CardFile, modelpack.MediaTypeCard, []byte(`{"model":"m"}`)}} {
		require.NoError(t, os.WriteFile(filepath.Join(m.dir, f.path), f.content, 0o600))
		m.files = append(m.files, modelpack.File{Path: f.path, Descriptor: artifact.Describe(f.media, f.content)})
	}
	m.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	m.public, err = artifact.MarshalPublicKey(&m.key.PublicKey)
	require.NoError(t, err)
	statement, err := modelpack.FilesStatement("m", m.files)
	require.NoError(t, err)
	payload, err := statement.Encode()
	require.NoError(t, err)
	signer, err := cosign.NewSigner(m.key)
	require.NoError(t, err)
	m.bundle, err = signer.Sign(t.Context(), payload)
	require.NoError(t, err)
	return m
}

// independent is the checker's verdict, from the bytes on disk.
func (m *model) independent() error { return check(m.dir, "", m.public, m.bundle) }

// ours is the fabric's verdict, from the digests that it compares bytes with.
func (m *model) ours() error {
	verified, err := artifact.VerifyBundle([]*ecdsa.PublicKey{&m.key.PublicKey}, m.bundle, artifact.PredicateOMS, modelpack.Root(m.files))
	if err != nil {
		return err
	}
	return modelpack.CheckFiles(verified.Predicate, m.files)
}

func TestAnIndependentCheckerAcceptsWhatWeSign(t *testing.T) {
	m := emit(t)
	require.NoError(t, m.independent())
	require.NoError(t, m.ours())

	// The bundle may lie in the folder that it signs (section 9).
	beside := filepath.Join(m.dir, "model.sig")
	require.NoError(t, os.WriteFile(beside, m.bundle, 0o600))
	require.NoError(t, check(m.dir, beside, m.public, m.bundle))
	require.Error(t, m.independent(), "but not as a file of the model")
}

func TestBothSignersWriteTheHintOfTheSpecification(t *testing.T) {
	m := emit(t)
	statement, err := modelpack.FilesStatement("m", m.files)
	require.NoError(t, err)
	m.bundle, err = artifact.SignStatement(rand.Reader, m.key, statement)
	require.NoError(t, err)
	require.NoError(t, m.independent())
}

// What the specification demands to be accepted, and others write.
func TestWhatOthersWriteIsAcceptedByBoth(t *testing.T) {
	for name, change := range map[string]func(s, p, how map[string]any){
		"another name of the subject": func(s, _, _ map[string]any) { subject(s)["name"] = "model" },
		"ignored paths":               func(_, _, how map[string]any) { how["ignore_paths"] = []any{".git", "model.sig"} },
		"links were allowed":          func(_, _, how map[string]any) { how["allow_symlinks"] = true },
		"more fields of a resource":   func(_, p, _ map[string]any) { first(p)["uri"] = "file:card.json" },
	} {
		t.Run(name, func(t *testing.T) {
			m := emit(t)
			m.restate(t, change)
			require.NoError(t, m.independent())
			require.NoError(t, m.ours())
		})
	}
	for name, keyid := range map[string]any{"null": nil, "empty": ""} {
		t.Run("a keyid that is "+name, func(t *testing.T) {
			m := emit(t)
			m.rewrap(t, func(b map[string]any) { signature(b)["keyid"] = keyid })
			require.NoError(t, m.independent())
			require.NoError(t, m.ours())
		})
	}
}

func TestEveryMalformedVariantIsRefusedByBoth(t *testing.T) {
	restated := func(change func(s, p, how map[string]any)) func(*testing.T, *model) {
		return func(t *testing.T, m *model) { m.restate(t, change) }
	}
	rewrapped := func(change func(b map[string]any)) func(*testing.T, *model) {
		return func(t *testing.T, m *model) { m.rewrap(t, change) }
	}
	text := func(from, to string) func(*testing.T, *model) {
		return func(t *testing.T, m *model) {
			before := m.payload(t)
			require.Contains(t, before, from)
			m.sign(t, []byte(strings.Replace(before, from, to, 1)))
		}
	}
	disk := func(change func(t *testing.T, dir string, m *model)) func(*testing.T, *model) {
		return func(t *testing.T, m *model) { change(t, m.dir, m) }
	}
	tests := []struct {
		name   string
		change func(*testing.T, *model)
	}{
		// The bundle: sections 4, 8.1, 8.2.
		{"another media type", rewrapped(func(b map[string]any) { b["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.9+json" })},
		{"no media type", rewrapped(func(b map[string]any) { delete(b, "mediaType") })},
		{"no verification material", rewrapped(func(b map[string]any) { delete(b, "verificationMaterial") })},
		{"a certificate chain beside the key", rewrapped(func(b map[string]any) {
			b["verificationMaterial"].(map[string]any)["x509CertificateChain"] = map[string]any{"certificates": []any{}}
		})},
		{"no signature", rewrapped(func(b map[string]any) { b["dsseEnvelope"].(map[string]any)["signatures"] = []any{} })},
		{"two signatures", rewrapped(func(b map[string]any) {
			e := b["dsseEnvelope"].(map[string]any)
			e["signatures"] = append(e["signatures"].([]any), e["signatures"].([]any)[0])
		})},
		{"another payload type", rewrapped(func(b map[string]any) { b["dsseEnvelope"].(map[string]any)["payloadType"] = "text/plain" })},
		{"a byte of the payload", rewrapped(func(b map[string]any) {
			e := b["dsseEnvelope"].(map[string]any)
			raw, _ := base64.StdEncoding.DecodeString(e["payload"].(string))
			e["payload"] = base64.StdEncoding.EncodeToString(bytes.Replace(raw, []byte(`"name":"m"`), []byte(`"name":"n"`), 1))
		})},
		{"a signature with a byte more", rewrapped(func(b map[string]any) {
			raw, _ := base64.StdEncoding.DecodeString(signature(b)["sig"].(string))
			signature(b)["sig"] = base64.StdEncoding.EncodeToString(append(raw, 0))
		})},
		{"the envelope of DSSE's draft (DSSEV1)", func(t *testing.T, m *model) {
			payload := m.payload(t)
			m.wrap(t, []byte(payload), fmt.Sprintf("DSSEV1 %d %s %d %s", len(artifact.PayloadType), artifact.PayloadType, len(payload), payload))
		}},
		{"another key", func(t *testing.T, m *model) {
			stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			require.NoError(t, err)
			own := m.key
			m.key = stranger
			m.sign(t, []byte(m.payload(t)))
			m.key = own
		}},
		{"a member of the bundle twice", func(_ *testing.T, m *model) {
			m.bundle = bytes.Replace(m.bundle, []byte("{"), []byte(`{"mediaType":"x",`), 1)
		}},
		{"text after the bundle", func(_ *testing.T, m *model) { m.bundle = append(m.bundle, "{}"...) }},

		// The statement: sections 5.1, 6.5, 6.6, 8.3.
		{"another type of statement", restated(func(s, _, _ map[string]any) { s["_type"] = "https://in-toto.io/Statement/v2" })},
		{"the predicate type of version 0.1", restated(func(s, _, _ map[string]any) { s["predicateType"] = "https://model_signing/Digests/v0.1" })},
		{"a predicate type with a slash more", restated(func(s, _, _ map[string]any) { s["predicateType"] = artifact.PredicateOMS + "/" })},
		{"no subject", restated(func(s, _, _ map[string]any) { s["subject"] = []any{} })},
		{"two subjects", restated(func(s, _, _ map[string]any) { s["subject"] = append(s["subject"].([]any), s["subject"].([]any)[0]) })},
		{"a subject by another hash", restated(func(s, _, _ map[string]any) {
			subject(s)["digest"] = map[string]any{"sha512": strings.Repeat("0", 128)}
		})},
		{"a root in capitals", restated(func(s, _, _ map[string]any) {
			d := subject(s)["digest"].(map[string]any)
			d["sha256"] = strings.ToUpper(d["sha256"].(string))
		})},
		{"the root of other files", restated(func(s, _, _ map[string]any) { subject(s)["digest"] = map[string]any{"sha256": strings.Repeat("0", 64)} })},
		{"the root over the hex digits", restated(func(s, p, _ map[string]any) {
			sum := sha256.New()
			for _, r := range p["resources"].([]any) {
				fmt.Fprint(sum, r.(map[string]any)["digest"])
			}
			subject(s)["digest"] = map[string]any{"sha256": hex.EncodeToString(sum.Sum(nil))}
		})},
		{"no predicate", restated(func(s, _, _ map[string]any) { delete(s, "predicate") })},
		{"a member of the statement twice", text(`{"_type"`, `{"predicateType":"x","_type"`)},
		{"text after the statement", func(t *testing.T, m *model) { m.sign(t, []byte(m.payload(t)+"{}")) }},

		// The predicate: sections 5.2, 6.1.2, 6.3.
		{"no resources", restated(func(_, p, _ map[string]any) { delete(p, "resources") })},
		{"an empty list of resources", restated(func(_, p, _ map[string]any) { p["resources"] = []any{} })},
		{"resources out of order", restated(func(_, p, _ map[string]any) {
			r := p["resources"].([]any)
			r[0], r[1] = r[1], r[0]
		})},
		{"a resource twice", restated(func(_, p, _ map[string]any) {
			p["resources"] = append(p["resources"].([]any), p["resources"].([]any)[1])
		})},
		{"a resource without a name", restated(func(_, p, _ map[string]any) { delete(first(p), "name") })},
		{"a resource without a digest", restated(func(_, p, _ map[string]any) { delete(first(p), "digest") })},
		{"a resource without an algorithm", restated(func(_, p, _ map[string]any) { delete(first(p), "algorithm") })},
		{"a digest that is no string", restated(func(_, p, _ map[string]any) { first(p)["digest"] = 5 })},
		{"a name in another case of key", restated(func(_, p, _ map[string]any) {
			first(p)["Name"] = first(p)["name"]
			delete(first(p), "name")
		})},
		{"a digest in capitals", restated(func(_, p, _ map[string]any) { first(p)["digest"] = strings.ToUpper(first(p)["digest"].(string)) })},
		{"a digest that is cut", restated(func(_, p, _ map[string]any) { first(p)["digest"] = first(p)["digest"].(string)[:40] })},
		{"an algorithm that is not hash_type", restated(func(_, p, _ map[string]any) { first(p)["algorithm"] = "blake2b" })},
		{"an absolute path", restated(func(_, p, _ map[string]any) { first(p)["name"] = "/card.json" })},
		{"a path out of the folder", restated(func(_, p, _ map[string]any) { first(p)["name"] = "../card.json" })},
		{"a path with a dot", restated(func(_, p, _ map[string]any) { first(p)["name"] = "./card.json" })},
		{"a path with a double slash", restated(func(_, p, _ map[string]any) { first(p)["name"] = "a//card.json" })},
		{"a path with a slash at its end", restated(func(_, p, _ map[string]any) { first(p)["name"] = "card.json/" })},
		{"a name in another case", restated(func(_, p, _ map[string]any) { first(p)["name"] = "Card.json" })},
		{"a file less", restated(func(s, p, _ map[string]any) {
			p["resources"] = p["resources"].([]any)[:1]
			raw, _ := hex.DecodeString(first(p)["digest"].(string))
			sum := sha256.Sum256(raw)
			subject(s)["digest"] = map[string]any{"sha256": hex.EncodeToString(sum[:])}
		})},
		{"a member of a resource twice", text(`"name":"card.json"`, `"name":"card.json","name":"card.json"`)},
		{"no serialization", restated(func(_, p, _ map[string]any) { delete(p, "serialization") })},
		{"no method", restated(func(_, _, how map[string]any) { delete(how, "method") })},
		{"shards", restated(func(_, _, how map[string]any) { how["method"], how["shard_size"] = "shards", 1000000000 })},
		{"files with a size of shards", restated(func(_, _, how map[string]any) { how["shard_size"] = 1000000000 })},
		{"no hash_type", restated(func(_, _, how map[string]any) { delete(how, "hash_type") })},
		{"another hash_type", restated(func(_, _, how map[string]any) { how["hash_type"] = "blake3" })},
		{"no allow_symlinks", restated(func(_, _, how map[string]any) { delete(how, "allow_symlinks") })},

		// The files: sections 8.4, 8.5. Ours compares digests, which the bytes of a
		// package have been compared with before; the test does so here.
		{"a file with another byte", disk(func(t *testing.T, dir string, m *model) {
			m.put(t, modelpack.CardFile, []byte(`{"model":"n"}`))
		})},
		{"a file with a byte more", disk(func(t *testing.T, dir string, m *model) {
			m.put(t, modelpack.CardFile, []byte(`{"model":"m"} `))
		})},
		{"a file that is missing", disk(func(t *testing.T, dir string, m *model) {
			require.NoError(t, os.Remove(filepath.Join(dir, modelpack.CardFile)))
			m.files = m.files[:1]
		})},
		{"a file that is not signed", disk(func(t *testing.T, dir string, m *model) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "run.py"), nil, 0o600))
			m.files = append(m.files, modelpack.File{Path: "run.py", Descriptor: artifact.Describe("text/x-python", nil)})
		})},
		{"the contents of two files exchanged", disk(func(t *testing.T, dir string, m *model) {
			a, err := os.ReadFile(filepath.Join(dir, modelpack.CardFile))
			require.NoError(t, err)
			b, err := os.ReadFile(filepath.Join(dir, modelpack.WeightsFile))
			require.NoError(t, err)
			m.put(t, modelpack.CardFile, b)
			m.put(t, modelpack.WeightsFile, a)
		})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := emit(t)
			require.NoError(t, m.independent())
			require.NoError(t, m.ours())
			tt.change(t, m)
			require.Error(t, m.independent(), "the independent checker")
			require.Error(t, m.ours(), "the fabric")
		})
	}
	t.Run("a link in the folder", func(t *testing.T) { // a package has no links; only a folder can
		m := emit(t)
		require.NoError(t, os.Symlink(modelpack.CardFile, filepath.Join(m.dir, "other.json")))
		require.ErrorContains(t, m.independent(), "is a link")
	})
	t.Run("the hint of cosign", func(t *testing.T) { // the fabric trusts no hint
		m := emit(t)
		m.rewrap(t, func(b map[string]any) {
			b["verificationMaterial"].(map[string]any)["publicKey"].(map[string]any)["hint"] = "AAAA"
		})
		require.ErrorContains(t, m.independent(), "hint")
		require.NoError(t, m.ours())
	})
}

func subject(s map[string]any) map[string]any { return s["subject"].([]any)[0].(map[string]any) }
func first(p map[string]any) map[string]any   { return p["resources"].([]any)[0].(map[string]any) }
func signature(b map[string]any) map[string]any {
	return b["dsseEnvelope"].(map[string]any)["signatures"].([]any)[0].(map[string]any)
}

// put writes another content under a name, and tells the fabric its digest.
func (m *model) put(t *testing.T, name string, content []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(m.dir, name), content, 0o600))
	for i := range m.files {
		if m.files[i].Path == name {
			m.files[i].Descriptor = artifact.Describe(m.files[i].MediaType, content)
		}
	}
}

// payload is what was signed.
func (m *model) payload(t *testing.T) string {
	t.Helper()
	envelope, err := artifact.ParseBundle(m.bundle)
	require.NoError(t, err)
	return string(envelope.Payload)
}

// restate signs another statement: what is wrong is wrong under a good signature.
func (m *model) restate(t *testing.T, change func(s, p, how map[string]any)) {
	t.Helper()
	var s map[string]any
	require.NoError(t, json.Unmarshal([]byte(m.payload(t)), &s))
	p := s["predicate"].(map[string]any)
	change(s, p, p["serialization"].(map[string]any))
	payload, err := json.Marshal(s)
	require.NoError(t, err)
	m.sign(t, payload)
}

// sign wraps a payload with a good signature, without the fabric's encoder.
func (m *model) sign(t *testing.T, payload []byte) {
	t.Helper()
	m.wrap(t, payload, fmt.Sprintf("DSSEv1 %d %s %d %s", len(artifact.PayloadType), artifact.PayloadType, len(payload), payload))
}

func (m *model) wrap(t *testing.T, payload []byte, pae string) {
	t.Helper()
	hash := sha256.Sum256([]byte(pae))
	der, err := ecdsa.SignASN1(rand.Reader, m.key, hash[:])
	require.NoError(t, err)
	m.rewrap(t, func(b map[string]any) {
		b["dsseEnvelope"].(map[string]any)["payload"] = base64.StdEncoding.EncodeToString(payload)
		signature(b)["sig"] = base64.StdEncoding.EncodeToString(der)
	})
}

// rewrap changes the bundle around what was signed.
func (m *model) rewrap(t *testing.T, change func(b map[string]any)) {
	t.Helper()
	var b map[string]any
	require.NoError(t, json.Unmarshal(m.bundle, &b))
	change(b)
	var err error
	m.bundle, err = json.Marshal(b)
	require.NoError(t, err)
}
