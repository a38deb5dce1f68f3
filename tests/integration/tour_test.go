package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/tests/harness"
)

// tour runs the README's five minutes as they are written, in one shell that
// stops at the first command that fails. Only the state directory is another.
func tour(t *testing.T, s *harness.System) {
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)```sh tour\n(.*?)```").FindSubmatch(text)
	require.NotNil(t, block, "the README has no tour")
	script := strings.ReplaceAll(string(block[1]), ".fabric/", s.State+"/")

	cmd := exec.CommandContext(t.Context(), "/bin/bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "FABRIC_API_URL="+s.Gateway(), "FABRIC_STATE_DIR="+s.State)
	bin, err := filepath.Abs(harness.Programs(t))
	require.NoError(t, err)
	cmd.Env = append(cmd.Env, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, shown := range []string{"completed", "verified: package sha256:", "dry run: nothing has changed", "OK "} {
		require.Contains(t, string(out), shown)
	}
}
