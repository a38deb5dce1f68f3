package harness

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Gauge watches the resident memory of processes that come and go.
type Gauge struct {
	roots map[string]int
	stop  chan struct{}
	done  sync.WaitGroup
	mu    sync.Mutex
	peaks map[string]int
}

// Gauged watches the processes of a system, those of its database and some
// more, by name, until the test ends. What a site lets its operator's program
// do is not looked at.
func (s *System) Gauged(t testing.TB, more map[string]*Process) *Gauge {
	t.Helper()
	g := &Gauge{roots: map[string]int{"fabric up": s.PID(), "postgres": s.Postmaster(t)}, stop: make(chan struct{}), peaks: map[string]int{}}
	for name, p := range more {
		g.roots[name] = p.cmd.Process.Pid
	}
	g.done.Go(func() {
		for {
			g.look(t, s.Path("logs"))
			select {
			case <-g.stop:
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
	t.Cleanup(func() {
		close(g.stop)
		g.done.Wait()
	})
	return g
}

// Peaks returns the largest resident memory that any process of a name ever
// had, in KiB.
func (g *Gauge) Peaks() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.peaks)
}

func (g *Gauge) look(t testing.TB, logs string) {
	for name, root := range g.roots {
		g.note(name, root)
		for _, pid := range descendants(t, root) {
			switch name {
			case "postgres":
				g.note("postgres, one of its sessions and helpers", pid)
			case "fabric up":
				log, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/1", pid))
				if err == nil && filepath.Dir(log) == logs && parent(pid) == root {
					g.note(strings.TrimSuffix(filepath.Base(log), ".log"), pid)
				}
			}
		}
	}
}

// note remembers the peak of a process, if it is still there.
func (g *Gauge) note(name string, pid int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return
	}
	for _, line := range Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			if n, err := strconv.Atoi(strings.Fields(value)[0]); err == nil {
				g.mu.Lock()
				g.peaks[name] = max(g.peaks[name], n)
				g.mu.Unlock()
			}
		}
	}
}
