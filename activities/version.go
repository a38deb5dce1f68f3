package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/provenance"
)

// Why a package is not what it is said to be.
var (
	ErrUnsigned = errors.New("the registry returns no bundle for it that verifies")
	ErrContents = errors.New("its contents are not those that were signed")
)

// A Version makes signed candidates versions.
type Version struct {
	Blobs    Blobs
	Registry Registry
	Verifier Verifier
	Versions Versions
	Scored   Scored // may be nil: no scorecards of versions are kept
}

// RegisterVersion attaches the bundles to the package, verifies what the
// registry then returns, and only then gives the package a number. Idempotent:
// attached once, numbered once. Final: [contract.BadPackage] when a bundle
// does not verify (nothing was attached then), when what came back does not, or
// when it is about other weights.
func (v *Version) RegisterVersion(ctx context.Context, in contract.RegisterInput) (contract.Version, error) {
	if err := v.attachAll(ctx, in); err != nil {
		return contract.Version{}, about(in.Run, in.Number, err)
	}
	// If we crash here, the package is signed in the registry and has no number:
	// nobody can promote it, and the next run numbers it.
	_, err := checkPackage(ctx, v.Registry, v.Verifier, packageOf{
		Repository: in.Candidate.Repository,
		Package:    in.Candidate.Package.Digest,
		Weights:    in.Weights.Digest,
		Tenant:     in.Tenant,
		Model:      in.ModelID,
	})
	if err != nil {
		return contract.Version{}, about(in.Run, in.Number, err)
	}
	version, err := v.Versions.Register(ctx, in)
	if err != nil {
		return contract.Version{}, about(in.Run, in.Number, settled(err))
	}
	return version, about(in.Run, in.Number, v.proves(ctx, in, version.Number))
}

// attachAll attaches the bundles of the candidate's claims once all verify.
func (v *Version) attachAll(ctx context.Context, in contract.RegisterInput) error {
	claims := append([]contract.Claim{{Digest: in.Candidate.Package.Digest, PredicateType: artifact.PredicateModelPackage}}, in.Candidate.Also...)
	signed := append([]artifact.Descriptor{in.Bundle}, in.Also...)
	if len(claims) != len(signed) {
		return permanent(contract.BadPackage, fmt.Errorf("%d claims, %d bundles: %w", len(claims), len(signed), ErrUnsigned))
	}
	bundles := make([][]byte, len(signed))
	for i, claim := range claims {
		var err error
		if bundles[i], err = read(ctx, v.Blobs, signed[i].Digest); err != nil {
			return err
		}
		if _, err := v.Verifier.VerifyIn(ctx, in.Candidate.Repository, bundles[i], claim.PredicateType, claim.Digest); err != nil {
			return unverified(ctx, err)
		}
	}
	for i, claim := range claims {
		// If we crash in between, some are attached, and the retry attaches the rest.
		if err := attachClaim(ctx, v.Registry, v.Verifier, in.Candidate.Repository, in.Candidate.Package, claim, bundles[i]); err != nil {
			return err
		}
	}
	return nil
}

// attach verifies a bundle about a package, attaches it, and verifies what the
// registry lists then.
func attach(ctx context.Context, registry Registry, verifier Verifier, repository string, subject artifact.Descriptor, predicateType string, bundle []byte) error {
	return attachClaim(ctx, registry, verifier, repository, subject, contract.Claim{Digest: subject.Digest, PredicateType: predicateType}, bundle)
}

// attachClaim is attach for a statement whose subject need not be the manifest
// that it refers to: that of OpenSSF Model Signing is about the files. A
// registry that lost the bundle in a race is asked again by the retry.
func attachClaim(ctx context.Context, registry Registry, verifier Verifier, repository string, pkg artifact.Descriptor, claim contract.Claim, bundle []byte) error {
	if _, err := verifier.VerifyIn(ctx, repository, bundle, claim.PredicateType, claim.Digest); err != nil {
		return unverified(ctx, err)
	}
	if err := registry.Attach(ctx, repository, pkg, claim.PredicateType, bundle); err != nil {
		return within(err, "attach in %s", repository)
	}
	_, err := signedBy(ctx, registry, verifier, repository, pkg.Digest, claim)
	return err
}

