package cosign_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"encoding/json"
	"os"
	"testing"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/cosign"
)

// corpus is written by tests/vectors/bundle/generate.py.
type corpus struct {
	PredicateType string
	Subject       artifact.Digest
	Trusted       struct{ PEM string }
	Cases         []struct{ Name, Why, Bundle string }
}

// Both verifiers, and cosign without our pins.
type judges struct {
	corpus
	key      *ecdsa.PublicKey
	verifier *cosign.Verifier
	raw      signature.Verifier
}

func newJudges(t testing.TB) judges {
	content, err := os.ReadFile("../../tests/vectors/bundle/vectors.json")
	require.NoError(t, err)
	var j judges
	require.NoError(t, json.Unmarshal(content, &j.corpus))
	require.NotEmpty(t, j.Cases)
	j.key, err = artifact.ParsePublicKey([]byte(j.Trusted.PEM))
	require.NoError(t, err)
	j.verifier, err = cosign.NewVerifier(j.key)
	require.NoError(t, err)
	j.raw, err = signature.LoadVerifier(j.key, crypto.SHA256)
	require.NoError(t, err)
	return j
}

func (j judges) ours(bundle []byte) error {
	_, err := artifact.VerifyBundle([]*ecdsa.PublicKey{j.key}, bundle, j.PredicateType, j.Subject)
	return err
}

func (j judges) controlPlane(bundle []byte) error {
	_, err := j.verifier.Verify(context.Background(), bundle, j.PredicateType, j.Subject)
	return err
}

func (j judges) cosignAlone(bundle []byte) error {
	_, err := cosign.VerifyWithCosign(context.Background(), j.raw, bundle, j.Subject)
	return err
}

// laxer lists what cosign alone accepts and we refuse, and why we do. A case
// that is missing here, or that no longer differs, fails the test: the list is
// what cosign is known to be lax about.
var laxer = map[string]string{
	"r || s instead of DER":                 "sigstore guesses the encoding of a signature by its length",
	"field names of the proto file":         "protojson reads both spellings; we write one",
	"media type v0.1":                       "older bundles may carry what we do not read",
	"media type v0.2":                       "older bundles may carry what we do not read",
	"media type v0.3 in its first spelling": "we write one",
	"a message signature instead":           "it says nothing about what was signed, so it would pass as any predicate",
	"payload without padding":               "protojson reads four forms of base64; we write one",
	"signature in the URL alphabet":         "protojson reads four forms of base64; we write one",
	"unknown _type":                         "cosign does not look at the statement's type",
	"no _type":                              "cosign does not look at the statement's type",
	"two subjects":                          "cosign is content when one of them matches",
	"the same subject twice":                "cosign is content when one of them matches",
	"sha1 beside sha256":                    "cosign is content when one of them matches",
	"upper-case digest":                     "cosign decodes the digits; our digests have one spelling",
	"name with an escape sequence":          "cosign does not show names in terminals",
	"name that turns the text around":       "cosign does not show names in terminals",
	"name of 513 bytes":                     "cosign has no limit",
	"no predicate type":                     "cosign does not look at the predicate type",
	"predicate is null":                     "cosign does not look at the predicate",
	"unknown key in the subject":            "in-toto allows it; the fabric has no use for it",
	"another predicate type":                "cosign does not look at the predicate type",
	"predicate type with a longer version":  "cosign does not look at the predicate type",
	"cosign's own type for images":          "cosign does not look at the predicate type",
}

// stricter lists what cosign refuses and we accept.
var stricter = map[string]string{
	"a log entry that is none": "we ignore log entries; cosign parses them before it ignores them",
}

func TestVerifiersAgreeOnTheCorpus(t *testing.T) {
	j := newJudges(t)
	for _, c := range j.Cases {
		t.Run(c.Name, func(t *testing.T) {
			ours, plane, alone := j.ours([]byte(c.Bundle)), j.controlPlane([]byte(c.Bundle)), j.cosignAlone([]byte(c.Bundle))
			require.Equal(t, c.Why == "", ours == nil, "%v", ours)
			_, lax := laxer[c.Name]
			_, strict := stricter[c.Name]
			require.Equal(t, lax, ours != nil && alone == nil, "cosign alone: %v; ours: %v", alone, ours)
			require.Equal(t, strict, ours == nil && alone != nil, "cosign alone: %v; ours: %v", alone, ours)
			require.Equal(t, ours == nil && alone == nil, plane == nil, "the control plane accepts what both accept: %v", plane)
			if strict {
				require.ErrorIs(t, plane, cosign.ErrCosign)
			}
		})
	}
}

// Every single flipped bit of a good bundle is judged alike, but for two
// spellings that cosign alone takes: the media types v0.1 and v0.2, and the
// bits of the last base64 digit that decode to nothing.
func TestVerifiersAgreeOnEveryFlippedBit(t *testing.T) {
	j := newJudges(t)
	good := []byte(j.Cases[0].Bundle)
	require.NoError(t, j.controlPlane(good))
	version := bytes.Index(good, []byte("v0.3")) + len("v0.")
	var alone int
	for i := range good {
		for bit := range 8 {
			flipped := bytes.Clone(good)
			flipped[i] ^= 1 << bit
			ours, plane, lax := j.ours(flipped), j.controlPlane(flipped), j.cosignAlone(flipped)
			require.Equal(t, ours == nil, plane == nil, "byte %d bit %d: ours %v, control plane %v", i, bit, ours, plane)
			if (ours == nil) != (lax == nil) {
				idle := i+1 < len(good) && good[i+1] == '=' // of base64
				require.True(t, ours != nil && (i == version || idle), "byte %d bit %d: ours %v, cosign alone %v", i, bit, ours, lax)
				alone++
			}
		}
	}
	require.Positive(t, alone, "the exceptions are still needed")
}
