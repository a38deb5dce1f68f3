package docs

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/tests/harness"
)

// TestPagesRun does what a newcomer does, in an empty folder that has the
// programs and the examples of a checkout and nothing else: starts the system,
// takes the README's tour as it stands, then reads on. Blocks marked `sh run`
// are run page by page: a page's blocks are one script, in an empty folder of
// its own, that stops at the first command that fails. The tour's exports and
// its model are there, and CHECKOUT is the folder of the sources.
func TestPagesRun(t *testing.T) {
	t.Parallel()
	folder := harness.State(t)
	checkout, err := filepath.Abs(root)
	require.NoError(t, err)
	bin, err := filepath.Abs(harness.Programs(t))
	require.NoError(t, err)
	require.NoError(t, os.Symlink(bin, filepath.Join(folder, "bin")))
	require.NoError(t, os.Symlink(filepath.Join(checkout, "examples"), filepath.Join(folder, "examples")))
	s := harness.Up(t, filepath.Join(folder, ".fabric"), harness.FreeBase(t))

	tour := marked(t, "README.md", "tour")
	require.NotEmpty(t, tour)
	out, err := execute(t, folder, tour, 2*time.Minute, "FABRIC_API_URL="+s.Gateway()) // 9000 may be somebody else's
	require.NoError(t, err, "%s", out)
	for _, shown := range []string{"completed", "verified: package sha256:", "dry run: nothing has changed", "OK "} {
		require.Contains(t, out, shown)
	}

	ran := 0
	for _, p := range pages(t) {
		script := marked(t, p.path, "run")
		if script == "" {
			continue
		}
		ran++
		t.Run(p.path, func(t *testing.T) {
			out, err := execute(t, t.TempDir(), script, 2*time.Minute,
				"FABRIC_API_URL="+s.Gateway(), "FABRIC_STATE_DIR="+s.State, "FABRIC_TRUST_KEY="+s.Path("keys", "fabric.pub"),
				"FABRIC_LOG_VERIFIER="+s.Path("keys", "log.pub"),
				"FABRIC_TOKEN="+s.Token(t, "hosp-north", "ann", "data-scientist", "operator", "admin", "auditor", "approver"))
			require.NoError(t, err, "%s", out)
		})
	}
	require.GreaterOrEqual(t, ran, 8)

	t.Run("trainers in Python learn what ours do", func(t *testing.T) { pythonTrainers(t, s) })
}

// marked returns the shell blocks of a page that carry a mark, one after the
// other.
func marked(t *testing.T, path, mark string) string {
	t.Helper()
	p := page{path, strings.Split(read(t, path), "\n")}
	found, _ := p.split()
	var script strings.Builder
	for _, b := range found {
		if b.language() == "sh" && b.marked(mark) {
			script.WriteString(b.text())
		}
	}
	return script.String()
}

// execute runs a script from a folder.
func execute(t *testing.T, folder, script string, limit time.Duration, settings ...string) (string, error) {
	t.Helper()
	checkout, err := filepath.Abs(root)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = folder
	bin, err := filepath.Abs(harness.Programs(t))
	require.NoError(t, err)
	cmd.Env = append([]string{"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + cmd.Dir, "CHECKOUT=" + checkout, "COSIGN_PASSWORD=", "PYTHONDONTWRITEBYTECODE=1"}, settings...)
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}
