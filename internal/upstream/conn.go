package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// quietAfter is how long a connection may be idle before it is looked at for
// what the other side may have sent, or that it left.
const quietAfter = 5 * time.Millisecond

// A conn is a connection of HTTP/1.1.
type conn struct {
	net.Conn
	raw      net.Conn // below TLS
	endpoint *Endpoint
	since    time.Time       // idle since
	past     func()          // makes every read and write fail at once
	sys      syscall.RawConn // nil: TLS, or no descriptor
	out      io.Writer
}

func (c *conn) close() {
	_ = c.Conn.Close() // nothing is owed to the other side
	c.endpoint.open.Add(-1)
}

// quiet reports whether nothing came on an idle connection, its end included.
func (c *conn) quiet() bool {
	raw := c.sys
	if raw == nil {
		if sys, ok := c.raw.(syscall.Conn); !ok {
			return true
		} else if rc, err := sys.SyscallConn(); err == nil {
			raw = rc
		} else {
			return false
		}
	}
	silent := false
	err := raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		silent = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && silent
}

// Do asks the endpoint. The answer's stream, if it has one, ends with ctx.
func (e *Endpoint) Do(ctx context.Context, req *Request) (*Answer, error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, failure(ctx, ErrTimeout, false, err)
	}
	if t := e.h2.Load(); t != nil {
		return e.transport(ctx, t, req)
	}
	var c *conn
	if !req.Once {
		c = e.take(time.Now())
	}
	if c != nil {
		a, err := c.do(ctx, req)
		var failed *Error
		if err == nil || !errors.As(err, &failed) || !errors.Is(failed.Err, ErrReset) || failed.Answered {
			return a, err
		}
		// It was closed while it was idle. Others may be closed as well, so the
		// second and last try has a connection of its own.
	}
	c, err := e.dial(ctx)
	switch {
	case errors.Is(err, errHTTP2):
		return e.transport(ctx, e.upgrade(), req)
	case errors.Is(err, ErrFull):
		return nil, err
	case err != nil:
		return nil, failure(ctx, ErrUnreachable, false, err)
	}
	return c.do(ctx, req)
}

// check refuses what would be read as something else.
func (r *Request) check() error {
	if !token(r.Method) || r.Path == "" || r.Path[0] != '/' || !visible(r.Path) {
		return &Error{Err: ErrRequest}
	}
	for i := range r.Header {
		if !token(r.Header[i].Name) || !valid(r.Header[i].Value) || ours(r.Header[i].Name) {
			return &Error{Err: ErrRequest}
		}
	}
	return nil
}

// ours reports whether a field is not the caller's to set: it frames the request.
func ours(name string) bool {
	switch len(name) {
	case 4:
		return strings.EqualFold(name, "Host")
	case 10:
		return strings.EqualFold(name, "Connection")
	case 14:
		return strings.EqualFold(name, "Content-Length")
	case 17:
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// failure says why an exchange ended: because of its context, if that ended.
func failure(ctx context.Context, why error, answered bool, cause error) *Error {
	if ctx.Err() != nil {
		why = context.Canceled
		if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			why = ErrTimeout
		}
	} else if errors.Is(cause, os.ErrDeadlineExceeded) || errors.Is(cause, context.DeadlineExceeded) {
		if !errors.Is(why, ErrUnreachable) {
			why = ErrTimeout
		}
	}
	return &Error{Err: why, Answered: answered, Cause: cause}
}

// do writes the request and reads the answer. It keeps or closes the connection.
func (c *conn) do(ctx context.Context, req *Request) (*Answer, error) {
	stop := context.AfterFunc(ctx, c.past)
	give := func(keep bool) {
		// If it has begun to act on a context that ended, the deadline may still
		// come, to whoever has the connection then.
		if stop() && keep {
			c.endpoint.keep(c, time.Now())
			return
		}
		c.close()
	}
	sent := c.write(req)
	pools := &c.endpoint.client.pools
	r := reader{conn: c.Conn, sys: c.sys, pools: pools}
	a, keep, err := r.answer(req)
	if err != nil {
		answered := r.answered
		r.buffer.free()
		give(false)
		if sent != nil && !answered {
			err = sent
		}
		if known(err) {
			return nil, failure(ctx, err, answered, nil)
		}
		return nil, failure(ctx, ErrReset, answered, err)
	}
	if a.Stream == nil {
		give(keep && sent == nil)
		return a, nil
	}
	s := a.Stream.(*stream)
	s.ctx = ctx
	s.done = func() { give(s.clean && sent == nil) }
	a.close = s.finish
	return a, nil
}

func known(err error) bool {
	return errors.Is(err, ErrAnswer) || errors.Is(err, ErrTooLong)
}

// together is up to which length a body is copied behind its head and leaves in
// one write.
const together = 64 << 10

// write writes a request. Its error is not the last word: a server that refuses
// a body may answer, and close, before it has read all of it.
func (c *conn) write(req *Request) error {
	size := 256 + len(req.Path) + 64*len(req.Header)
	if len(req.Body) <= together {
		size += len(req.Body)
	}
	buf := c.endpoint.client.pools.get(size)
	defer buf.free()
	out := append(buf.b[:0], req.Method...)
	out = append(out, ' ')
	out = append(out, c.endpoint.base...)
	out = append(out, req.Path...)
	out = append(out, " HTTP/1.1\r\nHost: "...)
	out = append(out, c.endpoint.host...)
	out = append(out, "\r\n"...)
	for i := range req.Header {
		out = append(out, req.Header[i].Name...)
		out = append(out, ": "...)
		out = append(out, req.Header[i].Value...)
		out = append(out, "\r\n"...)
	}
	if len(req.Body) > 0 || req.Method == "POST" || req.Method == "PUT" {
		out = append(out, "Content-Length: "...)
		out = strconv.AppendInt(out, int64(len(req.Body)), 10)
		out = append(out, "\r\n"...)
	}
	out = append(out, "\r\n"...)
	if len(req.Body) > together {
		parts := net.Buffers{out, req.Body}
		_, err := parts.WriteTo(c.Conn)
		return err
	}
	out = append(out, req.Body...)
	_, err := c.out.Write(out)
	return err
}

// A stream is what follows the first part of a body.
type stream struct {
	ctx   context.Context
	r     reader
	f     framing
	err   error
	limit int64
	count int64
	clean bool // ended where the framing says, and nothing followed
	done  func()
}

func (s *stream) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.body(&s.f, p)
	if s.count += int64(n); s.limit > 0 && s.count > s.limit {
		n, err = 0, ErrTooLong
	}
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		s.clean = s.f.keep && s.r.from == s.r.to
		s.err = io.EOF
	case known(err):
		s.err = failure(s.ctx, err, true, nil)
	default:
		s.err = failure(s.ctx, ErrReset, true, err)
	}
	s.finish()
	if n > 0 {
		return n, nil
	}
	return 0, s.err
}

// finish gives the connection away, once.
func (s *stream) finish() {
	if s.err == nil {
		s.err = io.ErrClosedPipe
	}
	if s.done != nil {
		done := s.done
		s.done = nil
		done()
		s.r.buffer.free()
	}
}

// Close gives back what the answer holds. A stream that was not read to its end
// costs its connection.
func (a *Answer) Close() {
	if a.close != nil {
		a.close()
	}
	a.buffer.free()
	a.body.free()
	a.buffer, a.body, a.close, a.Body, a.Header = nil, nil, nil, nil, Header{}
}
