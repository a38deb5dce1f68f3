package activities_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
)

func TestNothingIsKeptOfAPackageThatDoesNotVerify(t *testing.T) {
	tests := []struct {
		name     string
		change   func(*testing.T, *activitytest.World, *contract.RegisterInput)
		kind     string
		attached int
	}{
		{"a signed one is registered", func(*testing.T, *activitytest.World, *contract.RegisterInput) {}, "", 3},
		{"one whose files nobody signed", func(_ *testing.T, _ *activitytest.World, in *contract.RegisterInput) {
			in.Candidate.Also, in.Also = in.Candidate.Also[1:], in.Also[1:]
		}, contract.BadPackage, 2},
		{"one whose manifest has no signature of cosign's kind", func(_ *testing.T, _ *activitytest.World, in *contract.RegisterInput) {
			in.Candidate.Also, in.Also = in.Candidate.Also[:1], in.Also[:1]
		}, contract.BadPackage, 2},
		{"one with fewer bundles than claims", func(_ *testing.T, _ *activitytest.World, in *contract.RegisterInput) {
			in.Also = in.Also[:1]
		}, contract.BadPackage, 0},
		{"one with the bundles of its claims exchanged", func(_ *testing.T, _ *activitytest.World, in *contract.RegisterInput) {
			in.Also[0], in.Also[1] = in.Also[1], in.Also[0]
		}, contract.BadPackage, 0},
		{"one whose files are signed as others", func(t *testing.T, w *activitytest.World, in *contract.RegisterInput) {
			in.Also[0] = signed(t, w, in.Candidate.Also[0].Digest, artifact.PredicateOMS, artifact.Descriptor{})
		}, contract.BadPackage, 3},
		{"an unsigned one", func(_ *testing.T, w *activitytest.World, in *contract.RegisterInput) {
			in.Bundle = w.Keep(artifact.MediaTypeBundle, []byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`))
		}, contract.BadPackage, 0},
		{"one with the bundle of another package", func(_ *testing.T, w *activitytest.World, in *contract.RegisterInput) {
			in.Candidate.Package.Digest = artifact.DigestOf([]byte("another package"))
		}, contract.BadPackage, 0},
		{"one that is signed as a promotion", func(t *testing.T, w *activitytest.World, in *contract.RegisterInput) {
			in.Bundle = signed(t, w, in.Candidate.Package.Digest, artifact.PredicatePromotion, in.Candidate.Predicate)
		}, contract.BadPackage, 0},
		{"one that a stranger signed", func(t *testing.T, w *activitytest.World, in *contract.RegisterInput) {
			stranger := activitytest.New()
			stranger.Content = w.Content
			in.Bundle = signed(t, stranger, in.Candidate.Package.Digest, artifact.PredicateModelPackage, in.Candidate.Predicate)
		}, contract.BadPackage, 0},
		{"one with other weights than were signed", func(t *testing.T, w *activitytest.World, in *contract.RegisterInput) {
			in.Weights = update(t, w, 9)
		}, contract.BadPackage, 3},
		{"one of another model", func(_ *testing.T, _ *activitytest.World, in *contract.RegisterInput) {
			in.ModelID = "other"
		}, contract.BadPackage, 3},
		{"one that the registry does not hold", func(_ *testing.T, w *activitytest.World, in *contract.RegisterInput) {
			clear(w.Packages)
		}, "", 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := world(t)
			in := candidate(t, w)
			subject := in.Candidate.Package.Digest
			tt.change(t, w, &in)
			got, err := act(t, contract.RegisterVersion, versions(w).RegisterVersion, in)
			require.Equal(t, tt.kind, kind(err))
			require.Equal(t, tt.attached, len(w.Referrers[subject]))
			if err != nil {
				require.Empty(t, w.Models)
				return
			}
			require.Equal(t, contract.Version{Number: 1, Repository: "models/clinic/tumour", Package: subject, Weights: in.Weights.Digest}, got)
		})
	}
}

func TestARegistryThatLosesABundleIsAskedAgain(t *testing.T) {
	w := world(t)
	in := candidate(t, w)
	lossy := &lossyRegistry{World: w, lose: 1}
	register := &activities.Version{Blobs: w, Registry: lossy, Verifier: w, Versions: w}
	_, err := act(t, contract.RegisterVersion, register.RegisterVersion, in)
	require.Error(t, err)
	require.Empty(t, kind(err), "a listing may lag: retried")
	require.Empty(t, w.Models)
	_, err = act(t, contract.RegisterVersion, register.RegisterVersion, in)
	require.NoError(t, err)
	require.Len(t, w.Models, 1)
}

// lossyRegistry loses the first bundles, as registries without the referrers
// API do when two clients attach at once.
type lossyRegistry struct {
	*activitytest.World
	lose int
}

func (l *lossyRegistry) Attach(ctx context.Context, repository string, subject artifact.Descriptor, predicateType string, bundle []byte) error {
	if l.lose > 0 {
		l.lose--
		return nil
	}
	return l.World.Attach(ctx, repository, subject, predicateType, bundle)
}

func TestASignatureAmongJunkIsFound(t *testing.T) {
	w := world(t)
	in := candidate(t, w)
	stranger := activitytest.New()
	stranger.Content = w.Content
	junk := signed(t, stranger, in.Candidate.Package.Digest, artifact.PredicateModelPackage, in.Candidate.Predicate)
	w.Referrers[in.Candidate.Package.Digest] = [][]byte{[]byte("junk"), w.Content[junk.Digest]}
	_, err := act(t, contract.RegisterVersion, versions(w).RegisterVersion, in)
	require.NoError(t, err)
}

func TestAPolicyIsAttachedOnlyIfItVerifies(t *testing.T) {
	w := world(t)
	bootstrap(t, w)
	policies := &activities.Policy{Blobs: w, Registry: w, Verifier: w, Grants: trusting(w)}
	plan := policyPlan(t, w, 10)
	pushed, err := act(t, contract.PushPolicy, policies.PushPolicy, contract.PushPolicyInput{Subject: subject(), Action: "policy-1", Plan: plan, Grant: grantOf(plan, "policy-1")})
	require.NoError(t, err)
	require.Equal(t, "policies/routing", pushed.Repository)
	in := contract.AttachInput{Subject: subject(), Repository: pushed.Repository, Package: pushed.Package, PredicateType: artifact.PredicatePolicy, Grant: grantOf(plan, "policy-1")}

	in.Bundle = signed(t, w, pushed.Package.Digest, artifact.PredicateSnapshot, artifact.Descriptor{})
	_, err = act(t, contract.AttachSignature, policies.AttachSignature, in)
	require.Equal(t, contract.BadPackage, kind(err))
	require.Empty(t, w.Referrers)

	in.Bundle = signed(t, w, pushed.Package.Digest, artifact.PredicatePolicy, artifact.Descriptor{})
	for range 2 {
		_, err = act(t, contract.AttachSignature, policies.AttachSignature, in)
		require.NoError(t, err)
	}
	require.Len(t, w.Referrers[pushed.Package.Digest], 1)

	clear(w.Referrers)
	policies.Registry = &lossyRegistry{World: w, lose: 1}
	_, err = act(t, contract.AttachSignature, policies.AttachSignature, in)
	require.ErrorContains(t, err, "no bundle for it that verifies", "what was attached is read back")
	require.Empty(t, kind(err))
	_, err = act(t, contract.AttachSignature, policies.AttachSignature, in)
	require.NoError(t, err)
}

// signed returns the bundle of a statement by the world's key.
func signed(t *testing.T, w *activitytest.World, subjectDigest artifact.Digest, predicateType string, predicate artifact.Descriptor) artifact.Descriptor {
	t.Helper()
	out, err := act(t, contract.SignStatement, (&activities.Sign{Blobs: w, Signer: w}).SignStatement, contract.SignInput{
		Subject: subject(), Name: "subject", Digest: subjectDigest, PredicateType: predicateType, Predicate: predicate,
	})
	require.NoError(t, err)
	return out.Bundle
}
