package integration

import (
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/tests/harness"
)

// examined has the doctor look at a system that is well. A machine that tests
// run on may have little room, and other things to do: what the check says of
// it is no matter of the system's.
func examined(t *testing.T, s *harness.System) {
	token := s.Token(t, "hosp-north", "ann", "operator")
	args := []string{"doctor", "--port-base", strconv.Itoa(s.Base), "--patience", "30s", "--skip", "disk,files", "-o", "json"}
	out, status := harness.Command(t, filepath.Join(harness.Programs(t), "fabric"), args, "FABRIC_STATE_DIR="+s.State, "FABRIC_TOKEN="+token)
	var found struct {
		Status   string
		Findings []struct{ ID, Status, Detail, Fix string }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &found), out)
	verdicts := map[string]string{}
	for _, f := range found.Findings {
		verdicts[f.ID] = f.Status
		require.Contains(t, []string{"ok", "skip"}, f.Status, "%s: %s; %s", f.ID, f.Detail, f.Fix)
	}
	require.Zero(t, status)
	require.Equal(t, "ok", found.Status)
	for _, id := range []string{"settings", "precheck", "programs", "state", "secrets", "ports", "clock", "postgres", "migrations", "temporal", "queues", "registry", "store", "issuer", "token", "key", "logkey", "trust", "audit", "gateway", "router"} {
		require.Equal(t, "ok", verdicts[id], id)
	}
	require.Equal(t, "skip", verdicts["replicas"])
	require.NotContains(t, out, token)
}

// guided goes through the tour as the command does it, and once more from a
// step that was done.
func guided(t *testing.T, s *harness.System) {
	out, status := s.Fabric(t, "", "tour", "--yes", "--port-base", strconv.Itoa(s.Base))
	require.Zero(t, status, out)
	for _, shown := range []string{"6 of 6", "completed", "verified: package sha256:", "dry run: nothing has changed", "OK ", s.Gateway() + "/console/", "Temporal Web UI"} {
		require.Contains(t, out, shown)
	}
	out, status = s.Fabric(t, "", "tour", "--yes", "--from", "6", "--port-base", strconv.Itoa(s.Base))
	require.Zero(t, status, out)
	require.NotContains(t, out, "2 of 6")
}

// pictured draws what a run and the routes have become, from the command line.
func pictured(t *testing.T, s *harness.System, run v1.Run) {
	token := s.Token(t, demo.Consortium, "mira", "auditor")
	for name, args := range map[string][]string{
		"Accuracy on held-out rows": {"convergence", run.ID}, "Loss a held-out row": {"convergence", run.ID, "--loss"},
		"Privacy spent": {"privacy", run.ID}, "Drift of " + demo.Model: {"drift", demo.Model}, "Latency": {"routing"},
	} {
		out, status := s.Fabric(t, token, append([]string{"plot"}, args...)...)
		require.Zero(t, status, out)
		require.True(t, strings.HasPrefix(out, "<svg"), out)
		require.Contains(t, out, name)
	}
	file := filepath.Join(t.TempDir(), "accuracy.svg")
	out, status := s.Fabric(t, token, "plot", "convergence", run.ID, "-f", file)
	require.Zero(t, status, out)
	require.FileExists(t, file)
	out, status = s.Fabric(t, token, "plot", "convergence", run.ID[:12])
	require.Equal(t, 4, status, out)
	require.Contains(t, out, "fabric round list")
}
