//go:build conformance

package prom_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/feedback"
	"github.com/atom-fabric/fabric/internal/prom"
)

// prometheus runs the real server on an exporter of ours.
func prometheus(t *testing.T, metrics func() string) *prom.Reader {
	t.Helper()
	binary := os.Getenv("PROMETHEUS_BIN")
	require.FileExists(t, binary, "PROMETHEUS_BIN must name the server of tools/prometheus")
	exporter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, metrics())
	}))
	t.Cleanup(exporter.Close)
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	require.NoError(t, os.WriteFile(config, []byte(fmt.Sprintf(`
global: {scrape_interval: 250ms, scrape_timeout: 200ms}
scrape_configs:
  - job_name: fabric
    static_configs: [{targets: ['%s']}]
`, strings.TrimPrefix(exporter.URL, "http://"))), 0o600))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, binary, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--log.level=error")
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 20 * time.Second
	command.Stderr = os.Stderr
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		cancel()
		_ = command.Wait() // it was told to go
	})
	reader, err := prom.New("http://"+address, nil, nil)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return reader.Check(t.Context()) == nil }, time.Minute, 100*time.Millisecond, "it does not answer")
	return reader
}

// A real Prometheus scrapes an exporter whose region eu begins to fail. The
// windows before and after say so, region us stays quiet, a metric that stops
// arriving is an empty window, and NaN stays none.
func TestConformanceOfARealPrometheus(t *testing.T) {
	var calls, failed, gone atomic.Int64
	reader := prometheus(t, func() string {
		n := calls.Add(1)
		if failed.Load() > 0 {
			failed.Add(30)
		}
		out := "# TYPE fabric_router_decisions_total counter\n# TYPE fabric_router_failed_total counter\n"
		for region, hits := range map[string]int64{"eu": failed.Load(), "us": n} {
			out += fmt.Sprintf("fabric_router_decisions_total{region=%q} %d\nfabric_router_failed_total{region=%q} %d\n", region, 100*n, region, hits)
		}
		out += "# TYPE fabric_round_stage_seconds histogram\n"
		for _, stage := range []string{"advertise", "mask"} { // two steps of 4 and 10 s, one of each at a scrape
			out += fmt.Sprintf("fabric_round_stage_seconds_bucket{region=\"eu\",stage=%q,le=\"+Inf\"} %d\nfabric_round_stage_seconds_sum{region=\"eu\",stage=%q} %d\nfabric_round_stage_seconds_count{region=\"eu\",stage=%q} %d\n",
				stage, n, stage, n*map[string]int64{"advertise": 4, "mask": 10}[stage], stage, n)
		}
		if gone.Load() == 0 {
			out += "# TYPE fabric_drift_psi gauge\nfabric_drift_psi{region=\"eu\"} 0.25\nfabric_drift_psi{region=\"us\"} NaN\n"
		}
		return out
	})
	last := func(metric string) map[string][]feedback.Window {
		now := time.Now()
		found, err := reader.Windows(t.Context(), "t", metric, []feedback.Span{{From: now.Add(-6 * time.Second), To: now}})
		require.NoError(t, err)
		return found
	}
	require.Eventually(t, func() bool {
		drift, routed := last("drift")["eu"], last("route_failed")["eu"]
		return len(drift) == 1 && len(drift[0].Values) >= 5 && len(routed) == 1 && routed[0].Total >= 400
	}, time.Minute, 250*time.Millisecond, "nothing arrives")
	middle := time.Now()
	failed.Store(1)
	gone.Store(1)
	require.Eventually(t, func() bool {
		time.Sleep(6 * time.Second) // whole windows after the change
		routed := last("route_failed")["eu"]
		return len(routed) == 1 && routed[0].Hits >= 100 && len(last("drift")["eu"]) == 0
	}, time.Minute, time.Second, "the change does not arrive")
	end := time.Now()
	spans := []feedback.Span{{From: middle.Add(-6 * time.Second), To: middle}, {From: end.Add(-6 * time.Second), To: end}}

	routed, err := reader.Windows(t.Context(), "t", "route_failed", spans)
	require.NoError(t, err)
	require.Len(t, routed, 2)
	for region, w := range routed {
		require.NoError(t, w[0].Check(feedback.Wilson), "%s %+v", region, w)
		require.NoError(t, w[1].Check(feedback.Wilson), "%s %+v", region, w)
	}
	eu, us := routed["eu"], routed["us"]
	require.Zero(t, eu[0].Hits)
	require.InDelta(t, 30.0/130, eu[1].Hits/eu[1].Total, 0.06, "a scrape has 30 that failed and 100 that were answered")
	require.InDelta(t, 0.01, us[1].Hits/us[1].Total, 0.01)

	stages, err := reader.Windows(t.Context(), "t", "stage_seconds", spans)
	require.NoError(t, err)
	require.Len(t, stages, 1)
	require.NotEmpty(t, stages["eu"][1].Values)
	for _, seconds := range stages["eu"][1].Values {
		require.InDelta(t, 7, seconds, 1e-6, "the mean of the stages that closed in the step")
	}
	require.LessOrEqual(t, len(stages["eu"][1].Values), 6, "a second each: none is read twice")

	drift, err := reader.Windows(t.Context(), "t", "drift", spans)
	require.NoError(t, err)
	require.Len(t, drift, 2, "%+v", drift)
	require.NotEmpty(t, drift["eu"][0].Values)
	require.Equal(t, 0.25, drift["eu"][0].Values[0])
	require.ErrorIs(t, drift["us"][0].Check(feedback.MannWhitney), feedback.ErrNumber)
	require.NotEmpty(t, drift["us"][0].Values)
	require.ErrorIs(t, drift["eu"][1].Check(feedback.MannWhitney), feedback.ErrNoData, "it stopped arriving: %v", drift["eu"][1].Values)
}
