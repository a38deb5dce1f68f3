//go:build operations

package operations

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/tests/harness"
)

// desk is an operator's terminal at a system: our programs, those of the
// packages, and the words restart, stop and start that the pages use.
func desk(t *testing.T, s *harness.System) terminal {
	t.Helper()
	dir := t.TempDir()
	for _, word := range []string{"restart", "stop", "start"} {
		script := "#!/bin/sh\nexec curl --fail --silent --show-error -X POST \"$RUNBOOK/" + word + "/$1\"\n"
		require.NoError(t, os.WriteFile(filepath.Join(dir, word), []byte(script), 0o755))
	}
	pin, err := os.ReadFile(s.Path("trust", "root"))
	require.NoError(t, err)
	var regions []string
	for i, region := range []string{"eu", "us", "apac"} {
		regions = append(regions, region+"="+s.URL(61+i))
	}
	return terminal{dir: dir, env: []string{
		"PATH=" + dir + ":" + harness.Programs(t) + ":/usr/lib/postgresql/15/bin:" + os.Getenv("PATH"), "HOME=" + dir,
		"FABRIC_STATE_DIR=" + s.State, "FABRIC_API_URL=" + s.Gateway(), "FABRIC_ROUTER_URL=" + s.Service(4), "FABRIC_PORT_BASE=" + strconv.Itoa(s.Base),
		"FABRIC_TRUST_POLICY=" + s.Path("trust", "policy.jsonl"), "FABRIC_TRUST_ROOT=" + strings.TrimSpace(string(pin)),
		"FABRIC_LOG_VERIFIER=" + s.Path("keys", "log.pub"), "FABRIC_WITNESS_URL=" + strings.Join(regions, ","), "SIMULATION_MODE=true",
		"FABRIC_TOKEN=" + s.Token(t, demo.Consortium, "mira", "data-scientist", "operator", "admin", "auditor"),
	}}
}

// control serves the words restart, stop and start over a running system. What
// is stopped hangs, as a machine does that is out of breath; what is restarted
// is killed, and the supervisor starts it again. Other names are the test's.
func control(t *testing.T, s *harness.System, others map[string]func(word string)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{word}/{name}", func(w http.ResponseWriter, r *http.Request) {
		word, name := r.PathValue("word"), r.PathValue("name")
		if do, ok := others[name]; ok {
			do(word)
			return
		}
		pid := s.Children(t)[name]
		if pid == 0 {
			http.Error(w, "no process "+name, http.StatusNotFound)
			return
		}
		switch word {
		case "stop":
			err = syscall.Kill(pid, syscall.SIGSTOP)
		case "start":
			err = syscall.Kill(pid, syscall.SIGCONT)
		case "restart":
			err = syscall.Kill(pid, syscall.SIGKILL)
			for until := time.Now().Add(time.Minute); time.Now().Before(until) && (s.Children(t)[name] == 0 || s.Children(t)[name] == pid); {
				time.Sleep(50 * time.Millisecond)
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return "http://" + listener.Addr().String()
}

// promote has a version promoted by two people's votes.
func promote(t *testing.T, lead *v1.Client, version int, environment v1.Environment, by ...harness.Approver) string {
	t.Helper()
	id := harness.Promote(t, lead, version, environment)
	vote(t, lead, id, by...)
	return id
}

// vote approves until the ballot is decided.
func vote(t *testing.T, lead *v1.Client, id string, by ...harness.Approver) {
	t.Helper()
	for _, a := range by {
		require.Eventually(t, func() bool {
			ballot := harness.Ballot(t, lead, id)
			if ballot.Outcome != "pending" {
				return true
			}
			_, err := a.Approve(t, ballot)
			var problem *v1.ProblemError
			if errors.As(err, &problem) && (problem.Code == "not_ready" || problem.Code == "unavailable") {
				return false // its row is there, its workflow is on its way; or Temporal was slow
			}
			require.NoError(t, err)
			return true
		}, 2*time.Minute, 100*time.Millisecond, "%s cannot vote", a.Name)
	}
}

// ended waits for the end of a promotion.
func ended(t *testing.T, lead *v1.Client, id string) v1.Action {
	t.Helper()
	var action v1.Action
	require.Eventually(t, func() bool {
		var err error
		action, err = v1.Fetch[v1.Action](lead.GetPromotion(t.Context(), id, &v1.GetPromotionParams{}))
		return err == nil && action.State != "planned" && action.State != "started"
	}, 5*time.Minute, 200*time.Millisecond, "promotion %s does not end: %+v", id, &action)
	return action
}
