// Package artifact names content: digests, descriptors, media types, model
// weights, and the signed statements that are made about them.
//
// Invariant: a [Digest] that exists is well formed, and whatever is read by
// digest is compared with it before anybody sees a byte of the content.
package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
)

// ErrDigest says that a text is not "sha256:" and 64 lower-case hex digits.
var ErrDigest = errors.New("not a sha256 digest")

// A Digest names content as "sha256:<64 lower-case hex digits>", the form of
// the OCI image specification.
type Digest string

// DigestOf returns the digest of content.
func DigestOf(content []byte) Digest {
	sum := sha256.Sum256(content)
	text := [len("sha256:") + 2*sha256.Size]byte{'s', 'h', 'a', '2', '5', '6', ':'}
	hex.Encode(text[len("sha256:"):], sum[:])
	return Digest(text[:])
}

// Summed returns the digest that a running SHA-256 has come to.
func Summed(sum hash.Hash) Digest { return Digest("sha256:" + hex.EncodeToString(sum.Sum(nil))) }

// ParseDigest returns s as a digest, or [ErrDigest].
func ParseDigest(s string) (Digest, error) {
	digits, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(digits) != 2*sha256.Size || strings.Trim(digits, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%q: %w", clip(s), ErrDigest)
	}
	return Digest(s), nil
}

// Hex returns the digits without the algorithm.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), "sha256:") }

// raw returns the 32 bytes, or none for the absent digest.
func (d Digest) raw() []byte {
	sum, err := hex.DecodeString(d.Hex())
	if err != nil {
		return nil
	}
	return sum
}

// Short returns enough of the digits for a person to tell digests apart.
func (d Digest) Short() string {
	if hex := d.Hex(); len(hex) >= 12 {
		return hex[:12]
	}
	return d.Hex()
}

// UnmarshalText lets no malformed digest in from the wire; the empty text is
// the absent digest.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = ""
		return nil
	}
	parsed, err := ParseDigest(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// A Descriptor says what a blob is without holding it. It is all of a blob
// that a workflow history ever carries.
type Descriptor struct {
	Digest    Digest `json:"digest"`
	SizeBytes int64  `json:"sizeBytes"`
	MediaType string `json:"mediaType"`
}

// Describe returns the descriptor of content.
func Describe(mediaType string, content []byte) Descriptor {
	return Descriptor{Digest: DigestOf(content), SizeBytes: int64(len(content)), MediaType: mediaType}
}

// Media types of the blobs that the fabric exchanges.
const (
	MediaTypeWeights   = "application/vnd.cncf.model.weight.v1.safetensors"
	MediaTypeModel     = "application/vnd.cncf.model.config.v1+json"
	MediaTypePackage   = "application/vnd.cncf.model.manifest.v1+json"
	MediaTypeManifest  = "application/vnd.fabric.round.manifest.v1+json"
	MediaTypePolicy    = "application/vnd.fabric.policy.v1+json"
	MediaTypeSnapshot  = "application/vnd.fabric.snapshot.v1+json"
	MediaTypeSecagg    = "application/vnd.fabric.secagg.v1+json" // a message of a secured round
	MediaTypePlan      = "application/vnd.fabric.plan.v1+json"
	MediaTypePredicate = "application/vnd.fabric.predicate+json"
	MediaTypeBundle    = "application/vnd.dev.sigstore.bundle.v0.3+json"
	MediaTypeEvidence  = "application/vnd.fabric.evidence.v1+zip"
	MediaTypeMasked    = "application/vnd.fabric.masked.v1" // raw elements of a ring
)

// predicates is the prefix of every predicate type that is ours.
const predicates = "https://github.com/atom-fabric/fabric/predicates/"

// Predicate types of the statements that the fabric signs. A verifier asks for
// exactly one of them: an attestation of another kind proves nothing.
const (
	PredicateRoundManifest = predicates + "round-manifest/v1"
	PredicateModelPackage  = predicates + "model-package/v1"
	PredicateRound         = predicates + "round/v1"
	PredicateEvidence      = predicates + "evidence/v1"
	PredicateSurvivors     = predicates + "survivors/v1"
	PredicatePromotion     = predicates + "promotion/v1"
	PredicatePolicy        = predicates + "policy-bundle/v1"
	PredicateProposal      = predicates + "proposal/v1"
	PredicateSnapshot      = predicates + "snapshot/v1"
	PredicateApproval      = predicates + "approval/v1"
	PredicateDelegation    = predicates + "delegation/v1"
	PredicateEnrolment     = predicates + "enrolment/v1"
	PredicateSubmission    = predicates + "submission/v1"
	PredicateReplication   = predicates + "replication/v1"
	PredicateRecoveryPoint = predicates + "recovery-point/v1"
	PredicateAlias         = predicates + "alias/v1"
	PredicateTrustPolicy   = predicates + "trust-policy/v1"
	PredicateGrant         = predicates + "grant/v1"
	PredicateWithdrawal    = predicates + "withdrawal/v1"
	PredicateStatistics    = predicates + "statistics/v1" // a question to the sites of a tenant
	PredicateSummary       = predicates + "summary/v1"    // what a site answers
)

// Predicate types of others that the fabric signs as well, so that their tools
// accept what it makes.
const (
	PredicateOMS  = "https://model_signing/signature/v1.0" // OpenSSF Model Signing: the files of a model
	PredicateSign = "https://sigstore.dev/cosign/sign/v1"  // what cosign verify asks for of an OCI artifact
)

// clip shortens foreign text before it goes into an error.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
