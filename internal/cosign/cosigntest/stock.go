// Package cosigntest runs the stock cosign command lines, v2 and v3, as judges
// of what the fabric signs and as signers of what it verifies.
//
// Invariant: a command has a home of its own and no network: what it would
// fetch goes to a port where nobody listens. A judge that is not there fails the
// test: a conformance that was not run must not look like one that passed.
package cosigntest

import (
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/cosign"
)

// Password opens every key file that the command lines make.
const Password = "correct horse"

// Files that every command line finds in its folder.
const (
	TrustedRoot   = "trusted-root.json"
	signingConfig = "signing-config.json"
)

// releases are the command lines, by the variable that names each.
var releases = []struct{ variable, path, version string }{
	{"COSIGN_BIN", "github.com/sigstore/cosign/v2", "v2.6.5"},
	{"COSIGN_V3_BIN", "github.com/sigstore/cosign/v3", "v3.1.3"},
}

// A Stock is one release of the command line in a folder.
type Stock struct {
	Version string
	Dir     string
	Env     []string
}

// Each runs a test with every release, in a folder of its own. Of the two only
// v3 may be missing, where the run says that it leaves it out: COSIGN_V3_BIN is
// "none" then.
func Each(t *testing.T, test func(t *testing.T, s Stock)) {
	t.Helper()
	for _, r := range releases {
		binary := os.Getenv(r.variable)
		if binary == "none" && r.variable == "COSIGN_V3_BIN" {
			continue
		}
		t.Run(r.version, func(t *testing.T) {
			require.NotEmpty(t, binary, "%s must name a cosign %s binary", r.variable, r.version)
			test(t, start(t, binary, r.path, r.version))
		})
	}
}

func start(t *testing.T, binary, module, version string) Stock {
	t.Helper()
	binary, err := filepath.Abs(binary)
	require.NoError(t, err)
	info, err := buildinfo.ReadFile(binary)
	require.NoError(t, err)
	require.Equal(t, module+"/cmd/cosign", info.Path, "another program")
	built := ""
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module {
			built = m.Version
		}
	}
	require.Equal(t, version, built)

	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	require.NoError(t, os.Symlink(binary, filepath.Join(dir, "bin", "cosign")))
	s := Stock{Version: version, Dir: dir, Env: []string{
		"PATH=" + filepath.Join(dir, "bin") + ":/usr/bin:/bin",
		"HOME=" + dir,
		"TUF_ROOT=" + filepath.Join(dir, "tuf"),
		"HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1", "NO_PROXY=127.0.0.1",
		"COSIGN_PASSWORD=" + Password,
	}}
	s.Write(t, TrustedRoot, []byte(cosign.TrustedRoot))
	s.Write(t, signingConfig, []byte(`{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}`))
	return s
}

// Shell runs a command as a person would.
func (s Stock) Shell(t *testing.T, command string) (string, error) {
	t.Helper()
	shell := exec.Command("sh", "-c", command)
	shell.Dir, shell.Env = s.Dir, s.Env
	out, err := shell.CombinedOutput()
	t.Logf("%s\n%s", command, out)
	return string(out), err
}

// Cosign runs the program with these arguments.
func (s Stock) Cosign(t *testing.T, args ...string) error {
	t.Helper()
	command := exec.Command(filepath.Join(s.Dir, "bin", "cosign"), args...)
	command.Dir, command.Env = s.Dir, s.Env
	out, err := command.CombinedOutput()
	t.Logf("cosign %s\n%s", strings.Join(args, " "), out)
	return err
}

// Signing are the flags with which this release signs into a v0.3 bundle
// without a log.
func (s Stock) Signing() []string {
	if strings.HasPrefix(s.Version, "v2") {
		return []string{"--tlog-upload=false", "--new-bundle-format", "-y"}
	}
	return []string{"--signing-config", signingConfig, "--trusted-root", TrustedRoot, "-y"}
}

// VerifyingImages are the flags with which it verifies what is in a registry.
func (s Stock) VerifyingImages() []string {
	if strings.HasPrefix(s.Version, "v2") {
		return []string{"--insecure-ignore-tlog", "--new-bundle-format", "--trusted-root", TrustedRoot}
	}
	return []string{"--insecure-ignore-tlog", "--trusted-root", TrustedRoot}
}

// Path names a file in the folder.
func (s Stock) Path(name string) string { return filepath.Join(s.Dir, name) }

// Write puts a file into the folder.
func (s Stock) Write(t *testing.T, name string, content []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(s.Path(name), content, 0o600))
}

// Read returns a file of the folder.
func (s Stock) Read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(s.Path(name))
	require.NoError(t, err)
	return content
}
