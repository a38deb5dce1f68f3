package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	cleanFor  = 10 * time.Second // for the checkpoint of a postmaster without parent
	orphanFor = time.Second      // for backends to see that their postmaster is gone
	giveUp    = 20 * time.Second

	childTitle = "postgres: " // what every child's title begins with
)

// running is a process of the machine.
type running struct {
	pid     int
	command string
}

// endLeftovers ends what an earlier, killed process has left on the directory.
// We hold its lock, so nobody else wants it. Usually the kernel has told the
// postmaster already, and it is about to exit; a postmaster that was itself
// killed leaves backends, which keep its shared memory from its successor.
func (s *Server) endLeftovers(ctx context.Context) error {
	began := time.Now()
	sent := map[running]syscall.Signal{}
	for {
		left, err := s.leftovers()
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return s.dropStaleFiles()
		}
		waited := time.Since(began)
		if waited > giveUp {
			return &DirError{Dir: s.paths.dir, Err: ErrLeftover, Fix: fmt.Sprintf("end process %d", left[0].pid)}
		}
		targets, sig := persuade(left, waited)
		for _, r := range targets {
			if sig == 0 || sent[r] == sig {
				continue
			}
			sent[r] = sig
			s.log.Info("ending an earlier postgres", "pid", r.pid, "signal", sig.String())
			if err := syscall.Kill(r.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("earlier postgres, process %d: %w", r.pid, err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(4 * pollEvery):
		}
	}
}

// persuade says whom to send which signal, 0 for none yet. A postmaster is
// asked for a clean end and ends its children itself; theirs would be a crash
// to it. Children without one see that by themselves in a moment. A quit is the
// last word to both, and loses nothing that was committed.
func persuade(left []running, waited time.Duration) ([]running, syscall.Signal) {
	var masters []running
	for _, r := range left {
		if !strings.HasPrefix(r.command, childTitle) {
			masters = append(masters, r)
		}
	}
	switch {
	case len(masters) > 0 && waited < cleanFor:
		return masters, syscall.SIGINT
	case len(masters) > 0:
		return masters, syscall.SIGQUIT
	case waited < orphanFor:
		return left, 0
	}
	return left, syscall.SIGQUIT
}

// leftovers are the processes that carry the cluster's name: a postmaster among
// its arguments, its children in the title that they give themselves.
func (s *Server) leftovers() ([]running, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	var left []running
	for _, r := range all {
		if strings.HasPrefix(r.command, childTitle+s.paths.cluster()+": ") ||
			strings.Contains(r.command+" ", " cluster_name="+s.paths.cluster()+" ") {
			left = append(left, r)
		}
	}
	return left, nil
}

// dropStaleFiles removes the marks of a server that no longer runs, where they
// would stop the next one: an empty postmaster.pid after a power cut, or one
// whose number another program has by now, as in a container that is started
// again. PostgreSQL clears the other cases itself, and refuses when a server
// that we do not know of is running.
func (s *Server) dropStaleFiles() error {
	if err := os.RemoveAll(s.paths.socket()); err != nil {
		return err
	}
	for _, file := range []string{filepath.Join(s.paths.data, "postmaster.pid"), s.paths.socket() + ".lock"} {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		first, _, _ := strings.Cut(string(text), "\n")
		pid, err := strconv.Atoi(strings.TrimSpace(first))
		if err == nil && isPostgres(pid) {
			continue
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}

// isPostgres errs on the side of yes: it is what keeps two servers apart.
func isPostgres(pid int) bool {
	all, err := processes()
	if err != nil {
		return true
	}
	for _, r := range all {
		if r.pid == pid {
			return strings.Contains(r.command, "postgres") || strings.Contains(r.command, "postmaster")
		}
	}
	return false
}
