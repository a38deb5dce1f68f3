package artifact_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// bundleVectors are written by tests/vectors/bundle/generate.py.
type bundleVectors struct {
	Source        string
	PredicateType string
	Subject       artifact.Digest
	Payload       string
	Statement     artifact.Digest
	Trusted       struct {
		PEM string
		ID  artifact.Digest
	}
	Cases       []struct{ Name, Why, Bundle string }
	RefusedKeys []struct{ Name, PEM string }
}

func readBundles(t testing.TB) bundleVectors {
	content, err := os.ReadFile("../../tests/vectors/bundle/vectors.json")
	require.NoError(t, err)
	var v bundleVectors
	require.NoError(t, json.Unmarshal(content, &v))
	require.NotEmpty(t, v.Cases)
	return v
}

func (v bundleVectors) keys(t testing.TB) []*ecdsa.PublicKey {
	key, err := artifact.ParsePublicKey([]byte(v.Trusted.PEM))
	require.NoError(t, err)
	return []*ecdsa.PublicKey{key}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func TestVerifyBundle(t *testing.T) {
	v := readBundles(t)
	reasons := map[string]error{
		"form":           artifact.ErrBundle,
		"untrusted":      artifact.ErrUntrusted,
		"statement":      artifact.ErrStatement,
		"predicate-type": artifact.ErrPredicateType,
		"subject":        artifact.ErrSubject,
	}
	for _, c := range v.Cases {
		t.Run(c.Name, func(t *testing.T) {
			got, err := artifact.VerifyBundle(v.keys(t), []byte(c.Bundle), v.PredicateType, v.Subject)
			if c.Why == "" {
				require.NoError(t, err)
				require.JSONEq(t, `{"decision":"approve"}`, string(got.Predicate))
				require.Equal(t, v.Trusted.ID, got.Key)
				return
			}
			require.Contains(t, reasons, c.Why)
			require.ErrorIs(t, err, reasons[c.Why])
			require.Zero(t, got)
			var who *artifact.VerifyError
			require.ErrorAs(t, err, &who)
			require.Equal(t, v.Subject, who.Subject)
		})
	}
}

func TestVerifyBundleRefusesBySize(t *testing.T) {
	v := readBundles(t)
	good := v.Cases[0].Bundle
	full := good + strings.Repeat(" ", artifact.MaxBundle-len(good))
	_, err := artifact.VerifyBundle(v.keys(t), []byte(full), v.PredicateType, v.Subject)
	require.NoError(t, err, "exactly 1 MiB")
	_, err = artifact.VerifyBundle(v.keys(t), []byte(full+" "), v.PredicateType, v.Subject)
	require.ErrorIs(t, err, artifact.ErrTooLarge)
}

func TestVerifyBundleWithoutTrustedKeys(t *testing.T) {
	v := readBundles(t)
	for name, keys := range map[string][]*ecdsa.PublicKey{
		"no key":                nil,
		"a key that is missing": {nil},
		"a key that is empty":   {{Curve: elliptic.P256(), X: big.NewInt(0), Y: big.NewInt(0)}},
	} {
		_, err := artifact.VerifyBundle(keys, []byte(v.Cases[0].Bundle), v.PredicateType, v.Subject)
		require.ErrorIs(t, err, artifact.ErrUntrusted, name)
	}
}

// The identity of a statement is what was said: a second valid signature, other
// white space and another hint do not make a second vote.
func TestStatementIdentity(t *testing.T) {
	v := readBundles(t)
	for _, c := range v.Cases {
		if c.Why != "" || strings.HasPrefix(c.Name, "statement v0.1") || strings.HasPrefix(c.Name, "subject without") {
			continue
		}
		got, err := artifact.VerifyBundle(v.keys(t), []byte(c.Bundle), v.PredicateType, v.Subject)
		require.NoError(t, err)
		require.Equal(t, v.Statement, got.Statement, c.Name)
	}
}

func TestSignStatement(t *testing.T) {
	v := readBundles(t)
	key := newKey(t)
	statement, err := artifact.NewStatement("plan", v.Subject, v.PredicateType, map[string]string{"decision": "approve"})
	require.NoError(t, err)
	bundle, err := artifact.SignStatement(rand.Reader, key, statement)
	require.NoError(t, err)

	got, err := artifact.VerifyBundle([]*ecdsa.PublicKey{v.keys(t)[0], &key.PublicKey}, bundle, v.PredicateType, v.Subject)
	require.NoError(t, err)
	require.Equal(t, artifact.Verified{
		Name:      "plan",
		Predicate: json.RawMessage(`{"decision":"approve"}`),
		Key:       artifact.KeyID(&key.PublicKey),
		Statement: v.Statement,
	}, got)

	t.Run("has the payload and the fields of the vector", func(t *testing.T) {
		envelope, err := artifact.ParseBundle(bundle)
		require.NoError(t, err)
		require.Equal(t, v.Payload, string(envelope.Payload))
		require.Equal(t, masked(t, []byte(v.Cases[0].Bundle)), masked(t, bundle))
	})
	t.Run("is not accepted for another key", func(t *testing.T) {
		_, err := artifact.VerifyBundle(v.keys(t), bundle, v.PredicateType, v.Subject)
		require.ErrorIs(t, err, artifact.ErrUntrusted)
	})
}

// masked replaces what differs between two keys, so that the rest of two
// bundles can be compared byte by byte.
func masked(t *testing.T, bundle []byte) string {
	var fields struct {
		VerificationMaterial struct{ PublicKey struct{ Hint string } }
		DSSEEnvelope         struct{ Signatures []struct{ Sig string } }
	}
	require.NoError(t, json.Unmarshal(bundle, &fields))
	hint, err := base64.StdEncoding.DecodeString(fields.VerificationMaterial.PublicKey.Hint)
	require.NoError(t, err)
	require.Len(t, hint, 32)
	return strings.NewReplacer(fields.VerificationMaterial.PublicKey.Hint, "HINT", fields.DSSEEnvelope.Signatures[0].Sig, "SIG").Replace(string(bundle))
}

func TestSignStatementRefuses(t *testing.T) {
	good := artifact.Statement{Name: "plan", Subject: artifact.DigestOf(nil), PredicateType: artifact.PredicateApproval, Predicate: json.RawMessage(`{}`)}
	with := func(change func(*artifact.Statement)) artifact.Statement {
		s := good
		change(&s)
		return s
	}
	tests := []struct {
		name      string
		statement artifact.Statement
	}{
		{"no subject", with(func(s *artifact.Statement) { s.Subject = "" })},
		{"a malformed subject", with(func(s *artifact.Statement) { s.Subject = "sha256:AB" })},
		{"no predicate type", with(func(s *artifact.Statement) { s.PredicateType = "" })},
		{"no predicate", with(func(s *artifact.Statement) { s.Predicate = nil })},
		{"a predicate that is no object", with(func(s *artifact.Statement) { s.Predicate = json.RawMessage(`1`) })},
		{"a name that is not printable", with(func(s *artifact.Statement) { s.Name = "a\nb" })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := artifact.SignStatement(rand.Reader, newKey(t), tt.statement)
			require.ErrorIs(t, err, artifact.ErrStatement)
		})
	}
	t.Run("a key that is not on P-256", func(t *testing.T) {
		key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		require.NoError(t, err)
		_, err = artifact.SignStatement(rand.Reader, key, good)
		require.ErrorIs(t, err, artifact.ErrKey)
		_, edwards, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		_, err = artifact.SignStatement(rand.Reader, edwards, good)
		require.ErrorIs(t, err, artifact.ErrKey)
	})
}

