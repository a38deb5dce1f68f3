package artifact_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A signed bundle, what it is about, and what it is asked for.
type specimen struct {
	key     *ecdsa.PrivateKey
	bundle  []byte
	payload []byte
	subject artifact.Digest
}

const kind = artifact.PredicateModelPackage

func newSpecimen(t *testing.T) specimen {
	t.Helper()
	s := specimen{key: newKey(t), subject: artifact.DigestOf([]byte("manifest"))}
	statement, err := artifact.NewStatement("models/north/tumour", s.subject, kind, map[string]any{"model": "tumour", "round": 7, "tags": []string{"a", "b"}})
	require.NoError(t, err)
	s.payload, err = statement.Encode()
	require.NoError(t, err)
	s.bundle, err = artifact.SignStatement(rand.NewChaCha8([32]byte{}), s.key, statement)
	require.NoError(t, err)
	return s
}

func (s specimen) verify(bundle []byte) (artifact.Verified, error) {
	return artifact.VerifyBundle([]*ecdsa.PublicKey{&s.key.PublicKey}, bundle, kind, s.subject)
}

// idle are the parts of a bundle that decide nothing, each with the reason why
// a change there cannot matter.
var idle = []struct{ begin, end, why string }{
	{`"hint":"`, `"`, "the hint names the key for other tools; we try the keys that the trust policy names"},
}

// excused returns the reason of the idle part that a byte is in.
func excused(bundle []byte, at int) string {
	for _, part := range idle {
		begin := bytes.Index(bundle, []byte(part.begin))
		if begin < 0 {
			continue
		}
		begin += len(part.begin)
		end := begin + bytes.Index(bundle[begin:], []byte(part.end))
		if at >= begin && at < end {
			return part.why
		}
	}
	return ""
}

// Every bit of every byte of a bundle matters, apart from the idle parts; and
// what is accepted in spite of a change there says the same as before.
func TestEveryChangedByteOfABundle(t *testing.T) {
	s := newSpecimen(t)
	want, err := s.verify(s.bundle)
	require.NoError(t, err)
	used := map[string]bool{}
	for at := range s.bundle {
		for bit := range 8 {
			changed := bytes.Clone(s.bundle)
			changed[at] ^= 1 << bit
			got, err := s.verify(changed)
			if err != nil {
				require.Equal(t, artifact.Verified{}, got)
				continue
			}
			why := excused(s.bundle, at)
			require.NotEmpty(t, why, "byte %d bit %d (%q) in %q", at, bit, s.bundle[at], s.bundle[max(0, at-20):min(len(s.bundle), at+20)])
			require.Equal(t, want, got)
			used[why] = true
		}
	}
	require.Len(t, used, len(idle), "an exception that is not needed")
	for _, cut := range []int{0, 1, len(s.bundle) / 2, len(s.bundle) - 1} {
		_, err := s.verify(s.bundle[:cut])
		require.Error(t, err, "cut at %d", cut)
	}
	for _, more := range []string{"{}", "x", "\x00", "null"} {
		_, err := s.verify(append(bytes.Clone(s.bundle), more...))
		require.ErrorIs(t, err, artifact.ErrTrailing, "%q after the end", more)
	}
}

// Every bit of every byte of a statement matters: it is what was signed. Here
// the bundle around it is a good one, so that only the signature can tell.
func TestEveryChangedByteOfAStatement(t *testing.T) {
	s := newSpecimen(t)
	old := base64.StdEncoding.EncodeToString(s.payload)
	for at := range s.payload {
		for bit := range 8 {
			changed := bytes.Clone(s.payload)
			changed[at] ^= 1 << bit
			bundle := strings.Replace(string(s.bundle), old, base64.StdEncoding.EncodeToString(changed), 1)
			_, err := s.verify([]byte(bundle))
			require.ErrorIs(t, err, artifact.ErrUntrusted, "byte %d bit %d (%q)", at, bit, s.payload[at])
		}
	}
}

// harmless are the changes of a bundle's fields that are accepted, with reasons.
var harmless = map[string]string{
	"verificationMaterial.publicKey.hint = text":        "see idle",
	"verificationMaterial.publicKey.hint = empty":       "see idle",
	"verificationMaterial.publicKey.hint = base64":      "see idle",
	"verificationMaterial.publicKey.hint = gone":        "see idle",
	"verificationMaterial.publicKey.hint = null":        "see idle; null leaves a field as it is",
	"verificationMaterial + tlogEntries":                "a log entry proves nothing to us: we read it so as to ignore it",
	"verificationMaterial + timestampVerificationData":  "a timestamp proves nothing to us: we read it so as to ignore it",
	"dsseEnvelope.signatures[0] + keyid":                "the key's name is no evidence; the signature finds its key",
	"verificationMaterial.publicKey = empty object":     "a key without a hint, see idle",
	"verificationMaterial.publicKey = object of a hint": "see idle",
}

