//go:build governance

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/tests/harness"
)

// The governance demonstration holds, from an empty state and again over what it
// left, for two seeds; and its trace says how each decision came about.
func TestGovernanceDemonstration(t *testing.T) {
	bin, state, base := harness.Programs(t), harness.State(t), harness.FreeBase(t)
	for _, seed := range []int{1, 2} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "fabric"),
			"demo", "--governance", "--state", state, "--port-base", strconv.Itoa(base), "--seed", strconv.Itoa(seed))
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that it stops what it started
		cmd.WaitDelay = time.Minute
		text, err := cmd.CombinedOutput()
		out := string(text)
		t.Log(out)
		require.NoError(t, err, "seed %d", seed)
		for _, shown := range []string{
			`scorecard of version 2 in eu +drift FAIL`,
			`proposes: tighten quarantine_region of eu`,
			`allow -> deny +routing of tumour-net in eu`,
			`risk \d+ of 100 asks for 2 people`,
			`us +active +revision 2`,
			`a call that asks for eu: 403 not_permitted`,
			`look FAIL`,
			`switched back to version 1`,
			`tried since +promote-\S+: version 3 .*latency FAIL`,
			`policy +revision 2 by policy-`,
			`policy proposal +policy-`,
			`policy approval +mira`,
			`policy approval +lund`,
			`policy in region +us`,
			`OK  \d+ leaves`,
			`all 11 steps hold`,
		} {
			require.Regexp(t, regexp.MustCompile(shown), out, "seed %d", seed)
		}
	}
}
