package api_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/cosign"
)

// asks lets the API ask the verifier that the product runs, with a trust policy
// of one signing key that change may edit.
func asks(t *testing.T, key *ecdsa.PrivateKey, now time.Time, change func(p trust.Policy, id artifact.Digest) trust.Policy) func(*api.Options, *api.Ports) {
	t.Helper()
	root := p256(t)
	entry := func(k *ecdsa.PrivateKey, owner string, from time.Time) trust.Key {
		e, err := trust.NewKey(&k.PublicKey, owner, from)
		require.NoError(t, err)
		return e
	}
	began := now.Add(-24 * time.Hour)
	policy := trust.First(entry(root, "root", time.Time{}), entry(key, "fabric", began), []string{trust.Simulation}, began, 365*24*time.Hour)
	policy = change(policy, artifact.KeyID(&key.PublicKey))
	statement, err := trust.Statement(policy)
	require.NoError(t, err)
	bundle, err := artifact.SignStatement(rand.Reader, root, statement)
	require.NoError(t, err)
	text, err := policy.Encode()
	require.NoError(t, err)
	chain, err := trust.Chain{}.Append(trust.Signed{Policy: text, Bundles: []json.RawMessage{bundle}})
	require.NoError(t, err)
	judge, err := chain.Judge()
	require.NoError(t, err)
	return func(_ *api.Options, p *api.Ports) {
		p.Verifier = cosign.NewPolicyVerifier(cosign.Options{Trust: judge, Environment: trust.Simulation, Now: func() time.Time { return now }})
	}
}

func p256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// sealing replaces what vouches for a package by signatures of a key.
func sealing(t *testing.T, p *packaged, key crypto.Signer) *packaged {
	t.Helper()
	manifest := artifact.DigestOf(p.part("manifest"))
	seal := func(part, predicateType string, subject artifact.Digest, predicate any) {
		statement, err := artifact.NewStatement("m", subject, predicateType, predicate)
		require.NoError(t, err)
		payload, err := statement.Encode()
		require.NoError(t, err)
		p.set(part, enveloped(t, key, payload))
	}
	seal("bundle", artifact.PredicateModelPackage, manifest, map[string]any{
		"tenant": "t1", "model": "m", "weights": artifact.DigestOf(p.weights), "metrics": round.Metrics{Evaluated: 10, Correct: 9}})
	parsed, err := modelpack.ParseManifest(p.part("manifest"))
	require.NoError(t, err)
	files, err := modelpack.FilesStatement("m", parsed.Files())
	require.NoError(t, err)
	seal("oms", artifact.PredicateOMS, files.Subject, files.Predicate)
	seal("signature", artifact.PredicateSign, manifest, struct{}{})
	return p
}

// enveloped writes a bundle with a signature of any kind of key, as cosign
// writes one: what the key is must not be what saves us.
func enveloped(t *testing.T, key crypto.Signer, payload []byte) []byte {
	t.Helper()
	pae := artifact.PAE(artifact.PayloadType, payload)
	short, long := sha256.Sum256(pae), sha512.Sum384(pae)
	digest, hash := short[:], crypto.SHA256
	switch k := key.(type) {
	case ed25519.PrivateKey:
		digest, hash = pae, crypto.Hash(0)
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P384() {
			digest, hash = long[:], crypto.SHA384
		}
	}
	signature, err := key.Sign(rand.Reader, digest, hash)
	require.NoError(t, err)
	text, err := json.Marshal(map[string]any{
		"mediaType":            artifact.MediaTypeBundle,
		"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": "x"}},
		"dsseEnvelope": map[string]any{"payload": payload, "payloadType": artifact.PayloadType,
			"signatures": []any{map[string]any{"sig": signature}}},
	})
	require.NoError(t, err)
	return text
}

// with puts something into the verification material of a bundle.
func (p *packaged) with(part, name string, value any) *packaged {
	var bundle map[string]any
	if err := json.Unmarshal(p.part(part), &bundle); err != nil {
		panic(err) // bundles of tests are JSON
	}
	bundle["verificationMaterial"].(map[string]any)[name] = value
	text, err := json.Marshal(bundle)
	if err != nil {
		panic(err)
	}
	return p.set(part, text)
}

// simpleSigning is what cosign signs without the bundle format: its "simple signing"
// payload. We read no such thing, so that no signature of A can stand for B.
func simpleSigning(manifest artifact.Digest) []byte {
	text, err := json.Marshal(map[string]any{"critical": map[string]any{
		"identity": map[string]any{"docker-reference": "models/t1/m"}, "image": map[string]any{"docker-manifest-digest": manifest},
		"type": "cosign container image signature"}, "optional": nil})
	if err != nil {
		panic(err)
	}
	return text
}

