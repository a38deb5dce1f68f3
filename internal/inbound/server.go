// Package inbound answers HTTP with one goroutine for each connection. Requests
// in the plain form in which models are called (GET or POST of HTTP/1.1, with a
// length) are read and answered without net/http's server, whose second
// goroutine and whose objects cost more than the rest of a request; the handler
// is the same. A connection on which anything else comes (HTTP/2, chunks,
// another method, an expectation) is net/http's from then on.
//
// One goroutine watches all connections: it cancels the request of a caller who
// left, and closes a connection that takes too long over what it is doing.
//
// Invariant: a request means the same here as to every reader of RFC 9112, or
// it is refused with 400 and its connection closed: two lengths, a length and
// chunks, a folded or bare line, a second Host. Memory, time and what is read of
// a request are bounded.
package inbound

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// tick is how often the watch looks, and how old a request is before it does.
const tick = 10 * time.Millisecond

// A Server serves what a http.Server describes: its handler, its times (all but
// IdleTimeout must be set), MaxHeaderBytes, ConnState and ErrorLog.
type Server struct {
	std    *http.Server
	ctx    context.Context // of all requests; never cancelled
	others *handover
	clock  atomic.Int64 // ms since began
	began  time.Time
	closed atomic.Bool

	mu       sync.Mutex
	listener net.Listener
	conns    map[*conn]struct{}
	none     chan struct{} // closed when the last one ends, while somebody waits
	wake     chan struct{} // capacity 1: there is a connection to watch
	stop     chan struct{}
	group    sync.WaitGroup // the watch, and net/http's part
	pages    sync.Pool      // of *[room]byte
	replies  sync.Pool      // of *[]byte
}

// New returns a server. Requests get the values of ctx.
func New(ctx context.Context, std *http.Server) *Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	std.Protocols = protocols
	return &Server{std: std, ctx: context.WithoutCancel(ctx), began: time.Now(), conns: map[*conn]struct{}{},
		wake: make(chan struct{}, 1), stop: make(chan struct{})}
}

// Serve accepts connections until the listener or the server is closed; those
// that are open go on. It is called once.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closed.Load() {
		s.mu.Unlock()
		return http.ErrServerClosed
	}
	s.listener = l
	s.others = &handover{addr: l.Addr(), queue: make(chan net.Conn), closed: make(chan struct{})}
	s.group.Go(s.watch)
	s.group.Go(func() { _ = s.std.Serve(s.others) }) // ends with Shutdown or Close
	s.mu.Unlock()
	for pause := time.Duration(0); ; {
		raw, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.open(raw)
		case s.closed.Load():
			return http.ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return err
		default: // out of descriptors, most likely: it passes
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			time.Sleep(pause)
		}
	}
}

// open serves a new connection.
func (s *Server) open(raw net.Conn) {
	s.clock.Store(time.Since(s.began).Milliseconds()) // the watch may have slept
	c := newConn(s, raw)
	s.mu.Lock()
	if s.closed.Load() {
		s.mu.Unlock()
		_ = raw.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	s.tell(raw, http.StateNew)
	go c.serve()
}

// done forgets a connection, which is closed or is net/http's.
func (s *Server) done(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if len(s.conns) == 0 && s.none != nil {
		close(s.none)
		s.none = nil
	}
}

func (s *Server) tell(raw net.Conn, state http.ConnState) {
	if s.std.ConnState != nil {
		s.std.ConnState(raw, state)
	}
}

// Shutdown accepts nothing more, closes the connections on which nothing is
// under way, and returns when the others have had their answers, or with ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.end()
	none := make(chan struct{})
	s.mu.Lock()
	if s.none = none; len(s.conns) == 0 {
		close(none)
		s.none = nil
	}
	for c := range s.conns {
		if c.phase() == idle {
			c.expire()
		}
	}
	s.mu.Unlock()
	var err error
	select {
	case <-none:
	case <-ctx.Done():
		err = ctx.Err()
	}
	err = errors.Join(err, s.std.Shutdown(ctx))
	if err == nil {
		s.finish()
	}
	return err
}

// Close closes every connection.
func (s *Server) Close() error {
	s.end()
	s.mu.Lock()
	for c := range s.conns {
		c.gone()
		_ = c.raw.Close()
	}
	s.mu.Unlock()
	err := s.std.Close()
	s.finish()
	return err
}

// end lets nothing new begin.
func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed.Store(true)
	if s.listener != nil {
		_ = s.listener.Close() // may be closed already
	}
}

// finish ends the goroutines of the server.
func (s *Server) finish() {
	s.mu.Lock()
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.mu.Unlock()
	s.group.Wait()
}

// watch looks at the connections until the server ends.
func (s *Server) watch() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var all []*conn
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
		}
		s.clock.Store(time.Since(s.began).Milliseconds())
		s.mu.Lock()
		all = all[:0]
		for c := range s.conns {
			all = append(all, c)
		}
		s.mu.Unlock()
		for _, c := range all {
			c.look(s.clock.Load())
		}
		clear(all)
		if len(all) > 0 {
			continue
		}
		ticker.Stop()
		select {
		case <-s.stop:
			return
		case <-s.wake:
			ticker.Reset(tick)
		}
	}
}

// A handover is the listener from which net/http gets its connections.
type handover struct {
	addr   net.Addr
	queue  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.queue:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handover) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handover) Addr() net.Addr { return h.addr }

// A begun is a connection of which a part was read already.
type begun struct {
	net.Conn
	read []byte
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.read) > 0 {
		n := copy(p, b.read)
		b.read = b.read[n:]
		return n, nil
	}
	return b.Conn.Read(p)
}
