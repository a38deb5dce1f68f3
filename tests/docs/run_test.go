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

// TestPagesRun starts the system once and runs every block that is marked
// `sh run`, page by page: a page's blocks are one script, in an empty folder,
// that stops at the first command that fails. A reader has done what the tour
// begins with: its exports are there, and CHECKOUT is the folder of the sources.
func TestPagesRun(t *testing.T) {
	s := harness.Up(t, harness.State(t), harness.FreeBase(t))
	ran := 0
	for _, p := range pages(t) {
		found, _ := p.split()
		var script strings.Builder
		for _, b := range found {
			if b.language() == "sh" && b.marked("run") {
				script.WriteString(b.text())
			}
		}
		if script.Len() == 0 {
			continue
		}
		ran++
		t.Run(p.path, func(t *testing.T) {
			out, err := execute(t, script.String(), 2*time.Minute,
				"FABRIC_API_URL="+s.Gateway(), "FABRIC_STATE_DIR="+s.State, "FABRIC_TRUST_KEY="+s.Path("keys", "fabric.pub"),
				"FABRIC_LOG_VERIFIER="+s.Path("keys", "log.pub"),
				"FABRIC_TOKEN="+s.Token(t, "hosp-north", "ann", "data-scientist", "operator", "admin", "auditor", "approver"))
			require.NoError(t, err, "%s", out)
		})
	}
	require.GreaterOrEqual(t, ran, 5)

	t.Run("trainers in Python learn what ours do", func(t *testing.T) { pythonTrainers(t, s) })
}

// execute runs a script from an empty folder.
func execute(t *testing.T, script string, limit time.Duration, settings ...string) (string, error) {
	t.Helper()
	checkout, err := filepath.Abs(root)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = t.TempDir()
	bin, err := filepath.Abs(harness.Programs(t))
	require.NoError(t, err)
	cmd.Env = append([]string{"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + cmd.Dir, "CHECKOUT=" + checkout, "COSIGN_PASSWORD=", "PYTHONDONTWRITEBYTECODE=1"}, settings...)
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}
