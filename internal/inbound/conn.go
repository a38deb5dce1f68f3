package inbound

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/atom-fabric/fabric/internal/socket"
)

// What a connection is doing.
const (
	idle int64 = iota // nothing of a request has come
	head
	body
	handling
	writing
	phases
)

const (
	room     = 8 << 10   // that is read into
	together = 64 << 10  // of an answer that leave in one write
	leftover = 256 << 10 // of a body that nobody read, before the connection is given up
)

// A conn is a connection, and one request at a time on it.
type conn struct {
	s       *Server
	raw     net.Conn
	state   atomic.Int64 // phase, and since when in ms
	expired atomic.Bool
	cancel  context.CancelFunc
	sys     syscall.RawConn // nil: of a connection that has no descriptor
	out     io.Writer
	attempt func(fd uintptr) bool
	failed  error // of the last attempt

	buf      []byte
	from, to int // of what was read and not used

	base   http.Request // without what a request brings
	req    http.Request
	url    url.URL
	header http.Header
	values []string
	body   bodyReader
	answer response
	last   bool // no further request on this connection
}

func newConn(s *Server, raw net.Conn) *conn {
	c := &conn{s: s, raw: raw, header: make(http.Header, 8), values: make([]string, 0, 16)}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(s.ctx)
	c.base = *(&http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: raw.RemoteAddr().String()}).WithContext(ctx)
	c.answer = response{c: c, header: make(http.Header, 8)}
	c.body.c = c
	c.out = raw
	if sys, err := socket.Of(raw); err == nil && sys != nil {
		c.sys, c.attempt, c.out = sys, c.try, socket.NewWriter(sys)
	}
	c.enter(idle)
	return c
}

func (c *conn) enter(phase int64) { c.state.Store(c.s.clock.Load()*phases + phase) }
func (c *conn) phase() int64      { return c.state.Load() % phases }

// limit is how long a connection may be in a phase.
func (s *Server) limit(phase int64) time.Duration {
	switch phase {
	case idle:
		if s.std.IdleTimeout > 0 {
			return s.std.IdleTimeout
		}
		return s.std.ReadTimeout
	case head:
		return s.std.ReadHeaderTimeout
	case body:
		return s.std.ReadTimeout
	}
	return s.std.WriteTimeout
}

// look is the watch's: it ends what takes too long, and what nobody waits for.
func (c *conn) look(now int64) {
	state := c.state.Load()
	phase, age := state%phases, time.Duration(now-state/phases)*time.Millisecond
	switch {
	case age > c.s.limit(phase):
		if phase == handling || phase == writing {
			c.gone()
		}
		c.expire()
	case phase == handling && age >= tick && c.left():
		c.gone()
	}
}

// expire makes reads fail, and writes too if it is one that takes too long.
func (c *conn) expire() {
	c.expired.Store(true)
	if c.phase() == writing {
		_ = c.raw.SetDeadline(time.Unix(1, 0))
		return
	}
	_ = c.raw.SetReadDeadline(time.Unix(1, 0))
}

// gone cancels what is under way: nobody reads the answer.
func (c *conn) gone() { c.cancel() }

// left reports whether the other side has closed the connection. It takes
// nothing of what may have come.
func (c *conn) left() bool {
	if c.sys == nil {
		return false
	}
	over := false
	err := c.sys.Control(func(fd uintptr) {
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		over = err == nil && n == 0 || err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
	})
	return err != nil || over
}

// serve answers requests until the connection ends or is handed over.
func (c *conn) serve() {
	over := true // it ends here
	defer func() {
		c.cancel()
		if over {
			_ = c.raw.Close()
			c.s.tell(c.raw, http.StateClosed)
		}
		c.s.done(c)
	}()
	for !c.last {
		if c.from == c.to {
			c.rest()
			c.enter(idle)
			if c.s.closed.Load() {
				return
			}
		}
		verdict := c.read()
		switch verdict {
		case ended:
			return
		case other:
			over = !c.give()
			return
		case plain:
			if !c.handle() {
				return
			}
		default:
			c.refuse(verdict)
			return
		}
	}
	c.linger()
}

// read reads the head of a request.
func (c *conn) read() verdict {
	for seen := 0; ; {
		have := c.buf[c.from:c.to]
		if len(have) > 0 && (have[0] < 'A' || have[0] > 'Z') {
			return other // TLS, say: net/http has an answer to that
		}
		if end := bytes.Index(have[seen:], []byte("\r\n\r\n")); end >= 0 {
			end += seen + 4
			c.from += end
			return c.parse(have[:end])
		}
		if bytes.Contains(have[seen:], []byte("\n\n")) {
			return malformed
		}
		seen = max(0, len(have)-3)
		if len(have) >= c.s.std.MaxHeaderBytes {
			return tooLarge
		}
		if len(have) > 0 && c.phase() == idle {
			c.enter(head)
		}
		if err := c.fill(); err != nil {
			if c.expired.Load() && len(have) > 0 {
				return tooSlow
			}
			return ended
		}
	}
}