// logged is the form of a log entry, with a promise that nobody made.
func logged() []any {
	return []any{map[string]any{
		"logIndex": "7", "logId": map[string]any{"keyId": "AAAA"}, "kindVersion": map[string]any{"kind": "dsse", "version": "0.0.1"},
		"integratedTime": "1700000000", "inclusionPromise": map[string]any{"signedEntryTimestamp": "AAAA"}, "canonicalizedBody": "e30=",
		"inclusionProof": map[string]any{"logIndex": "7", "treeSize": "8", "rootHash": "AAAA", "hashes": []any{}, "checkpoint": map[string]any{"envelope": "x"}},
	}}
}

// Packages whose signatures are real ones, but not such that they count. Of
// each the refusal is seen, its problem type, and stores that are as they were.
func TestSignaturesThatDoNotCountAreRefusedAtUpload(t *testing.T) {
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	key, stranger := p256(t), p256(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	factors, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)

	asIs := func(p trust.Policy, _ artifact.Digest) trust.Policy { return p }
	good := func(t *testing.T) *packaged { return sealing(t, pack(t, "t1", nil), key) }
	by := func(signer crypto.Signer) func(t *testing.T) *packaged {
		return func(t *testing.T) *packaged { return sealing(t, pack(t, "t1", nil), signer) }
	}
	edited := func(edit func(p *packaged)) func(t *testing.T) *packaged {
		return func(t *testing.T) *packaged { p := good(t); edit(p); return p }
	}
	resealed := func(part, predicateType string) func(t *testing.T) *packaged {
		return func(t *testing.T) *packaged {
			p := good(t)
			statement, err := artifact.NewStatement("m", artifact.DigestOf(p.part("manifest")), predicateType, struct{}{})
			require.NoError(t, err)
			payload, err := statement.Encode()
			require.NoError(t, err)
			return p.set(part, enveloped(t, key, payload))
		}
	}
	tests := []struct {
		name   string
		policy func(p trust.Policy, id artifact.Digest) trust.Policy
		pack   func(t *testing.T) *packaged
		why    error
	}{
		{"a key that is revoked", func(p trust.Policy, id artifact.Digest) trust.Policy {
			p, err := p.Revoke(id, now.Add(-time.Hour), "stolen")
			require.NoError(t, err)
			return p
		}, good, trust.ErrRevoked},
		{"a key whose time is over", func(p trust.Policy, _ artifact.Digest) trust.Policy {
			p.Keys[0].NotAfter = now.Add(-time.Hour)
			return p
		}, good, trust.ErrRetired},
		{"a key whose time has not come", func(p trust.Policy, _ artifact.Digest) trust.Policy {
			p.Keys[0].NotBefore = now.Add(time.Hour)
			return p
		}, good, trust.ErrNotYet},
		{"a policy that has expired", func(p trust.Policy, _ artifact.Digest) trust.Policy { p.ExpiresAt = now; return p }, good, trust.ErrExpired},
		{"a key that may not sign this type", func(p trust.Policy, _ artifact.Digest) trust.Policy {
			p.Rules[0].Predicates = []string{artifact.PredicatePolicy}
			return p
		}, good, trust.ErrNotAllowed},
		{"a key for another repository", func(p trust.Policy, _ artifact.Digest) trust.Policy {
			p.Rules[0].Repositories = []string{"models/t2/**"}
			return p
		}, good, trust.ErrRepository},
		{"another key", asIs, by(stranger), artifact.ErrUntrusted},
		{"a key on P-384", asIs, by(p384), artifact.ErrUntrusted},
		{"an Ed25519 key", asIs, by(edwards), artifact.ErrUntrusted},
		{"an RSA key", asIs, by(factors), artifact.ErrUntrusted},
		{"an attestation as the signature", asIs, edited(func(p *packaged) { p.set("signature", p.part("bundle")) }), artifact.ErrPredicateType},
		{"the signature as the attestation", asIs, edited(func(p *packaged) { p.set("bundle", p.part("signature")) }), artifact.ErrPredicateType},
		{"a promotion as the attestation", asIs, resealed("bundle", artifact.PredicatePromotion), artifact.ErrPredicateType},
		{"the signature of another package", asIs, func(t *testing.T) *packaged {
			other := sealing(t, packWith(t, "t1", safetensors(t), func(m map[string]any) { m["annotations"] = map[string]string{"a": "b"} }, nil), key)
			return good(t).set("signature", other.part("signature"))
		}, artifact.ErrSubject},
		{"cosign's legacy signature, of this manifest", asIs, edited(func(p *packaged) { p.set("signature", simpleSigning(artifact.DigestOf(p.part("manifest")))) }), artifact.ErrBundle},
		{"cosign's legacy signature, of another manifest", asIs, edited(func(p *packaged) { p.set("signature", simpleSigning(artifact.DigestOf([]byte("another")))) }), artifact.ErrBundle},
		{"a bare signature over the manifest", asIs, edited(func(p *packaged) {
			sum := sha256.Sum256(p.part("manifest"))
			signature, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
			require.NoError(t, err)
			text, err := json.Marshal(map[string]any{"mediaType": artifact.MediaTypeBundle, "verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": "x"}},
				"messageSignature": map[string]any{"messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": sum[:]}, "signature": signature}})
			require.NoError(t, err)
			_, err = artifact.VerifyBlob([]*ecdsa.PublicKey{&key.PublicKey}, text, artifact.DigestOf(p.part("manifest")))
			require.NoError(t, err, "good as what it is")
			p.set("signature", text)
		}), artifact.ErrBundle},
		{"a log entry instead of a trusted key", asIs, func(t *testing.T) *packaged {
			return by(stranger)(t).with("bundle", "tlogEntries", logged())
		}, artifact.ErrUntrusted},
		{"a timestamp instead of a trusted key", asIs, func(t *testing.T) *packaged {
			return by(stranger)(t).with("bundle", "timestampVerificationData", map[string]any{"rfc3161Timestamps": []any{}})
		}, artifact.ErrUntrusted},
		{"a certificate beside the key", asIs, edited(func(p *packaged) { p.with("bundle", "certificate", map[string]any{"rawBytes": "MAA="}) }), artifact.ErrBundle},
		{"a chain of certificates", asIs, edited(func(p *packaged) {
			p.with("signature", "x509CertificateChain", map[string]any{"certificates": []any{}})
		}), artifact.ErrBundle},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, asks(t, key, now, tt.policy))
			before := stores(s.fabric)
			sent := tt.pack(t)
			a := s.upload(sent, s.as("t1", "data-scientist")).is(422, "unverified")
			require.Equal(t, before, stores(s.fabric))
			require.NotContains(t, string(a.body), "stolen", "why is ours to know")

			// The reason, by the same verifier: the answer keeps it to itself.
			var ports api.Ports
			asks(t, key, now, tt.policy)(nil, &ports)
			manifest := artifact.DigestOf(sent.part("manifest"))
			_, first := ports.Verifier.VerifyIn(t.Context(), "models/t1/m", sent.part("bundle"), artifact.PredicateModelPackage, manifest)
			_, second := ports.Verifier.VerifyIn(t.Context(), "models/t1/m", sent.part("signature"), artifact.PredicateSign, manifest)
			if first == nil {
				first = second
			}
			require.ErrorIs(t, first, tt.why)
		})
	}
	t.Run("and the same package, signed by a key that may, is taken", func(t *testing.T) {
		s := serve(t, asks(t, key, now, asIs))
		s.upload(good(t), s.as("t1", "data-scientist")).is(201)
	})
}

