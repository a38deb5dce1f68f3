// Package upstream asks runtimes over HTTP/1.1 on connections that it keeps,
// one goroutine a request: the goroutine that asks is the one that writes and
// reads. An https runtime that negotiates HTTP/2 is asked by net/http's
// transport behind the same few names.
//
// An answer of up to [Request.Whole] bytes is read to its end before Do
// returns, so one that breaks off in the middle is an error that another
// endpoint can make up for, not half an answer. A longer one, and one that is a
// stream by its type, follows in [Answer.Stream].
//
// Invariant: an answer belongs to the request it was read for. A connection is
// kept only if the answer on it ended exactly where its framing says and
// nothing followed; whatever could be framed in two ways (two lengths, a length
// and chunks, a line that ends in a bare line feed) is no answer at all. When
// the context of a request ends, its connection is closed at once.
package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Why an exchange failed. Every error of Do is an [*Error] with one of these,
// or with context.Canceled when the context was cancelled.
var (
	ErrUnreachable = errors.New("no connection")
	ErrFull        = errors.New("too many connections")
	ErrTimeout     = errors.New("no answer in time")
	ErrReset       = errors.New("the connection broke")
	ErrAnswer      = errors.New("not an answer of HTTP")
	ErrTooLong     = errors.New("a longer answer than wanted")
	ErrRequest     = errors.New("not a request of HTTP")
)

// An Error says how far an exchange got.
type Error struct {
	Err      error // one of the above, or context.Canceled
	Answered bool  // a byte of an answer came
	Cause    error // or nil
}

func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Err.Error()
	}
	return fmt.Sprintf("%v: %v", e.Err, e.Cause)
}

func (e *Error) Unwrap() error { return e.Err }

// A Field is a header field of a request. A value that would end its line is
// refused.
type Field struct{ Name, Value string }

// A Request is what an endpoint is asked. It is sent again on a fresh
// connection if a kept one turns out to be closed before a byte of an answer
// came, so it must change nothing.
type Request struct {
	Method string
	// Once: it must not be done twice, so it gets a connection of its own.
	Once   bool
	Path   string  // origin form, with the query if any
	Header []Field // without Host, Content-Length and what concerns one connection
	Body   []byte
	// Whole is how many bytes of a body are read before Do returns. 0: none.
	Whole int
	// Limit refuses, with ErrTooLong, a body of more bytes than this instead of
	// streaming it. 0: no limit.
	Limit int64
}

// An Answer must be closed; until then its parts may be used.
type Answer struct {
	Status int
	Header Header
	// Body is the body, or how it begins if there is a Stream.
	Body []byte
	// Stream is what follows Body, or nil. Its errors are those of Do; io.EOF
	// only comes where the framing says that the body ends.
	Stream io.Reader
	// Length is the whole body's, or -1 where only its end tells.
	Length int64

	buffer *buffer
	body   *buffer
	close  func()
}

// Options are how endpoints are reached. The zero value will do.
type Options struct {
	TLS     *tls.Config   // of https; nil: the system's roots and no certificate of our own
	Dial    time.Duration // until connected, the handshake of TLS included; 0: 1 s
	Idle    time.Duration // after which a kept connection is closed; 0: 90 s
	MaxIdle int           // kept connections of an endpoint; 0: 256
	MaxOpen int           // connections of an endpoint; 0: 2048
	// DialContext connects; nil: a net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}
