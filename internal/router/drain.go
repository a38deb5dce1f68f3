package router

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What a successor finds in its environment: the numbers of the descriptors
// that it inherits.
const (
	listenerVar = "FABRIC_INHERITED_LISTENER"
	readyVar    = "FABRIC_INHERITED_READY"
	aliveVar    = "FABRIC_INHERITED_ALIVE"
	besideVar   = "FABRIC_INHERITED_BESIDE" // 1: the records go beside the predecessor's
)

// A successor's descriptors: 0 to 2 are the standard ones.
const (
	listenerFD = 3
	readyFD    = 4
	aliveFD    = 5
)

var (
	errNoListener = errors.New("the inherited descriptor is no listener")
	errUnready    = errors.New("the successor ended or did not get ready in time")
)

// An Opening is where a router listens, and its word to the process that it
// takes over from, if there is one.
type Opening struct {
	net.Listener
	// Gone is closed when there is no predecessor any more, or was none.
	Gone <-chan struct{}
	// Beside says where this process keeps its decision records, so that it and
	// its predecessor, which still drains, never write to the same files.
	Beside bool

	ready *os.File // nil: nobody waits for us
	alive *os.File // for the successor: closed when we are gone
}

// Listen returns the listener that a predecessor hands over in the environment,
// or opens one at the address. A listener that is handed over was never closed:
// who connected meanwhile waits in its queue, and is refused by nobody.
func Listen(address string, environ []string) (*Opening, error) {
	fd, inherited := descriptor(environ, listenerVar)
	if !inherited {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return nil, err
		}
		gone := make(chan struct{})
		close(gone)
		return &Opening{Listener: listener, Gone: gone}, nil
	}
	file := os.NewFile(fd, "listener")
	defer file.Close() // FileListener has its own copy
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoListener, err)
	}
	gone := make(chan struct{})
	out := &Opening{Listener: listener, Gone: gone, Beside: slices.Contains(environ, besideVar+"=1")}
	if fd, ok := descriptor(environ, aliveVar); ok {
		alive := os.NewFile(fd, "alive")
		go func() {
			defer close(gone)
			_, _ = io.Copy(io.Discard, alive) // ends with the predecessor
			_ = alive.Close()
		}()
	}
	if fd, ok := descriptor(environ, readyVar); ok {
		out.ready = os.NewFile(fd, "ready")
	}
	return out, nil
}

func descriptor(environ []string, name string) (uintptr, bool) {
	for _, v := range environ {
		if text, ok := strings.CutPrefix(v, name+"="); ok {
			fd, err := strconv.ParseUint(text, 10, 16)
			return uintptr(fd), err == nil && fd > 2
		}
	}
	return 0, false
}

// Ready tells the predecessor, as soon as ok says yes, that it may stop
// accepting. It is called once, when this process accepts.
func (o *Opening) Ready(ctx context.Context, ok func() bool) error {
	if o.ready == nil {
		return nil
	}
	defer o.ready.Close()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
	_, err := o.ready.Write([]byte{1})
	return err
}

// File lets a successor have the listener.
func (o *Opening) File() (*os.File, error) {
	filer, ok := o.Listener.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, errNoListener
	}
	return filer.File()
}

// Decides reports whether there is a snapshot to decide by.
func (r *Router) Decides() bool { return r.plan.Load() != nil }

// A Successor is how a router starts the process that takes over from it.
type Successor struct {
	Program string
	Args    []string // without the program's name
	Environ []string
	Log     io.Writer
	Within  time.Duration // until it is ready
}

// Start starts the successor with the listener and returns when it is ready.
// If it does not get ready it is ended, and whoever called goes on as before.
func (s *Successor) Start(ctx context.Context, listener *Opening) (pid int, err error) {
	file, err := listener.File()
	if err != nil {
		return 0, err
	}
	defer file.Close()
	heard, ready, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer heard.Close()
	alive, held, err := os.Pipe()
	if err != nil {
		return 0, errors.Join(err, ready.Close())
	}
	defer alive.Close()
	cmd := exec.Command(s.Program, s.Args...)
	cmd.Env = append(slices.DeleteFunc(slices.Clone(s.Environ), func(v string) bool {
		return strings.HasPrefix(v, "FABRIC_INHERITED_")
	}), fmt.Sprintf("%s=%d", listenerVar, listenerFD), fmt.Sprintf("%s=%d", readyVar, readyFD), fmt.Sprintf("%s=%d", aliveVar, aliveFD))
	if !listener.Beside {
		cmd.Env = append(cmd.Env, besideVar+"=1")
	}
	cmd.Stdout, cmd.Stderr = s.Log, s.Log
	cmd.ExtraFiles = []*os.File{file, ready, alive}
	err = cmd.Start()
	_ = ready.Close() // so that the end of the successor is the end of the pipe
	if err != nil {
		return 0, errors.Join(err, held.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = heard.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err = heard.SetReadDeadline(time.Now().Add(s.Within)); err == nil {
		_, err = io.ReadFull(heard, make([]byte, 1))
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = held.Close()
		return 0, fmt.Errorf("%w: %w", errUnready, errors.Join(err, cmd.Wait()))
	}
	listener.alive = held // until this process ends
	pid = cmd.Process.Pid // Release forgets it
	return pid, cmd.Process.Release()
}

// A Drain ends a server's connections without failing a request on any of them.
// A connection that is in use is told with its next answer that it is the last
// one. One on which nothing comes for a while is closed: a request that is sent
// on it at that very moment would fail, so that while is long.
type Drain struct {
	draining atomic.Bool
	mu       sync.Mutex
	open     map[net.Conn]struct{}
	none     chan struct{} // closed when draining and none is left
}

// Count is a server's ConnState.
func (d *Drain) Count(c net.Conn, state http.ConnState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch state {
	case http.StateNew:
		if d.open == nil {
			d.open = map[net.Conn]struct{}{}
		}
		d.open[c] = struct{}{}
	case http.StateHijacked, http.StateClosed:
		delete(d.open, c)
		d.check()
	}
}

func (d *Drain) check() {
	if d.none != nil && len(d.open) == 0 {
		close(d.none)
		d.none = nil
	}
}

// Handler marks the answers of next as the last of their connections while
// there is a drain.
func (d *Drain) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if d.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, req)
	})
}

// Draining reports whether there is a drain.
func (d *Drain) Draining() bool { return d.draining.Load() }

// Begin makes every further answer the last one of its connection.
func (d *Drain) Begin() { d.draining.Store(true) }

// Wait returns when no connection is left, or when idle has passed, or with
// ctx. Begin first, and close the listener.
func (d *Drain) Wait(ctx context.Context, idle time.Duration) {
	none := make(chan struct{})
	d.mu.Lock()
	d.none = none
	d.check()
	d.mu.Unlock()
	timer := time.NewTimer(idle)
	defer timer.Stop()
	select {
	case <-none:
	case <-timer.C:
	case <-ctx.Done():
	}
}
