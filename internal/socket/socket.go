// Package socket reads and writes connections without telling the scheduler.
//
// The runtime takes the processor from a goroutine whose system call takes
// longer than 20 µs, and wakes a thread to go on with it. On a busy machine a
// write to a socket is often that long, although it only copies and hands over:
// the thread that is woken finds nothing, and the watch that looks for such
// calls never rests. Measured in the router, that was a tenth of its processor
// time and more of its delay.
//
// Invariant: no call waits. Descriptors are non-blocking, as those of package
// net are, and a call that would wait says EAGAIN instead.
package socket

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// Of returns the way to a connection's descriptor; nil for one that has none,
// such as TLS.
func Of(conn net.Conn) (syscall.RawConn, error) {
	if c, ok := conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, nil
}

// Read reads what is there, and takes an interruption for nothing. Errors:
// [io.EOF]; [syscall.EAGAIN] when nothing is there yet.
func Read(fd uintptr, p []byte) (int, error) {
	for {
		n, err := read(fd, p)
		switch {
		case n > 0:
			return n, nil
		case err == 0:
			return 0, io.EOF
		case err != syscall.EINTR:
			return 0, err
		}
	}
}

// A Writer writes to a connection, whole, for one goroutine at a time. It obeys
// the connection's deadlines.
type Writer struct {
	raw  syscall.RawConn
	push func(fd uintptr) bool
	rest []byte
	err  error
}

// NewWriter returns a writer to the descriptor of a connection.
func NewWriter(raw syscall.RawConn) *Writer {
	w := &Writer{raw: raw}
	w.push = w.try
	return w
}

// Write implements [io.Writer].
func (w *Writer) Write(p []byte) (int, error) {
	w.rest, w.err = p, nil
	err := w.raw.Write(w.push)
	left := len(w.rest)
	if w.rest = nil; err == nil {
		err = w.err
	}
	return len(p) - left, err
}

// try writes what fits. It reports whether that was the end of it.
func (w *Writer) try(fd uintptr) bool {
	for len(w.rest) > 0 {
		n, err := write(fd, w.rest)
		switch {
		case n > 0:
			w.rest = w.rest[n:]
		case err == syscall.EAGAIN:
			return false
		case err == 0:
			w.err = io.ErrUnexpectedEOF
			return true
		case !errors.Is(err, syscall.EINTR):
			w.err = err
			return true
		}
	}
	return true
}
