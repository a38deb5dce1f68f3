// Package pgserver runs the machine's own PostgreSQL as a child of this
// process: it finds the server's programs, makes a cluster once, starts it on a
// Unix socket, and stops it cleanly, also when this process is killed. It
// downloads nothing, opens no TCP port, and keeps everything below one
// directory:
//
//	<Dir>/data           the cluster
//	<Dir>/run            the socket; mode 0700, which is the whole authentication
//	<Dir>/postgres.log   what the server says
//	<Dir>/lock           held by the process that runs the server
//
// PostgreSQL refuses to run as root. Started by root it runs as the owner of an
// existing cluster, else as the user postgres, else as nobody, and Dir then
// belongs to that user. Root itself still connects.
//
// Invariant: at most one server runs on a directory, and Start never returns
// one that does not accept connections. A commit that a server has acknowledged
// is there after the next Start, whatever killed the server or this process in
// between (with Options.Fast only if the machine itself stayed up).
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"
)

// Superuser is the role that owns a cluster made by this package.
const Superuser = "postgres"

// pollEvery is how often a starting or ending server is looked at.
const pollEvery = 5 * time.Millisecond

// Options say what to run, and where.
type Options struct {
	Dir      string   // private to the server; made when it is missing
	Binaries Binaries // zero: what Find finds

	// Fast gives up durability: a power cut can destroy the cluster. A killed
	// process cannot. For tests.
	Fast bool

	Logger *slog.Logger // nil: silent
}

// Server is one running PostgreSQL. Its methods may be called by any number of
// goroutines.
type Server struct {
	paths paths
	log   *slog.Logger
	proc  *process
	lock  *os.File
	grave sync.Once // lets go of the lock, when the process is gone
}

// Start makes the cluster of opts.Dir when there is none, ends what an earlier
// process may have left running on it, and starts the server. It returns when
// the server accepts connections; if ctx ends before, the server is stopped
// again. The server outlives ctx.
func Start(ctx context.Context, opts Options) (*Server, error) {
	log := opts.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p, err := pathsOf(opts.Dir)
	if err != nil {
		return nil, err
	}
	if opts.Binaries == (Binaries{}) {
		if opts.Binaries, err = Find(); err != nil {
			return nil, err
		}
	}
	who, err := accountFor(p.data)
	if err != nil {
		return nil, err
	}
	if err := p.prepare(who, opts.Binaries); err != nil {
		return nil, err
	}
	lock, err := acquire(p.lock)
	if err != nil {
		return nil, &DirError{Dir: p.dir, Err: err, Fix: "stop it, or give this one another directory"}
	}
	s := &Server{paths: p, log: log, lock: lock}
	if err := s.start(ctx, who, opts); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	log.Info("postgres started", "version", opts.Binaries.Version, "pid", s.Pid(), "socket", p.run)
	return s, nil
}

func (s *Server) start(ctx context.Context, who account, opts Options) error {
	if err := s.endLeftovers(ctx); err != nil {
		return err
	}
	if err := initialise(ctx, s.paths, who, opts); err != nil {
		return err
	}
	proc, err := launch(s.paths, who, opts)
	if err != nil {
		return err
	}
	s.proc = proc
	if err := s.ready(ctx); err != nil {
		// Nobody has been told about this server: nothing is lost with it.
		return errors.Join(err, s.proc.end(syscall.SIGQUIT))
	}
	return nil
}

// ready waits until the server takes a connection, has exited, or ctx ends.
func (s *Server) ready(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := probe(ctx, s.paths.socket())
		if err == nil {
			return nil
		}
		select {
		case <-s.proc.done:
			return s.exited("start")
		case <-ctx.Done():
			return fmt.Errorf("postgres in %s is not ready (%w): %w%s", s.paths.dir, err, ctx.Err(), s.proc.said())
		case <-tick.C:
		}
	}
}

// DSN is the connection string of a database for a role, in the form of a URL.
// The socket's directory admits this user only, so there is no password.
func (s *Server) DSN(database, user string) string {
	return dsn(s.paths.run, database, user)
}

func dsn(socketDir, database, user string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User(user),
		Path:     "/" + database,
		RawQuery: url.Values{"host": {socketDir}}.Encode(),
	}
	return u.String()
}

// Dir is the directory that the server keeps everything in.
func (s *Server) Dir() string { return s.paths.dir }

// Pid is the process id of the postmaster.
func (s *Server) Pid() int { return s.proc.cmd.Process.Pid }

// Done is closed when the server has ended, whoever ended it.
func (s *Server) Done() <-chan struct{} { return s.proc.done }

// Err says why the server has ended: nil while it runs and after a clean stop,
// else an *ExitError with the end of its log.
func (s *Server) Err() error {
	select {
	case <-s.proc.done:
	default:
		return nil
	}
	if s.proc.waitErr == nil {
		return nil
	}
	return s.exited("run")
}

// Stop ends the server: it breaks off open transactions, writes a checkpoint
// and exits. If ctx ends before it has, the server is crashed instead, and
// recovers at the next Start. Stopping a server that has ended returns Err.
func (s *Server) Stop(ctx context.Context) error {
	defer s.release()
	if err := s.proc.signal(syscall.SIGINT); err != nil {
		return err
	}
	select {
	case <-s.proc.done:
		s.log.Info("postgres stopped")
		return s.Err()
	case <-ctx.Done():
		return errors.Join(ctx.Err(), s.proc.end(syscall.SIGQUIT))
	}
}

// Kill crashes the server as a power cut of its process would: no checkpoint,
// nothing said to clients. It returns when the server is gone. The next Start
// recovers everything that was committed.
func (s *Server) Kill() error {
	defer s.release()
	return s.proc.end(syscall.SIGQUIT)
}

// release lets another Start have the directory. Without it a server that ended
// by itself keeps it, until Stop or Kill is called or this process ends.
func (s *Server) release() {
	select {
	case <-s.proc.done:
		s.grave.Do(func() { _ = s.lock.Close() })
	default:
	}
}

func (s *Server) exited(doing string) error {
	return &ExitError{Dir: s.paths.dir, Doing: doing, Log: s.proc.tail(), Err: s.proc.waitErr}
}

// acquire takes the lock of a directory. The kernel gives it back with the
// process, however that ends; no child inherits it.
func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrInUse
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
