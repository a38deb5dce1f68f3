//go:build conformance

package cosign_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/cosign"
)

// A stock is the stock command line, in a folder of its own and without a
// network: what it would fetch goes to a port where nobody listens.
type stock struct {
	dir string
	env []string
}

// newStock fails when COSIGN_BIN does not name cosign v2.6.5: a conformance
// that was not run must not look like one that passed.
func newStock(t *testing.T) stock {
	binary := os.Getenv("COSIGN_BIN")
	require.NotEmpty(t, binary, "COSIGN_BIN must name a cosign v2.6.5 binary")
	binary, err := filepath.Abs(binary)
	require.NoError(t, err)
	require.Equal(t, "v2.6.5", versionOf(t, binary))

	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	require.NoError(t, os.Symlink(binary, filepath.Join(dir, "bin", "cosign")))
	write(t, filepath.Join(dir, "trusted-root.json"), []byte(cosign.TrustedRoot))
	return stock{dir: dir, env: []string{
		"PATH=" + filepath.Join(dir, "bin") + ":/usr/bin:/bin",
		"HOME=" + dir,
		"TUF_ROOT=" + filepath.Join(dir, "tuf"),
		"HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1",
		"COSIGN_PASSWORD=correct horse",
	}}
}

// versionOf asks a release what it is, and a build of ours what it was built of.
func versionOf(t *testing.T, binary string) string {
	t.Helper()
	info, err := buildinfo.ReadFile(binary)
	require.NoError(t, err)
	require.Equal(t, "github.com/sigstore/cosign/v2/cmd/cosign", info.Path, "COSIGN_BIN names another program")
	for _, module := range append(info.Deps, &info.Main) {
		if module.Path == "github.com/sigstore/cosign/v2" && strings.HasPrefix(module.Version, "v") {
			return module.Version
		}
	}
	said, err := exec.Command(binary, "version", "--json").Output()
	require.NoError(t, err)
	var version struct{ GitVersion string }
	require.NoError(t, json.Unmarshal(said, &version))
	return version.GitVersion
}

// run executes the command as a person would, in a shell.
func (s stock) run(t *testing.T, command string) (string, error) {
	t.Helper()
	shell := exec.Command("sh", "-c", command)
	shell.Dir, shell.Env = s.dir, s.env
	out, err := shell.CombinedOutput()
	t.Logf("%s\n%s", command, out)
	return string(out), err
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, content, 0o600))
}

func (s stock) path(name string) string { return filepath.Join(s.dir, name) }

func TestConformanceStockCosignVerifiesWhatWeSign(t *testing.T) {
	s := newStock(t)
	require.NoError(t, cosign.GenerateKeyPair(s.dir, "fabric", []byte("correct horse")))
	require.NoError(t, cosign.GenerateKeyPair(s.dir, "stranger", nil))
	signer, err := cosign.LoadSigner(s.path("fabric.key"), password)
	require.NoError(t, err)
	bundle, err := signer.Sign(context.Background(), statementAbout(t, manifest))
	require.NoError(t, err)

	standard, err := artifact.ParseStatement(statementAbout(t, manifest))
	require.NoError(t, err)
	key, err := cosign.LoadPrivateKey(s.path("fabric.key"), []byte("correct horse"))
	require.NoError(t, err)
	ours, err := artifact.SignStatement(rand.Reader, key, standard)
	require.NoError(t, err)

	for name, bundle := range map[string][]byte{"the control plane's": bundle, "a site's or an approver's": ours} {
		t.Run(name, func(t *testing.T) {
			checkStock(t, s, bundle)
		})
	}
}

func checkStock(t *testing.T, s stock, bundle []byte) {
	files := cosign.Files{Key: "fabric.pub", Bundle: "it's a bundle.json", TrustedRoot: "trusted-root.json", Content: "manifest.json"}
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
		write(t, s.path("manifest.json"), manifest)
		write(t, s.path("it's a bundle.json"), bundle)
		out, err := s.run(t, command)
		require.NoError(t, err, name)
		require.Contains(t, out, "Verified OK", name)

		write(t, s.path("it's a bundle.json"), broken)
		_, err = s.run(t, command)
		require.Error(t, err, "%s after one byte of the bundle changed", name)

		write(t, s.path("it's a bundle.json"), bundle)
		if !strings.Contains(name, "digest") {
			write(t, s.path("manifest.json"), altered)
			_, err = s.run(t, command)
			require.Error(t, err, "%s after one byte of the content changed", name)
		}
	}
	write(t, s.path("manifest.json"), manifest)
	_, err = s.run(t, cosign.VerifyAttestationCommand(files, artifact.PredicateApproval))
	require.Error(t, err, "another predicate type")
	files.Key = "stranger.pub"
	_, err = s.run(t, cosign.VerifyCommand(files))
	require.Error(t, err, "another key")
}

func TestConformanceWeVerifyWhatStockCosignSigns(t *testing.T) {
	s := newStock(t)
	_, err := s.run(t, "cosign generate-key-pair")
	require.NoError(t, err)
	write(t, s.path("manifest.json"), manifest)
	write(t, s.path("predicate.json"), []byte(`{"model":"tumour"}`))
	_, err = s.run(t, "cosign attest-blob --key cosign.key --tlog-upload=false --new-bundle-format --bundle bundle.json --type "+
		artifact.PredicateModelPackage+" --predicate predicate.json -y manifest.json")
	require.NoError(t, err)
	bundle, err := os.ReadFile(s.path("bundle.json"))
	require.NoError(t, err)
	t.Logf("%s", bundle)

	key, err := cosign.LoadPrivateKey(s.path("cosign.key"), []byte("correct horse"))
	require.NoError(t, err)
	public := readPublic(t, s.path("cosign.pub"))
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
}

// A key that we made signs in the stock command line as well.
func TestConformanceStockCosignSignsWithOurKey(t *testing.T) {
	s := newStock(t)
	require.NoError(t, cosign.GenerateKeyPair(s.dir, "ours", []byte("correct horse")))
	public := readPublic(t, s.path("ours.pub"))
	write(t, s.path("manifest.json"), manifest)
	write(t, s.path("predicate.json"), []byte(`{"decision":"approve"}`))
	_, err := s.run(t, "cosign attest-blob --key ours.key --tlog-upload=false --new-bundle-format --bundle bundle.json --type "+
		artifact.PredicateApproval+" --predicate predicate.json -y manifest.json")
	require.NoError(t, err)
	bundle, err := os.ReadFile(s.path("bundle.json"))
	require.NoError(t, err)
	_, err = artifact.VerifyBundle([]*ecdsa.PublicKey{public}, bundle, artifact.PredicateApproval, artifact.DigestOf(manifest))
	require.NoError(t, err)
}
