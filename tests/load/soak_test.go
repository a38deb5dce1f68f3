//go:build bench

package load

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/tests/harness"
)

// soakRate is requests a second; every tenth of them is of a caller who leaves.
const soakRate = 300

// TestSoak runs the router for ten minutes (or FABRIC_SOAK) while its three
// upstreams misbehave in turn, in every way that the fault tests know. Every
// request gets an answer or a refusal; memory, goroutines and descriptors are
// after the first minute what they are at the end.
func TestSoak(t *testing.T) {
	during := 10 * time.Minute
	if text := os.Getenv("FABRIC_SOAK"); text != "" { // e.g. 30s, to try things out
		var err error
		during, err = time.ParseDuration(text)
		require.NoError(t, err)
	}
	answer := answerOf(1000)
	servers := []*server{startServer(t, answer, 5*time.Millisecond), startServer(t, answer, 5*time.Millisecond), startServer(t, answer, 5*time.Millisecond)}
	f := startOurs(t, buildRouter(t), "eu", map[string][]*server{"eu": servers[:2], "us": servers[2:]}, nil)
	client := newClient(256)

	var good, refused, left, silent atomic.Int64
	var statuses [600]atomic.Int64
	ask := func() bool {
		ctx, leaves := context.Background(), rand.N(10) == 0
		if leaves {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, rand.N(10*time.Millisecond))
			defer cancel()
		}
		status, whole := f.ask(ctx, client, "", "")
		switch {
		case whole:
			good.Add(1)
		case leaves:
			left.Add(1)
		case status >= 400:
			refused.Add(1)
			statuses[min(status, len(statuses)-1)].Add(1)
		default:
			silent.Add(1)
		}
		return whole
	}
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var faults int
	group.Go(func() { // one of them at a time is broken, mostly
		random := rand.New(rand.NewPCG(1, 2))
		for {
			s, fault := servers[faults%3], fault(1+random.IntN(int(errsFast)))
			s.set(t, fault)
			faults++
			select {
			case <-ctx.Done():
				s.set(t, fine)
				return
			case <-time.After(3 * time.Second):
			}
			s.set(t, fine)
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
		}
	})
	type point struct {
		at         time.Duration
		rss        float64 // MiB
		goroutines int
		files      int
	}
	var points []point
	look := func(at time.Duration) {
		points = append(points, point{at, residentMiB(t, f.pid), goroutinesOf(t, f), len(list(t, fmt.Sprintf("/proc/%d/fd", f.pid)))})
	}
	began := time.Now()
	group.Go(func() {
		ticker := time.NewTicker(during / 40)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				look(time.Since(began))
			}
		}
	})
	var p pace
	p.run(began, soakRate, during, ask)
	p.group.Wait()
	stop()
	group.Wait()
	client.CloseIdleConnections()
	time.Sleep(3 * time.Second) // connections to upstreams may stay, requests may not
	look(time.Since(began))

	warm := points[len(points)/10:]
	var sumX, sumY, sumXX, sumXY float64
	for _, q := range warm {
		x := q.at.Minutes()
		sumX, sumY, sumXX, sumXY = sumX+x, sumY+q.rss, sumXX+x*x, sumXY+x*q.rss
	}
	n := float64(len(warm))
	slope := (n*sumXY - sumX*sumY) / (n*sumXX - sumX*sumX)
	last := points[len(points)-1]
	how := ""
	for status := range statuses {
		if n := statuses[status].Load(); n > 0 {
			how += fmt.Sprintf(", %d x %d", n, status)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Soak\n\nThe router under %d requests/s for %v, every tenth of a caller who leaves within 10 ms, while one of three upstreams (two in the home region)\n"+
		"misbehaves for three seconds in every four: %d faults of the %d kinds of the fault tests.\n\n- command: `make soak-router`\n- machine: %s\n\n"+
		"| | |\n| --- | --- |\n| answered | %d |\n| refused | %d%s |\n| callers that left | %d |\n| neither answered nor refused | %d |\n| p99 of all, ms | %.1f |\n"+
		"| resident memory after a tenth, at the end, MiB | %.1f, %.1f |\n| its slope, MiB a minute | %.3f |\n| goroutines after a tenth, at the end without load | %d, %d |\n| descriptors after a tenth, at the end | %d, %d |\n\n"+
		"| minute | resident, MiB | goroutines | descriptors |\n| --- | --- | --- | --- |\n",
		soakRate, during, faults, int(errsFast), harness.Describe(t), good.Load(), refused.Load(), how, left.Load(), silent.Load(), quantile(p.samples, 99),
		warm[0].rss, last.rss, slope, warm[0].goroutines, last.goroutines, warm[0].files, last.files)
	for i, q := range points {
		if i%4 == 0 || i == len(points)-1 {
			fmt.Fprintf(&b, "| %.1f | %.1f | %d | %d |\n", q.at.Minutes(), q.rss, q.goroutines, q.files)
		}
	}
	t.Log(b.String())
	if os.Getenv("FABRIC_SOAK") == "" {
		write(t, "router_soak.md", b.String())
	}
	require.Zero(t, silent.Load(), "every request is answered or refused")
	require.GreaterOrEqual(t, float64(good.Load())/float64(good.Load()+refused.Load()), 0.999)
	require.Less(t, last.rss, 64.0)
	if during >= 5*time.Minute {
		require.Less(t, slope, 0.5, "memory grows")
	}
	require.Less(t, last.goroutines, 60, "without load")
	require.Less(t, last.files, 200)
}

func list(t testing.TB, dir string) []os.DirEntry {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	return entries
}

// residentMiB returns the resident memory of a process.
func residentMiB(t testing.TB, pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	require.NoError(t, err)
	return kib / 1024
}

// goroutinesOf asks the router's metrics.
func goroutinesOf(t testing.TB, f *front) int {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, strings.TrimSuffix(f.url, "/invoke")+"/metrics", nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	for _, line := range strings.Split(string(text), "\n") {
		if value, ok := strings.CutPrefix(line, "go_goroutines "); ok {
			n, err := strconv.ParseFloat(value, 64)
			require.NoError(t, err)
			return int(n)
		}
	}
	return -1
}
