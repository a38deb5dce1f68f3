//go:build conformance

package cosign_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/cosign/cosigntest"
)

func TestConformanceStockCosignVerifiesWhatWeSign(t *testing.T) {
	cosigntest.Each(t, func(t *testing.T, s cosigntest.Stock) {
		require.NoError(t, cosign.GenerateKeyPair(s.Dir, "fabric", []byte(cosigntest.Password)))
		require.NoError(t, cosign.GenerateKeyPair(s.Dir, "stranger", nil))
		signer, err := cosign.LoadSigner(s.Path("fabric.key"), password)
		require.NoError(t, err)
		bundle, err := signer.Sign(context.Background(), statementAbout(t, manifest))
		require.NoError(t, err)

		standard, err := artifact.ParseStatement(statementAbout(t, manifest))
		require.NoError(t, err)
		key, err := cosign.LoadPrivateKey(s.Path("fabric.key"), []byte(cosigntest.Password))
		require.NoError(t, err)
		ours, err := artifact.SignStatement(rand.Reader, key, standard)
		require.NoError(t, err)

		for name, bundle := range map[string][]byte{"the control plane's": bundle, "a site's or an approver's": ours} {
			t.Run(name, func(t *testing.T) { checkStock(t, s, bundle) })
		}
	})
}

func checkStock(t *testing.T, s cosigntest.Stock, bundle []byte) {
	files := cosign.Files{Key: "fabric.pub", Bundle: "it's a bundle.json", TrustedRoot: cosigntest.TrustedRoot, Content: "manifest.json"}
	byDigest := files
	byDigest.Content = string(artifact.DigestOf(manifest))
	commands := map[string]string{
		"verify-blob":                       cosign.VerifyCommand(files),
		"verify-blob by digest":             cosign.VerifyCommand(byDigest),
		"verify-blob-attestation":           cosign.VerifyAttestationCommand(files, artifact.PredicateModelPackage),
		"verify-blob-attestation by digest": cosign.VerifyAttestationCommand(byDigest, artifact.PredicateModelPackage),
	}
	altered := bytes.Replace(manifest, []byte("2"), []byte("3"), 1)
	envelope, err := artifact.ParseBundle(bundle)
	require.NoError(t, err)
	at := bytes.Index(bundle, []byte(`"payload":"`)) + len(`"payload":"`) + len(envelope.Payload)/2
	broken := bytes.Clone(bundle)
	broken[at] ^= 1

	for name, command := range commands {
		s.Write(t, "manifest.json", manifest)
		s.Write(t, "it's a bundle.json", bundle)
		out, err := s.Shell(t, command)
		require.NoError(t, err, name)
		require.Contains(t, out, "Verified OK", name)

		s.Write(t, "it's a bundle.json", broken)
		_, err = s.Shell(t, command)
		require.Error(t, err, "%s after one byte of the bundle changed", name)

		s.Write(t, "it's a bundle.json", bundle)
		if !strings.Contains(name, "digest") {
			s.Write(t, "manifest.json", altered)
			_, err = s.Shell(t, command)
			require.Error(t, err, "%s after one byte of the content changed", name)
		}
	}
	s.Write(t, "manifest.json", manifest)
	_, err = s.Shell(t, cosign.VerifyAttestationCommand(files, artifact.PredicateApproval))
	require.Error(t, err, "another predicate type")
	files.Key = "stranger.pub"
	_, err = s.Shell(t, cosign.VerifyCommand(files))
	require.Error(t, err, "another key")
}

// attest lets the stock command line say that the manifest is a package.
func attest(t *testing.T, s cosigntest.Stock, key, predicateType, predicate string) []byte {
	t.Helper()
	s.Write(t, "manifest.json", manifest)
	s.Write(t, "predicate.json", []byte(predicate))
	args := append([]string{"attest-blob", "--key", key, "--bundle", "bundle.json", "--type", predicateType, "--predicate", "predicate.json"}, s.Signing()...)
	require.NoError(t, s.Cosign(t, append(args, "manifest.json")...))
	return s.Read(t, "bundle.json")
}