func TestPublicKeys(t *testing.T) {
	v := readBundles(t)
	key := v.keys(t)[0]
	require.Equal(t, v.Trusted.ID, artifact.KeyID(key))
	text, err := artifact.MarshalPublicKey(key)
	require.NoError(t, err)
	require.Equal(t, v.Trusted.PEM, string(text))
	require.NotEmpty(t, v.RefusedKeys)
	for _, c := range v.RefusedKeys {
		t.Run("refuses "+c.Name, func(t *testing.T) {
			_, err := artifact.ParsePublicKey([]byte(c.PEM))
			require.ErrorIs(t, err, artifact.ErrKey)
		})
	}
}

// The first is the example of the reference implementation of DSSE
// (implementation/signing_spec.py of secure-systems-lab/dsse at 04e1715), the
// others follow testvectors/vectors.json at 8204304.
func TestPAE(t *testing.T) {
	pae := artifact.PAE("http://example.com/HelloWorld", []byte("hello world"))
	require.Equal(t, "DSSEv1 29 http://example.com/HelloWorld 11 hello world", string(pae))
	require.Equal(t, "DSSEv1 28 application/vnd.in-toto+json 0 ", string(artifact.PAE(artifact.PayloadType, nil)))
	require.Equal(t, "DSSEv1 29 application/vnd.exämple+json 1 x", string(artifact.PAE("application/vnd.exämple+json", []byte("x"))), "lengths are of bytes")
}
