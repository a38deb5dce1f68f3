package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
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
}

// RegisterVersion attaches the bundle to the package, verifies what the
// registry then returns, and only then gives the package a number. Idempotent:
// attached once, numbered once. Final: [contract.BadPackage] when the bundle
// does not verify (nothing was attached then), when what came back does not, or
// when it is about other weights.
func (v *Version) RegisterVersion(ctx context.Context, in contract.RegisterInput) (contract.Version, error) {
	bundle, err := read(ctx, v.Blobs, in.Bundle.Digest)
	if err != nil {
		return contract.Version{}, about(in.Run, in.Number, err)
	}
	err = attach(ctx, v.Registry, v.Verifier, in.Candidate.Repository, in.Candidate.Package, artifact.PredicateModelPackage, bundle)
	if err != nil {
		return contract.Version{}, about(in.Run, in.Number, err)
	}
	// If we crash here, the package is signed in the registry and has no number:
	// nobody can promote it, and the next run numbers it.
	_, err = checkPackage(ctx, v.Registry, v.Verifier, packageOf{
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
	return version, nil
}

// attach verifies a bundle, attaches it, and verifies what the registry lists
// then. A registry that lost the bundle in a race is asked again by the retry.
func attach(ctx context.Context, registry Registry, verifier Verifier, repository string, subject artifact.Descriptor, predicateType string, bundle []byte) error {
	if _, err := verifier.Verify(ctx, bundle, predicateType, subject.Digest); err != nil {
		return unverified(ctx, err)
	}
	if err := registry.Attach(ctx, repository, subject, predicateType, bundle); err != nil {
		return within(err, "attach in %s", repository)
	}
	_, err := signedBy(ctx, registry, verifier, repository, subject.Digest, predicateType)
	return err
}

// signedBy returns the predicate of the first bundle in the registry that
// verifies. Others may have attached what they like.
func signedBy(ctx context.Context, registry Registry, verifier Verifier, repository string, subject artifact.Digest, predicateType string) (json.RawMessage, error) {
	bundles, err := registry.Bundles(ctx, repository, subject, predicateType)
	if err != nil {
		return nil, within(err, "bundles in %s", repository)
	}
	if len(bundles) == 0 {
		return nil, fmt.Errorf("%s@%s: %w", repository, subject.Short(), ErrUnsigned) // a listing may lag: retried
	}
	for _, bundle := range bundles {
		predicate, err := verifier.Verify(ctx, bundle, predicateType, subject)
		if err == nil {
			return predicate, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, permanent(contract.BadPackage, fmt.Errorf("%s@%s: %w", repository, subject.Short(), ErrUnsigned))
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
// package of this model with these weights, and holds them. It returns what the
// signature says.
func checkPackage(ctx context.Context, registry Registry, verifier Verifier, want packageOf) (ModelStatement, error) {
	var said ModelStatement
	predicate, err := signedBy(ctx, registry, verifier, want.Repository, want.Package, artifact.PredicateModelPackage)
	if err != nil {
		return said, err
	}
	wrong := func(what string) (ModelStatement, error) {
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
	var manifest struct {
		Layers []struct {
			Digest artifact.Digest `json:"digest"`
		} `json:"layers"`
	}
	if err := json.Unmarshal(encoded, &manifest); err != nil { // foreign fields are no fault of a manifest
		return wrong("manifest")
	}
	for _, layer := range manifest.Layers {
		if layer.Digest == want.Weights {
			return said, nil
		}
	}
	return wrong("layers")
}
