// Package harness starts the programs of bin/ as somebody at a terminal would,
// and acts on them from outside: by HTTP, by signals, and by what the operating
// system says of the processes.
//
// Invariant: nothing here knows what a program does inside. What a harness has
// started is gone when its test has ended, also when the test was broken off.
package harness

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/local"
	"github.com/atom-fabric/fabric/internal/pgserver"
)

// regions of the system as it comes.
const regions = 3

// Programs returns the folder of the built programs: bin, or FABRIC_TEST_BIN.
// It fails when they were not built: a test of the system never builds, for it
// would test another one than is there.
func Programs(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		require.NotEqual(t, dir, filepath.Dir(dir), "the root of the repository was not found")
	}
	bin := cmp.Or(os.Getenv("FABRIC_TEST_BIN"), filepath.Join(dir, "bin"))
	for _, name := range []string{"fabric", "fabric-router", "fabric-site", "temporal-dev"} {
		_, err := os.Stat(filepath.Join(bin, name))
		require.NoError(t, err, "run make build")
	}
	return bin
}

// State makes a state directory with a short path: sockets lie below it, and
// the system allows them some hundred bytes.
func State(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "fx")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755)) // PostgreSQL may run as another user
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the state is kept for a look at its logs: %s", dir)
			return
		}
		require.NoError(t, os.RemoveAll(dir))
	})
	return dir
}

// FreeBase returns a port base all of whose ports are free, below the range
// that the system gives out by itself.
func FreeBase(t testing.TB) int {
	t.Helper()
	for base := 12000 + os.Getpid()%150*100; base < 32000; base += 100 {
		l := local.Layout{Host: "127.0.0.1", Base: base}
		if l.CheckPorts(regions, true, true) == nil {
			return base
		}
	}
	t.Fatal("no free ports from 12000 to 32000")
	return 0
}

// A System is one fabric up.
type System struct {
	local.Layout
	bin  string
	env  []string
	up   *Process
	Took time.Duration // from the start of the program to the line that says ready
}

// Up starts a system and waits until it says that it is ready. Settings are
// NAME=value, on top of an empty environment.
func Up(t testing.TB, state string, base int, settings ...string) *System {
	t.Helper()
	s := &System{Layout: local.Layout{Host: "127.0.0.1", Base: base, State: state}, bin: Programs(t), env: settings}
	s.Again(t)
	t.Cleanup(s.Stop)
	return s
}

// Again starts a system that was stopped on the same state and ports.
func (s *System) Again(t testing.TB) {
	t.Helper()
	began := time.Now()
	s.up = Run(t, filepath.Join(s.bin, "fabric"), []string{"up", "--state", s.State, "--port-base", strconv.Itoa(s.Base)}, s.env...)
	s.up.Says(t, "ready in", 2*time.Minute)
	s.Took = time.Since(began)
}

// Stop stops the system as Ctrl-C does.
func (s *System) Stop() { s.up.Stop() }

// PID of fabric up itself.
func (s *System) PID() int { return s.up.cmd.Process.Pid }

// Fabric runs a command of the fabric program against the system and returns
// what it printed and its exit status.
func (s *System) Fabric(t testing.TB, token string, args ...string) (string, int) {
	t.Helper()
	return Command(t, filepath.Join(s.bin, "fabric"), args,
		"FABRIC_STATE_DIR="+s.State, "FABRIC_API_URL="+s.Gateway(), "FABRIC_TOKEN="+token, "FABRIC_TRUST_KEY="+s.Path("keys", "fabric.pub"))
}

// Postmaster returns the process id of the database server itself.
func (s *System) Postmaster(t testing.TB) int {
	t.Helper()
	dir, err := pgserver.Place(s.Path("pg"))
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	require.NoError(t, err)
	return pid
}

// Command runs a program to its end.
func Command(t testing.TB, path string, args []string, settings ...string) (output string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(base(), settings...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// base is what every program is given: no setting of whoever runs the tests.
func base() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "PG_BIN_DIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// A Process is a running program.
type Process struct {
	cmd   *exec.Cmd
	out   *output
	ended chan struct{}
}

// Run starts a program. It is stopped when the test ends.
func Run(t testing.TB, path string, args []string, settings ...string) *Process {
	t.Helper()
	p := &Process{cmd: exec.Command(path, args...), out: newOutput(), ended: make(chan struct{})}
	p.cmd.Env = append(base(), settings...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	// The death signal is that of the thread, so a thread is kept for it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // its status is in ProcessState
		}
		close(p.ended)
	}()
	require.NoError(t, <-started)
	t.Cleanup(p.Stop)
	return p
}

// Says waits until a line of the output contains text.
func (p *Process) Says(t testing.TB, text string, within time.Duration) {
	t.Helper()
	select {
	case <-p.out.wait(text):
	case <-p.ended:
		t.Fatalf("%s ended (%v) before it said %q:\n%s", p.cmd.Path, p.cmd.ProcessState, text, p.Output())
	case <-time.After(within):
		t.Fatalf("%s did not say %q within %s:\n%s", p.cmd.Path, text, within, p.Output())
	}
}

// Output returns what the program printed so far.
func (p *Process) Output() string { return p.out.String() }

// Stop asks the program to stop, and waits until it is gone.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// Gone waits until a program that was killed is gone.
func (p *Process) Gone() { <-p.ended }

// An output collects what a program prints and tells who waits for a text.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	waiting map[chan struct{}]string
}

func newOutput() *output { return &output{waiting: map[chan struct{}]string{}} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(b)
	o.tell()
	return len(b), nil
}

func (o *output) tell() {
	for c, text := range o.waiting {
		if strings.Contains(o.text.String(), text) {
			close(c)
			delete(o.waiting, c)
		}
	}
}

func (o *output) wait(text string) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := make(chan struct{})
	o.waiting[c] = text
	o.tell()
	return c
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Lines returns the lines of a text, without their ends.
func Lines(text string) []string {
	var lines []string
	for scan := bufio.NewScanner(strings.NewReader(text)); scan.Scan(); {
		lines = append(lines, scan.Text())
	}
	return lines
}

// Describe names the machine for a report.
func Describe(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("/proc/cpuinfo")
	require.NoError(t, err)
	name := runtime.GOARCH
	for _, line := range Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			name = strings.TrimSpace(value)
			break
		}
	}
	load, err := os.ReadFile("/proc/loadavg")
	require.NoError(t, err)
	return fmt.Sprintf("%d cores of %s, %s, load average %s at the end", runtime.NumCPU(), name, runtime.Version(), strings.Join(strings.Fields(string(load))[:3], " "))
}
