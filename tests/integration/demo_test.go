package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/tests/harness"
)

// The demonstration holds on an empty state, and again over what it left, where
// a version serves already.
func TestTheDemonstrationHoldsTwice(t *testing.T) {
	bin, state, base := harness.Programs(t), harness.State(t), harness.FreeBase(t)
	for _, turn := range []string{"first", "second"} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		cmd := exec.CommandContext(ctx, filepath.Join(bin, "fabric"), "demo", "--state", state, "--port-base", strconv.Itoa(base))
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that it stops what it started
		cmd.WaitDelay = time.Minute
		out, err := cmd.CombinedOutput()
		cancel()
		require.NoError(t, err, "%s time: %s", turn, out)
		require.Contains(t, string(out), "all 11 steps hold", "%s time", turn)
	}
}
