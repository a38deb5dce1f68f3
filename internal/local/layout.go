// Package local lays the whole system out on one machine: which processes, on
// which ports, with which settings and files, and in which order they start.
//
// Invariant: everything listens on loopback, everything is kept below one state
// directory, and what is there already is used again.
package local

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Why a system cannot be laid out here.
var (
	ErrPortInUse = errors.New("port is in use")
	ErrStateDir  = errors.New("state directory cannot be used")
	ErrRunning   = errors.New("another fabric up runs on this state directory")
	ErrProgram   = errors.New("a program is missing")
)

// A Layout is where everything of one system is.
type Layout struct {
	Host  string
	Base  int    // the gateway's port
	State string // absolute
}

// Ports, relative to the gateway's. Temporal's own ports follow so that the
// default base of 9000 gives the usual 7233 and 8233.
const (
	offRouter   = 4
	offRegistry = 50
	offMirror   = 51 // one a region, up to offMetrics
	offMetrics  = 60 // of workers: control, then one a region
	offRuntime  = 101
	offTemporal = -1767
	offUI       = -767
)

// maxMirrors is how many regions have an embedded mirror of their own: as many
// as there are ports for. The others pull from the registry.
const maxMirrors = offMetrics - offMirror

// services are the ports of the contract, by their offset.
var services = []struct {
	off  int
	name string
}{
	{0, "gateway"},
	{1, "I.1.1 feature catalog"},
	{2, "I.1.2 federated trainer"},
	{3, "I.1.3 model exchange bus"},
	{offRouter, "I.1.4 inference router"},
	{5, "I.1.5 policy feedback loop"},
	{6, "I.1.6 scorecard and auto-tuner"},
}

// Address returns host:port at an offset from the gateway.
func (l Layout) Address(off int) string {
	return net.JoinHostPort(l.Host, strconv.Itoa(l.Base+off))
}

// URL returns the base URL at an offset from the gateway.
func (l Layout) URL(off int) string { return "http://" + l.Address(off) }

// Gateway returns the gateway's base URL.
func (l Layout) Gateway() string { return l.URL(0) }

// Service returns the base URL of service I.1.n.
func (l Layout) Service(n int) string { return l.URL(n) }

// TemporalAddress returns the front end of the development server.
func (l Layout) TemporalAddress() string { return l.Address(offTemporal) }

// TemporalUI returns the base URL of the Temporal Web UI.
func (l Layout) TemporalUI() string { return l.URL(offUI) }

// Registry returns the base URL of the embedded registry.
func (l Layout) Registry() string { return l.URL(offRegistry) }

// Mirror returns the base URL of the embedded mirror of the i-th region.
func (l Layout) Mirror(i int) string { return l.URL(offMirror + i) }

// Runtime returns the base URL of the runtime of the i-th region.
func (l Layout) Runtime(i int) string { return l.URL(offRuntime + i) }

// Path returns a path below the state directory.
func (l Layout) Path(parts ...string) string {
	return filepath.Join(append([]string{l.State}, parts...)...)
}

// Prepare makes the state directory, and holds it until release is called. It
// fails when the directory cannot be written or is held by another.
func (l Layout) Prepare() (release func(), err error) {
	if err := os.MkdirAll(l.State, 0o755); err != nil {
		return nil, fmt.Errorf("%w: %s: %w; choose another with --state", ErrStateDir, l.State, err)
	}
	lock, err := os.OpenFile(l.Path("up.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w; choose another with --state", ErrStateDir, l.State, err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%w: %s; stop it, or choose another with --state", ErrRunning, l.State)
	}
	return func() { lock.Close() }, nil // closing lets go of the lock
}

// Running says whether a fabric up runs on the state directory: somebody holds
// its lock. It makes nothing.
func (l Layout) Running() bool {
	lock, err := os.Open(l.Path("up.lock"))
	if err != nil {
		return false
	}
	defer lock.Close() // and so lets go of what it may have got
	return syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// A Port is an address and what listens there.
type Port struct {
	Address string
	Name    string
}

// Ports lists what a system of so many regions listens on. temporal and
// registry say whether these are its own.
func (l Layout) Ports(regions int, temporal, registry bool) []Port {
	var all []Port
	add := func(off int, name string) { all = append(all, Port{l.Address(off), name}) }
	for _, s := range services {
		add(s.off, s.name)
	}
	if temporal {
		add(offTemporal, "Temporal")
		add(offUI, "Temporal Web UI")
	}
	if registry {
		add(offRegistry, "registry")
		for i := range min(regions, maxMirrors) {
			add(offMirror+i, "mirror")
		}
	}
	for i := range regions {
		add(offRuntime+i, "runtime")
		add(offMetrics+1+i, "worker metrics")
	}
	return all
}

// CheckPorts fails when a port that the system needs is taken, and names all
// that are.
func (l Layout) CheckPorts(regions int, temporal, registry bool) error {
	var taken []string
	for _, p := range l.Ports(regions, temporal, registry) {
		listener, err := net.Listen("tcp", p.Address)
		if err != nil {
			taken = append(taken, fmt.Sprintf("%s (%s)", p.Address, p.Name))
			continue
		}
		if err := listener.Close(); err != nil {
			return err
		}
	}
	if len(taken) > 0 {
		return fmt.Errorf("%w: %s; stop what uses it, or choose other ports with --port-base", ErrPortInUse, strings.Join(taken, ", "))
	}
	return nil
}