// What a log says of a signature is ignored: it makes a good one no better, and
// an empty list of entries no worse.
func TestLogEntriesAreIgnored(t *testing.T) {
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	key := p256(t)
	s := serve(t, asks(t, key, now, func(p trust.Policy, _ artifact.Digest) trust.Policy { return p }))
	s.upload(sealing(t, pack(t, "t1", nil), key).with("bundle", "tlogEntries", []any{}), s.as("t1", "data-scientist")).is(201)
}

// Whoever has a signature can make a second valid one. It makes no second
// version; nor a second leaf, see the test of the same name in internal/postgres.
func TestASecondSignatureIsNoSecondIdentity(t *testing.T) {
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	key := p256(t)
	s := serve(t, asks(t, key, now, func(p trust.Policy, _ artifact.Digest) trust.Policy { return p }))
	ann := s.as("t1", "data-scientist")
	p := sealing(t, pack(t, "t1", nil), key)
	first := into[v1.ModelVersion](s.upload(p, ann).is(201))
	before := stores(s.fabric)

	envelope, err := artifact.ParseBundle(p.part("bundle"))
	require.NoError(t, err)
	var pair struct{ R, S *big.Int }
	_, err = asn1.Unmarshal(envelope.Signature, &pair)
	require.NoError(t, err)
	pair.S.Sub(elliptic.P256().Params().N, pair.S)
	other, err := asn1.Marshal(pair)
	require.NoError(t, err)
	text := base64.StdEncoding.EncodeToString
	malleated := strings.Replace(string(p.part("bundle")), text(envelope.Signature), text(other), 1)
	require.NotEqual(t, string(p.part("bundle")), malleated)

	again := into[v1.ModelVersion](s.upload(p.set("bundle", []byte(malleated)), ann).is(201))
	require.Equal(t, first.Version, again.Version)
	require.Equal(t, first.Bundle, again.Bundle, "the version keeps the bundle that it was accepted with")
	require.Equal(t, before[2], stores(s.fabric)[2])
	require.Len(t, s.fabric.ModelRows["t1/m"].Versions, 1)
}
