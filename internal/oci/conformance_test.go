//go:build conformance

package oci_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/cosign"
)

// The stock command line finds and verifies the bundle of a package by itself,
// in both kinds of registry, and does not take it for another package's.
func TestConformanceStockCosignVerifiesPackages(t *testing.T) {
	binary, err := filepath.Abs(os.Getenv("COSIGN_BIN"))
	require.NoError(t, err)
	require.FileExists(t, binary, "COSIGN_BIN must name a cosign v2.6.5 binary")
	ctx := context.Background()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "trusted-root.json"), []byte(cosign.TrustedRoot), 0o600))
	require.NoError(t, cosign.GenerateKeyPair(dir, "fabric", []byte("correct horse")))
	signer, err := cosign.LoadSigner(filepath.Join(dir, "fabric.key"), func() ([]byte, error) { return []byte("correct horse"), nil })
	require.NoError(t, err)

	for name, handler := range carriers(t) {
		t.Run(name, func(t *testing.T) {
			r, _ := serve(t, handler)
			signed, err := r.Push(ctx, repository, newPackage("signed"))
			require.NoError(t, err)
			unsigned, err := r.Push(ctx, repository, newPackage("unsigned"))
			require.NoError(t, err)
			statement, err := artifact.NewStatement(repository, signed.Digest, artifact.PredicateModelPackage, map[string]string{"model": "tumour"})
			require.NoError(t, err)
			encoded, err := statement.Encode()
			require.NoError(t, err)
			bundle, err := signer.Sign(ctx, encoded)
			require.NoError(t, err)
			require.NoError(t, r.Attach(ctx, repository, signed, artifact.PredicateModelPackage, bundle))

			verify := func(digest artifact.Digest, predicateType string) error {
				command := exec.Command(binary, "verify-attestation", "--key", "fabric.pub", "--new-bundle-format", "--trusted-root", "trusted-root.json",
					"--insecure-ignore-tlog", "--type", predicateType, strings.TrimPrefix(r.URL(), "http://")+"/"+repository+"@"+string(digest))
				command.Dir = dir
				command.Env = []string{"HOME=" + dir, "HTTPS_PROXY=http://127.0.0.1:1"}
				out, err := command.CombinedOutput()
				t.Logf("%s\n%s", command, out)
				return err
			}
			require.NoError(t, verify(signed.Digest, artifact.PredicateModelPackage))
			require.Error(t, verify(signed.Digest, artifact.PredicateApproval))
			require.Error(t, verify(unsigned.Digest, artifact.PredicateModelPackage))
			// A bundle of another package, attached to this one.
			require.NoError(t, r.Attach(ctx, repository, unsigned, artifact.PredicateModelPackage, bundle))
			require.Error(t, verify(unsigned.Digest, artifact.PredicateModelPackage))
		})
	}
}
