//go:build conformance

package oci_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/cosign/cosigntest"
	"github.com/atom-fabric/fabric/internal/oci"
)

// The stock command lines find and verify the bundles of a package by
// themselves, in both kinds of registry, and do not take one for another
// package's. What they sign and attest there, we verify.
func TestConformancePackagesInRegistries(t *testing.T) {
	cosigntest.Each(t, func(t *testing.T, s cosigntest.Stock) {
		for name, handler := range carriers(t) {
			t.Run(name, func(t *testing.T) {
				r, _ := serve(t, handler)
				stockPackages(t, s, r)
			})
		}
	})
}

func stockPackages(t *testing.T, s cosigntest.Stock, r *oci.Registry) {
	ctx := context.Background()
	if _, err := os.Stat(s.Path("fabric.key")); err != nil {
		require.NoError(t, cosign.GenerateKeyPair(s.Dir, "fabric", []byte(cosigntest.Password)))
	}
	signer, err := cosign.LoadSigner(s.Path("fabric.key"), func() ([]byte, error) { return []byte(cosigntest.Password), nil })
	require.NoError(t, err)
	verifier, err := cosign.NewVerifier(signer.PublicKey())
	require.NoError(t, err)
	push := func(name string) artifact.Descriptor {
		d, err := r.Push(ctx, repository, newPackage(name))
		require.NoError(t, err)
		return d
	}
	sign := func(subject artifact.Digest, predicateType string) []byte {
		statement, err := artifact.NewStatement(repository, subject, predicateType, map[string]string{"model": "tumour"})
		require.NoError(t, err)
		encoded, err := statement.Encode()
		require.NoError(t, err)
		bundle, err := signer.Sign(ctx, encoded)
		require.NoError(t, err)
		return bundle
	}
	at := func(d artifact.Digest) string {
		return strings.TrimPrefix(r.URL(), "http://") + "/" + repository + "@" + string(d)
	}
	attested := func(d artifact.Digest, predicateType string) error {
		return s.Cosign(t, append(append([]string{"verify-attestation", "--key", "fabric.pub", "--type", predicateType}, s.VerifyingImages()...), at(d))...)
	}
	signedBy := func(d artifact.Digest) error {
		return s.Cosign(t, append(append([]string{"verify", "--key", "fabric.pub"}, s.VerifyingImages()...), at(d))...)
	}

	// What we signed.
	signed, unsigned := push("signed"), push("unsigned")
	bundle := sign(signed.Digest, artifact.PredicateModelPackage)
	require.NoError(t, r.Attach(ctx, repository, signed, artifact.PredicateModelPackage, bundle))
	require.NoError(t, r.Attach(ctx, repository, signed, artifact.PredicateSign, sign(signed.Digest, artifact.PredicateSign)))
	require.NoError(t, attested(signed.Digest, artifact.PredicateModelPackage))
	require.NoError(t, signedBy(signed.Digest))
	require.Error(t, attested(signed.Digest, artifact.PredicateApproval))
	require.Error(t, attested(unsigned.Digest, artifact.PredicateModelPackage))
	require.Error(t, signedBy(unsigned.Digest))
	// A bundle of another package, attached to this one.
	require.NoError(t, r.Attach(ctx, repository, unsigned, artifact.PredicateModelPackage, bundle))
	require.Error(t, attested(unsigned.Digest, artifact.PredicateModelPackage))

	// What the command line signed.
	theirs := push("theirs")
	s.Write(t, "predicate.json", []byte(`{"model":"tumour"}`))
	require.NoError(t, s.Cosign(t, append(append([]string{"sign", "--key", "fabric.key"}, s.Signing()...), at(theirs.Digest))...))
	require.NoError(t, s.Cosign(t, append(append([]string{"attest", "--key", "fabric.key", "--type", artifact.PredicateModelPackage, "--predicate", "predicate.json"}, s.Signing()...), at(theirs.Digest))...))
	for _, predicateType := range []string{artifact.PredicateSign, artifact.PredicateModelPackage} {
		bundles, err := r.Bundles(ctx, repository, theirs.Digest, predicateType)
		require.NoError(t, err)
		require.NotEmpty(t, bundles, predicateType)
		_, err = verifier.Verify(ctx, bundles[0], predicateType, theirs.Digest)
		require.NoError(t, err, predicateType)
		_, err = verifier.Verify(ctx, bundles[0], predicateType, unsigned.Digest)
		require.ErrorIs(t, err, artifact.ErrSubject, predicateType)
	}
}