// rest gives the memory back that nothing lies in: a connection that waits, for
// a request or for its answer, has none.
func (c *conn) rest() {
	c.s.leave(c.buf)
	c.buf, c.from, c.to = nil, 0, 0
}

// fill reads more behind what is there.
func (c *conn) fill() error {
	if c.buf == nil {
		if c.sys != nil {
			return c.begin()
		}
		c.buf = c.s.page()
	}
	if c.to == len(c.buf) {
		if c.from > 0 {
			c.to = copy(c.buf, c.buf[c.from:c.to])
			c.from = 0
		} else {
			c.buf = append(c.buf, make([]byte, len(c.buf))...)
		}
	}
	n, err := c.raw.Read(c.buf[c.to:])
	c.to += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// begin waits for bytes and reads them into memory that is taken only when they
// are there.
func (c *conn) begin() error {
	if err := c.sys.Read(c.attempt); err != nil {
		return err
	}
	return c.failed
}

// try reads without waiting. It reports whether there is something to act on.
func (c *conn) try(fd uintptr) bool {
	page := c.s.page()
	n, err := socket.Read(fd, page)
	if err == nil {
		c.buf, c.to, c.failed = page, n, nil
		return true
	}
	c.s.leave(page)
	c.failed = err
	return !errors.Is(err, syscall.EAGAIN)
}

// give hands the connection to net/http, with what was read of it.
func (c *conn) give() bool {
	c.s.tell(c.raw, http.StateHijacked) // net/http tells the rest
	select {
	case c.s.others.queue <- &begun{c.raw, bytes.Clone(c.buf[c.from:c.to])}:
		c.s.leave(c.buf)
		return true
	case <-c.s.others.closed:
		return false
	}
}

// handle calls the handler and sends what it says. It reports whether the
// connection is good for more, or to linger on.
func (c *conn) handle() (good bool) {
	c.enter(handling)
	w := &c.answer
	w.begin()
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler && c.s.std.ErrorLog != nil { //nolint:errorlint // that very value
				c.s.std.ErrorLog.Printf("panic serving %s: %v\n%s", c.raw.RemoteAddr(), p, debug.Stack())
			}
			w.drop()
			good = false
		}
	}()
	c.s.std.Handler.ServeHTTP(w, &c.req)
	if c.body.left > 0 && !c.last {
		c.last = !c.body.skip()
	}
	if c.s.closed.Load() {
		c.last = true
	}
	err := w.end()
	clear(c.values)
	if c.to > 0 && len(c.buf) > room && c.to-c.from <= room { // one long head does not stay
		small := c.s.page()
		c.to = copy(small, c.buf[c.from:c.to])
		c.buf, c.from = small, 0
	}
	return err == nil
}

// linger lets the other side read the last answer: closing at once, with
// something of it unread on our side, would take the answer away from it.
func (c *conn) linger() {
	tcp, ok := c.raw.(interface{ CloseWrite() error })
	if !ok || c.body.left == 0 || tcp.CloseWrite() != nil {
		return
	}
	_ = c.raw.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	_, _ = io.CopyN(io.Discard, c.raw, leftover)
}

// A bodyReader is a body of a known length.
type bodyReader struct {
	c    *conn
	left int64
	err  error
}

func (b *bodyReader) Read(p []byte) (int, error) {
	switch {
	case b.err != nil:
		return 0, b.err
	case b.left == 0:
		return 0, io.EOF
	case int64(len(p)) > b.left:
		p = p[:b.left]
	}
	c := b.c
	var n int
	if c.from < c.to {
		n = copy(p, c.buf[c.from:c.to])
		c.from += n
	} else {
		if c.phase() != body {
			c.enter(body)
		}
		var err error
		if n, err = c.raw.Read(p); n == 0 && err != nil {
			if b.err = err; errors.Is(err, io.EOF) {
				b.err = io.ErrUnexpectedEOF
			}
			c.last = true
			return 0, b.err
		}
	}
	if b.left -= int64(n); b.left == 0 {
		if c.from == c.to {
			c.rest()
		}
		if c.phase() != handling {
			c.enter(handling)
		}
		return n, io.EOF
	}
	return n, nil
}

func (b *bodyReader) Close() error { return nil }

// skip steps over what the handler did not read, if that is all here.
func (b *bodyReader) skip() bool {
	if int64(b.c.to-b.c.from) < b.left {
		return false
	}
	b.c.from += int(b.left)
	b.left = 0
	return true
}

// page returns room to read into.
func (s *Server) page() []byte {
	if p, ok := s.pages.Get().(*[room]byte); ok {
		return p[:]
	}
	return make([]byte, room)
}

func (s *Server) leave(b []byte) {
	if len(b) == room {
		s.pages.Put((*[room]byte)(b))
	}
}