// Every field of a bundle is taken away, set to each other kind of value, and
// given a neighbour; so is every field of its statement, signed anew by the
// trusted key, because what the form allows must not depend on who signs.
func TestEveryChangedFieldOfABundle(t *testing.T) {
	s := newSpecimen(t)
	values := map[string]any{
		"null": nil, "text": "x", "empty": "", "number": 1, "true": true, "empty object": map[string]any{}, "empty list": []any{},
		"list": []any{"x"}, "base64": base64.StdEncoding.EncodeToString([]byte("x")), "object of a hint": map[string]any{"hint": "x"},
	}
	extra := []string{"tlogEntries", "timestampVerificationData", "certificate", "x509CertificateChain", "publicKey2", "messageSignature", "keyid", "MediaType", "cert", "x"}
	accepted := map[string]bool{}
	judge := func(name string, doc any) {
		text, err := json.Marshal(doc)
		require.NoError(t, err)
		if _, err := s.verify(text); err == nil {
			require.Contains(t, harmless, name, "accepted: %s", text)
			accepted[name] = true
		}
	}
	var doc map[string]any
	require.NoError(t, json.Unmarshal(s.bundle, &doc))
	each(doc, "", func(path string, parent any, set func(any), remove func()) {
		before := parent
		for name, value := range values {
			set(value)
			judge(path+" = "+name, doc)
		}
		set(before)
		if remove != nil {
			remove()
			judge(path+" = gone", doc)
			set(before)
		}
		if object, ok := before.(map[string]any); ok {
			for _, name := range extra {
				if _, there := object[name]; there {
					continue
				}
				object[name] = "x"
				judge(path+" + "+name, doc)
				delete(object, name)
			}
		}
	})
	for _, name := range extra {
		doc[name] = "x"
		judge(" + "+name, doc)
		delete(doc, name)
	}
	for name := range harmless {
		require.True(t, accepted[name], "%s is refused: take it off the list", name)
	}
}

// each visits every value of a document: where it is, what it is, how it is
// replaced, and how it is taken away.
func each(v any, path string, visit func(path string, value any, set func(any), remove func())) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			at := strings.TrimPrefix(path+"."+name, ".")
			each(value, at, visit)
			visit(at, value, func(to any) { v[name] = to }, func() { delete(v, name) })
		}
	case []any:
		for i, value := range v {
			at := fmt.Sprintf("%s[%d]", path, i)
			each(value, at, visit)
			visit(at, value, func(to any) { v[i] = to }, nil)
		}
	}
}

// understood are the changes of a statement's form after which it is still the
// same kind of statement about the same subject, with reasons.
func understood(path, change string) bool {
	switch {
	case strings.HasPrefix(path, "predicate."):
		return true // whoever reads the predicate decides what it may hold, see DecodeStrict
	case path == "predicate":
		return strings.HasPrefix(change, "= empty object") || strings.HasPrefix(change, "+ ") // as above
	case path == "subject[0].name":
		return true // a name is for people; text or nothing
	case path == "subject[0]" && change == "+ annotations":
		return false // only an empty object may be there, and this is none
	}
	return false
}

func TestEveryChangedFieldOfAStatement(t *testing.T) {
	s := newSpecimen(t)
	values := map[string]any{
		"null": nil, "text": "x", "empty": "", "number": 1, "true": true, "empty object": map[string]any{}, "empty list": []any{}, "list": []any{"x"},
	}
	judge := func(path, change string, doc any) {
		payload, err := json.Marshal(doc)
		require.NoError(t, err)
		if _, err := s.verify(signBytes(t, s.key, payload)); err == nil {
			require.True(t, understood(path, change), "%s %s is accepted: %s", path, change, payload)
		}
	}
	var doc map[string]any
	require.NoError(t, json.Unmarshal(s.payload, &doc))
	each(doc, "", func(path string, before any, set func(any), remove func()) {
		for name, value := range values {
			set(value)
			judge(path, "= "+name, doc)
		}
		set(before)
		if remove != nil {
			remove()
			judge(path, "= gone", doc)
			set(before)
		}
		if object, ok := before.(map[string]any); ok {
			for _, name := range []string{"x", "Name", "Digest", "sha512", "md5", "uri", "annotations"} {
				object[name] = map[string]any{"x": "y"}
				judge(path, "+ "+name, doc)
				delete(object, name)
			}
		}
	})
	for _, name := range []string{"x", "Subject", "PredicateType", "predicatetype", "_Type"} {
		doc[name] = "x"
		judge("", "+ "+name, doc)
		delete(doc, name)
	}
}

// signBytes wraps any payload into a well-formed bundle, signed over it. It
// shares no code with the writer of bundles.
func signBytes(t *testing.T, key *ecdsa.PrivateKey, payload []byte) []byte {
	t.Helper()
	pae := fmt.Sprintf("DSSEv1 28 application/vnd.in-toto+json %d %s", len(payload), payload)
	digest := sha256.Sum256([]byte(pae))
	der, err := ecdsa.SignASN1(rand.NewChaCha8([32]byte{}), key, digest[:])
	require.NoError(t, err)
	return fmt.Appendf(nil, `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":""}},"dsseEnvelope":{"payload":%q,"payloadType":"application/vnd.in-toto+json","signatures":[{"sig":%q}]}}`,
		base64.StdEncoding.EncodeToString(payload), base64.StdEncoding.EncodeToString(der))
}
