// Package supervise keeps a set of child processes running: it starts them rank
// by rank, each when the one before is ready, restarts what dies, and stops
// the ranks in the reverse order.
//
// Invariant: no child outlives the supervisor, not even one that was killed.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// ErrNotReady says that a child did not get ready in time; the log's tail is
// part of the message.
var ErrNotReady = errors.New("did not get ready")

// A Spec says how to run a child and when it is ready.
type Spec struct {
	Name   string
	Path   string
	Args   []string
	Env    []string                        // NAME=value, on top of PATH, HOME and TZ of this process
	Ready  func(ctx context.Context) error // asked until nil; nil func: ready at once
	Within time.Duration                   // bound of readiness
}

// A Status is what a table shows of a child.
type Status struct {
	Name     string
	PID      int
	Ready    bool
	Restarts int
	Took     time.Duration // from its first start to ready
}

// A Group is the running children.
type Group struct {
	logs  string
	log   *slog.Logger
	mu    sync.Mutex
	ranks [][]*child
}

// New returns an empty group that writes one log file a child into dir.
func New(dir string, log *slog.Logger) (*Group, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("log directory: %w", err)
	}
	return &Group{logs: dir, log: log}, nil
}

type child struct {
	spec   Spec
	log    string
	stop   chan struct{} // closed once: die and stay dead
	done   chan struct{} // closed when it will never run again
	mu     sync.Mutex
	status Status
}

// Start runs the children of one rank until the group stops, and waits until
// all are ready. It returns the failures of those that did not get ready.
func (g *Group) Start(ctx context.Context, specs ...Spec) error {
	rank := make([]*child, len(specs))
	for i, spec := range specs {
		rank[i] = &child{
			spec: spec,
			log:  filepath.Join(g.logs, spec.Name+".log"),
			stop: make(chan struct{}),
			done: make(chan struct{}),
		}
		rank[i].status.Name = spec.Name
	}
	g.mu.Lock()
	g.ranks = append(g.ranks, rank)
	g.mu.Unlock()

	failures := make([]error, len(rank))
	var wait sync.WaitGroup
	for i, c := range rank {
		began := time.Now()
		go g.keep(c)
		wait.Go(func() {
			if err := g.await(ctx, c); err != nil {
				failures[i] = fmt.Errorf("%s %w: %w\n%s", c.spec.Name, ErrNotReady, err, tail(c.log))
				return
			}
			c.update(func(s *Status) { s.Ready, s.Took = true, time.Since(began) })
		})
	}
	wait.Wait()
	return errors.Join(failures...)
}

// await asks until the child is ready, or ctx or its bound ends.
func (g *Group) await(ctx context.Context, c *child) error {
	if c.spec.Ready == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.spec.Within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := c.spec.Ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// keep runs the child again and again. A child that lived for long is started
// again at once; one that dies young is given ever longer pauses.
func (g *Group) keep(c *child) {
	// A death signal is sent when the thread that forked dies, so this
	// goroutine keeps its thread as long as the child lives.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(c.done)
	const shortest, longest = 100 * time.Millisecond, 5 * time.Second
	pause := shortest
	for {
		began := time.Now()
		err := c.run()
		select {
		case <-c.stop:
			return
		default:
		}
		if time.Since(began) > 2*longest {
			pause = shortest
		}
		g.log.Warn("process ended; it is started again", "process", c.spec.Name, "cause", fmt.Sprint(err), "after", pause.String())
		select {
		case <-c.stop:
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longest)
		c.update(func(s *Status) { s.Restarts++ })
	}
}

// run starts the child once and waits for its end.
func (c *child) run() error {
	out, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(c.spec.Path, c.spec.Args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = c.spec.Env
	for _, name := range []string{"PATH", "HOME", "TZ", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	// A group of its own keeps the terminal's Ctrl-C away: the supervisor
	// decides the order in which things stop.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	c.update(func(s *Status) { s.PID = cmd.Process.Pid })
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-ended:
			return
		case <-c.stop:
		}
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
		}
	}()
	return cmd.Wait()
}

func (c *child) update(change func(*Status)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.status)
}

// Status returns the children in the order of their start.
func (g *Group) Status() []Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []Status
	for _, rank := range g.ranks {
		for _, c := range rank {
			c.mu.Lock()
			out = append(out, c.status)
			c.mu.Unlock()
		}
	}
	return out
}

// Stop ends the ranks one after the other, last started first, and returns when
// every child is gone.
func (g *Group) Stop() {
	g.mu.Lock()
	ranks := g.ranks
	g.ranks = nil
	g.mu.Unlock()
	for _, rank := range slices.Backward(ranks) {
		for _, c := range rank {
			close(c.stop)
		}
		for _, c := range rank {
			<-c.done
		}
	}
}

// tail returns the end of a log for an error message.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "(no log: " + err.Error() + ")"
	}
	defer f.Close()
	const most = 2000
	if info, err := f.Stat(); err == nil && info.Size() > most {
		if _, err := f.Seek(-most, io.SeekEnd); err != nil {
			return "(log unreadable: " + err.Error() + ")"
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return "(log unreadable: " + err.Error() + ")"
	}
	return string(text)
}
