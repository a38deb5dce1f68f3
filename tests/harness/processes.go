package harness

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Children returns the processes that fabric up keeps running, by the name of
// the log that each writes: also after a restart, when the table that was
// printed is out of date.
func (s *System) Children(t testing.TB) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, pid := range processes(t) {
		if parent(pid) != s.PID() {
			continue
		}
		log, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/1", pid))
		if err != nil || filepath.Dir(log) != s.Path("logs") {
			continue // it has just died, or was just forked
		}
		found[strings.TrimSuffix(filepath.Base(log), ".log")] = pid
	}
	return found
}

// Child returns the process id of one of them, as soon as it runs.
func (s *System) Child(t testing.TB, name string) int {
	t.Helper()
	var pid int
	require.Eventually(t, func() bool {
		pid = s.Children(t)[name]
		return pid != 0
	}, 30*time.Second, 20*time.Millisecond, "%s does not run", name)
	return pid
}

// Kill ends a process as a power cut does.
func Kill(t testing.TB, pid int) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
}

// KillAll kills fabric up and everything below it at once, and waits until all
// are gone. Whoever is first is stopped, so that nobody starts anything again
// and nobody is told to end in good order.
func (s *System) KillAll(t testing.TB) {
	t.Helper()
	require.NoError(t, syscall.Kill(s.PID(), syscall.SIGSTOP))
	tree := descendants(t, s.PID())
	for _, pid := range slices.Backward(tree) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // one may have died of the one before
	}
	Kill(t, s.PID())
	s.up.Gone()
	require.Eventually(t, func() bool {
		return !slices.ContainsFunc(tree, alive)
	}, 30*time.Second, 20*time.Millisecond, "processes outlived kill -9")
}

// Peak returns the largest resident memory that a process ever had, in KiB.
func Peak(t testing.TB, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	for _, line := range Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.Fields(value)[0])
			require.NoError(t, err)
			return n
		}
	}
	t.Fatalf("process %d has no VmHWM", pid)
	return 0
}

// descendants returns the processes below one, parents before children.
func descendants(t testing.TB, root int) []int {
	t.Helper()
	below := map[int][]int{}
	for _, pid := range processes(t) {
		p := parent(pid)
		below[p] = append(below[p], pid)
	}
	var tree []int
	for next := below[root]; len(next) > 0; {
		var deeper []int
		for _, pid := range next {
			tree = append(tree, pid)
			deeper = append(deeper, below[pid]...)
		}
		next = deeper
	}
	return tree
}

func processes(t testing.TB) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// stat returns the fields of /proc/<pid>/stat from the state on; nil for a
// process that is gone.
func stat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, after, _ := strings.Cut(string(text), ") ") // the name may hold anything but this
	return strings.Fields(after)
}

func parent(pid int) int {
	fields := stat(pid)
	if len(fields) < 2 {
		return 0
	}
	n, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return n
}

// alive says whether a process still holds anything. Killed, its first thread is
// a zombie at once, but its ports are closed when the last one has ended.
func alive(pid int) bool {
	fields := stat(pid)
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return len(fields) > 0 && (fields[0] != "Z" || err == nil && len(threads) > 1)
}

// Names returns the names of processes, sorted.
func Names(children map[string]int) []string { return slices.Sorted(maps.Keys(children)) }

// A Recipe is how a process was started.
type Recipe struct {
	path string
	args []string
	env  []string
}

// Recipe reads how a running process was started, to start it again alone.
func (s *System) Recipe(t testing.TB, name string) Recipe {
	t.Helper()
	pid := s.Child(t, name)
	read := func(file string) []string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		require.NoError(t, err)
		return strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
	}
	return Recipe{path: read("cmdline")[0], args: read("cmdline")[1:], env: read("environ")}
}

// Program is the path of what was started.
func (r Recipe) Program() string { return r.path }

// Settings are its arguments and its environment.
func (r Recipe) Settings() (args, env []string) { return r.args, r.env }

// Run starts it again.
func (r Recipe) Run(t testing.TB) *Process {
	t.Helper()
	return Run(t, r.path, r.args, r.env...)
}