// crowded makes final what a registry refuses to list: more referrers than
// anybody needs do not become fewer by asking again.
func crowded(err error) error {
	if errors.Is(err, ErrRefused) {
		return permanent(contract.BadPackage, err)
	}
	return err
}

// signedBy returns the predicate of the first bundle in the registry that
// verifies. Others may have attached what they like.
func signedBy(ctx context.Context, registry Registry, verifier Verifier, repository string, subject artifact.Digest, claim contract.Claim) (json.RawMessage, error) {
	bundles, err := registry.Bundles(ctx, repository, subject, claim.PredicateType)
	if err != nil {
		return nil, within(crowded(err), "bundles in %s", repository)
	}
	if len(bundles) == 0 {
		return nil, fmt.Errorf("%s@%s (%s): %w", repository, subject.Short(), claim.PredicateType, ErrUnsigned) // a listing may lag: retried
	}
	for _, bundle := range bundles {
		predicate, err := verifier.VerifyIn(ctx, repository, bundle, claim.PredicateType, claim.Digest)
		if err == nil {
			return predicate, nil
		}
		if err := unverified(ctx, err); !final(err) {
			return nil, err // not judged: who could say that none is good?
		}
	}
	return nil, permanent(contract.BadPackage, fmt.Errorf("%s@%s (%s): %w", repository, subject.Short(), claim.PredicateType, ErrUnsigned))
}

// A packageOf is what a package must be.
type packageOf struct {
	Repository string
	Package    artifact.Digest
	Weights    artifact.Digest
	Tenant     string
	Model      string
}

// checkPackage fetches a package and accepts it only if it is signed as a
// package of this model with these weights, and holds them, and if its files
// and its manifest are signed in the words of other tools as well. It returns
// what the signature says.
func checkPackage(ctx context.Context, registry Registry, verifier Verifier, want packageOf) (provenance.Package, error) {
	var said provenance.Package
	predicate, err := signedBy(ctx, registry, verifier, want.Repository, want.Package, contract.Claim{Digest: want.Package, PredicateType: artifact.PredicateModelPackage})
	if err != nil {
		return said, err
	}
	wrong := func(what string) (provenance.Package, error) {
		return said, permanent(contract.BadPackage, fmt.Errorf("%s@%s: %s: %w", want.Repository, want.Package.Short(), what, ErrContents))
	}
	if err := artifact.DecodeStrict(predicate, &said); err != nil {
		return wrong("statement")
	}
	if said.Tenant != want.Tenant || said.Model != want.Model || said.Weights != want.Weights {
		return wrong("statement")
	}
	encoded, err := registry.Manifest(ctx, want.Repository, want.Package)
	if err != nil {
		return said, within(err, "manifest in %s", want.Repository)
	}
	pkg, err := modelpack.ParseManifest(encoded)
	if err != nil {
		return wrong("manifest")
	}
	if pkg.Weights.Digest != want.Weights {
		return wrong("layers")
	}
	if _, err := signedBy(ctx, registry, verifier, want.Repository, want.Package, contract.Claim{Digest: want.Package, PredicateType: artifact.PredicateSign}); err != nil {
		return said, err
	}
	files := contract.Claim{Digest: modelpack.Root(pkg.Files()), PredicateType: artifact.PredicateOMS}
	predicate, err = signedBy(ctx, registry, verifier, want.Repository, want.Package, files)
	if err != nil {
		return said, err
	}
	if err := modelpack.CheckFiles(predicate, pkg.Files()); err != nil {
		return wrong("files")
	}
	return said, nil
}
