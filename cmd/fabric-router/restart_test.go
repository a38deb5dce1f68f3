package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/runtime/runtimetest"
)

// asRouter makes a process of this test's program the program itself.
const asRouter = "FABRIC_TEST_AS_ROUTER"

func TestMain(m *testing.M) {
	if os.Getenv(asRouter) != "" {
		main()
	}
	os.Exit(m.Run())
}

// A router is replaced three times under load: no connection is refused, no
// request fails, on connections that are kept and on fresh ones, and each
// predecessor ends. A successor that cannot start changes nothing.
func TestARestartRefusesNobody(t *testing.T) {
	key := runtimetest.NewKey(t)
	dir := t.TempDir()
	pem, err := artifact.MarshalPublicKey(&key.PublicKey)
	require.NoError(t, err)
	trust := filepath.Join(dir, "fabric.pub")
	require.NoError(t, os.WriteFile(trust, pem, 0o600))
	runtime := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodPost {
			time.Sleep(5 * time.Millisecond)
			_, _ = io.WriteString(w, `{"model_name":"t1.m1","model_version":"1","outputs":[{"name":"p","shape":[1],"datatype":"FP64","data":[0.5]}]}`)
		}
	}))
	defer runtime.Close()
	s := routing.Snapshot{Version: 1, Policies: []policy.Document{policy.Default()}, Regions: []routing.Region{{Name: "eu", Policy: 1}},
		Packages:  []routing.Package{{Tenant: "t1", Model: "m1", Version: 1, Manifest: artifact.DigestOf([]byte("m")), Regions: []string{"eu"}}},
		Endpoints: []routing.Endpoint{{Name: "eu-1", Region: "eu", Kind: policy.Neural, URL: runtime.URL}},
		Routes:    []routing.Route{{Tenant: "t1", Model: "m1", Environment: "dev", Version: 1, Regions: []string{"eu"}}}}
	text, err := json.Marshal(s)
	require.NoError(t, err)
	signed, err := json.Marshal(routing.Signed{Snapshot: text, Bundle: runtimetest.Sign(t, key, artifact.DigestOf(text), artifact.PredicateSnapshot, struct{}{})})
	require.NoError(t, err)
	plane := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/snapshot" && r.URL.Query().Get("after") == "0" {
			_, _ = w.Write(signed)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer plane.Close()

	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := free.Addr().String()
	require.NoError(t, free.Close())
	// A file, not a pipe: a successor that has a pipe open would seem to be its
	// predecessor still.
	log := logFile(filepath.Join(dir, "log"))
	file, err := os.Create(string(log))
	require.NoError(t, err)
	defer file.Close()
	cmd := exec.Command(os.Args[0], "serve")
	cmd.Env = append(os.Environ(), asRouter+"=1", "FABRIC_LISTEN="+address, "FABRIC_STATE_DIR="+filepath.Join(dir, "state"), "FABRIC_REGION=eu",
		"FABRIC_SNAPSHOT_URL="+plane.URL, "FABRIC_TRUST_KEY="+trust, "SIMULATION_MODE=true")
	cmd.Stdout, cmd.Stderr = file, file
	require.NoError(t, cmd.Start())
	pid := cmd.Process.Pid
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tell := func(signal syscall.Signal) {
		require.Greater(t, pid, 1, "log: %s", log)
		require.NoError(t, syscall.Kill(pid, signal))
	}
	defer func() {
		if pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}()

	kept := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	fresh := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(client *http.Client) error {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+address+"/invoke", strings.NewReader(`{"tenant":"t1","model_id":"m1","input":{"data":[[0,0]]}}`))
		if err != nil {
			return err
		}
		req.GetBody = nil // so that the client does not send it again by itself
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
		}
		return err
	}
	require.Eventually(t, func() bool { return ask(fresh) == nil }, 20*time.Second, 20*time.Millisecond, "log: %s", log)

	stop := make(chan struct{})
	var group sync.WaitGroup
	var good, bad atomic.Int64
	var first atomic.Value
	for _, client := range []*http.Client{kept, kept, kept, kept, fresh, fresh} {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := ask(client); err != nil {
					bad.Add(1)
					first.CompareAndSwap(nil, err.Error())
				} else {
					good.Add(1)
				}
			}
		})
	}
	successor := func() int {
		lines := strings.Split(log.String(), "\n")
		last := 0
		for _, line := range lines {
			var entry struct {
				Msg string
				PID int
			}
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "successor" {
				last = entry.PID
			}
		}
		return last
	}
	for round := range 3 {
		time.Sleep(300 * time.Millisecond)
		before := pid
		tell([]syscall.Signal{syscall.SIGHUP, syscall.SIGUSR2, syscall.SIGHUP}[round])
		require.Eventually(t, func() bool { return successor() != 0 && successor() != before }, 30*time.Second, 20*time.Millisecond, "log: %s", log)
		pid = successor()
		require.Eventually(t, func() bool { return zombie(before) }, 20*time.Second, 20*time.Millisecond, "the predecessor goes on: %s", log)
		if round == 0 {
			require.NoError(t, <-ended)
		}
	}
	close(stop)
	group.Wait()
	t.Logf("%d requests answered, %d failed", good.Load(), bad.Load())
	require.Zero(t, bad.Load(), "%v; log: %s", first.Load(), log)
	require.Greater(t, good.Load(), int64(200))
	kept.CloseIdleConnections()

	// Without its trusted key the next one cannot start.
	require.NoError(t, os.Remove(trust))
	tell(syscall.SIGHUP)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "no successor") }, 20*time.Second, 20*time.Millisecond, "log: %s", log)
	require.NoError(t, ask(fresh))
	tell(syscall.SIGTERM)
}

// A logFile is read while it is written.
type logFile string

func (f logFile) String() string {
	text, err := os.ReadFile(string(f))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// zombie reports whether a process ended without anybody waiting for it: its
// parent is gone, and a container may have nobody who does.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "Z")
}