func TestConformanceWeVerifyWhatStockCosignSigns(t *testing.T) {
	cosigntest.Each(t, func(t *testing.T, s cosigntest.Stock) {
		require.NoError(t, s.Cosign(t, "generate-key-pair"))
		bundle := attest(t, s, "cosign.key", artifact.PredicateModelPackage, `{"model":"tumour"}`)
		t.Logf("%s", bundle)

		key, err := cosign.LoadPrivateKey(s.Path("cosign.key"), []byte(cosigntest.Password))
		require.NoError(t, err)
		public := readPublic(t, s.Path("cosign.pub"))
		require.True(t, public.Equal(&key.PublicKey), "the key files belong together")

		verifier, err := cosign.NewVerifier(public)
		require.NoError(t, err)
		predicate, err := verifier.Verify(context.Background(), bundle, artifact.PredicateModelPackage, artifact.DigestOf(manifest))
		require.NoError(t, err)
		require.JSONEq(t, `{"model":"tumour"}`, string(predicate))
		_, err = artifact.VerifyBundle([]*ecdsa.PublicKey{public}, bundle, artifact.PredicateModelPackage, artifact.DigestOf(manifest))
		require.NoError(t, err)

		_, err = verifier.Verify(context.Background(), bundle, artifact.PredicateApproval, artifact.DigestOf(manifest))
		require.ErrorIs(t, err, artifact.ErrPredicateType)

		// What sign-blob makes says nothing about what was signed. As a statement
		// we refuse it.
		bare := signBlob(t, s, "cosign.key")
		_, err = verifier.Verify(context.Background(), bare, artifact.PredicateModelPackage, artifact.DigestOf(manifest))
		require.ErrorIs(t, err, artifact.ErrBundle)
	})
}

// signBlob lets the stock command line sign the bytes of the manifest.
func signBlob(t *testing.T, s cosigntest.Stock, key string) []byte {
	t.Helper()
	s.Write(t, "manifest.json", manifest)
	args := append([]string{"sign-blob", "--key", key, "--bundle", "bare.json"}, s.Signing()...)
	require.NoError(t, s.Cosign(t, append(args, "manifest.json")...))
	return s.Read(t, "bare.json")
}

// Blobs in both directions: the stock command line's bare signature verifies
// here, under the key that made it and over those bytes alone, and in the other
// release; what we sign about a blob verifies there, see checkStock.
func TestConformanceWeVerifyBlobsThatStockCosignSigns(t *testing.T) {
	var made []struct{ pem, bundle []byte }
	cosigntest.Each(t, func(t *testing.T, s cosigntest.Stock) {
		require.NoError(t, s.Cosign(t, "generate-key-pair"))
		bundle := signBlob(t, s, "cosign.key")
		t.Logf("%s", bundle)
		public := readPublic(t, s.Path("cosign.pub"))
		keys, content := []*ecdsa.PublicKey{public}, artifact.DigestOf(manifest)
		signer, err := artifact.VerifyBlob(keys, bundle, content)
		require.NoError(t, err)
		require.Equal(t, artifact.KeyID(public), signer)

		_, err = artifact.VerifyBlob(keys, bundle, artifact.DigestOf(append(bytes.Clone(manifest), ' ')))
		require.ErrorIs(t, err, artifact.ErrDigestClaim)
		_, err = artifact.VerifyBlob([]*ecdsa.PublicKey{&newPrivate(t).PublicKey}, bundle, content)
		require.ErrorIs(t, err, artifact.ErrUntrusted)
		hash := func(text []byte) []byte {
			sum := sha256.Sum256(text)
			return []byte(base64.StdEncoding.EncodeToString(sum[:]))
		}
		_, err = artifact.VerifyBlob(keys, bytes.Replace(bundle, hash(manifest), hash([]byte("x")), 1), content)
		require.ErrorIs(t, err, artifact.ErrDigestClaim, "a false messageDigest under a good signature")
		// And with the signature as good, about what the bundle claims it is.
		_, err = artifact.VerifyBlob(keys, bytes.Replace(bundle, hash(manifest), hash([]byte("x")), 1), artifact.DigestOf([]byte("x")))
		require.ErrorIs(t, err, artifact.ErrUntrusted, "what a bundle claims is no fact")
		pem, err := artifact.MarshalPublicKey(public)
		require.NoError(t, err)
		made = append(made, struct{ pem, bundle []byte }{pem, bundle})
	})
	cosigntest.Each(t, func(t *testing.T, s cosigntest.Stock) {
		for _, m := range made {
			s.Write(t, "signer.pub", m.pem)
			s.Write(t, "bare.json", m.bundle)
			s.Write(t, "manifest.json", manifest)
			files := cosign.Files{Key: "signer.pub", Bundle: "bare.json", TrustedRoot: cosigntest.TrustedRoot, Content: "manifest.json"}
			_, err := s.Shell(t, cosign.VerifyCommand(files))
			require.NoError(t, err, "what one release signed the other verifies, as we do")
		}
	})
}

// A key that we made signs in the stock command line as well.
func TestConformanceStockCosignSignsWithOurKey(t *testing.T) {
	cosigntest.Each(t, func(t *testing.T, s cosigntest.Stock) {
		require.NoError(t, cosign.GenerateKeyPair(s.Dir, "ours", []byte(cosigntest.Password)))
		public := readPublic(t, s.Path("ours.pub"))
		bundle := attest(t, s, "ours.key", artifact.PredicateApproval, `{"decision":"approve"}`)
		_, err := artifact.VerifyBundle([]*ecdsa.PublicKey{public}, bundle, artifact.PredicateApproval, artifact.DigestOf(manifest))
		require.NoError(t, err)
	})
}
