package inbound

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A response is what a handler writes to. Up to 64 KiB leave in one piece when
// the handler returns; what is longer, or is flushed, leaves as it comes.
type response struct {
	c      *conn
	header http.Header
	status int
	out    *[]byte // head and body, or a part of the body that has not left
	length int64   // that the handler announced, -1: none
	sent   int64   // bytes of the body
	begun  bool    // the head has left
	chunks bool
	err    error
	date   [len(http.TimeFormat)]byte
	second int64
}

var errLength = errors.New("more bytes than were announced")

func (w *response) begin() {
	clear(w.header)
	w.status, w.sent, w.length, w.begun, w.chunks, w.err = 0, 0, -1, false, false, nil
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) {
	if w.status != 0 || status < 200 { // interim answers are not ours to send
		return
	}
	w.status = status
	w.out = w.c.s.answers()
	if text := w.header["Content-Length"]; len(text) == 1 {
		if n, err := strconv.ParseInt(text[0], 10, 64); err == nil && n >= 0 {
			w.length = n
		}
	}
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.err != nil {
		return 0, w.err
	}
	if w.sent += int64(len(p)); w.length >= 0 && w.sent > w.length {
		w.err = errLength
		return 0, w.err
	}
	if !w.begun && len(*w.out)+len(p) <= together {
		*w.out = append(*w.out, p...)
		return len(p), nil
	}
	w.flush(p)
	return len(p), w.err
}

// FlushError sends what there is; see http.ResponseController.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.flush(nil)
	return w.err
}

// Flush is http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// SetWriteDeadline gives the answer more time; see http.ResponseController.
// How long a write takes is bounded by the server.
func (w *response) SetWriteDeadline(time.Time) error {
	w.c.enter(handling)
	return nil
}

// flush sends the head if it has not left, what was kept, and p.
func (w *response) flush(p []byte) {
	if w.err != nil {
		return
	}
	kept := *w.out
	parts := make(net.Buffers, 0, 5)
	if !w.begun {
		w.begun = true
		w.chunks = w.length < 0
		parts = append(parts, w.head(make([]byte, 0, 1024)))
	}
	if size := len(kept) + len(p); w.chunks && size > 0 {
		parts = append(parts, strconv.AppendInt(nil, int64(size), 16), []byte("\r\n"), kept, p, []byte("\r\n"))
	} else {
		parts = append(parts, kept, p)
	}
	w.c.enter(writing)
	_, w.err = parts.WriteTo(w.c.raw)
	*w.out = kept[:0]
	w.c.enter(handling)
}

// end sends what has not left yet.
func (w *response) end() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	defer w.drop()
	if w.err == nil && w.length >= 0 && w.sent < w.length && w.status != http.StatusNotModified {
		w.err = errLength // the other side must not take it for the whole
	}
	if w.err != nil {
		return w.err
	}
	w.c.enter(writing)
	if w.begun {
		if w.chunks {
			_, w.err = w.c.out.Write([]byte("0\r\n\r\n"))
		}
		return w.err
	}
	if w.length < 0 {
		w.length = w.sent
	}
	all := w.c.s.answers()
	*all = append(w.head((*all)[:0]), *w.out...)
	_, w.err = w.c.out.Write(*all)
	w.c.s.answered(all)
	return w.err
}

// drop gives back the memory.
func (w *response) drop() {
	if w.out != nil {
		w.c.s.answered(w.out)
		w.out = nil
	}
}

// head appends the status line and the fields.
func (w *response) head(b []byte) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(w.status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(w.status)...)
	b = append(b, "\r\nDate: "...)
	b = append(b, w.now()...)
	b = append(b, "\r\n"...)
	for name, values := range w.header {
		if name == "Content-Length" || name == "Transfer-Encoding" || name == "Date" {
			continue
		}
		if name == "Connection" {
			w.c.last = w.c.last || len(values) == 1 && strings.EqualFold(values[0], "close")
			continue
		}
		for _, value := range values {
			b = append(b, name...)
			b = append(b, ": "...)
			at := len(b)
			b = append(b, value...)
			for i := at; i < len(b); i++ { // no value ends its line
				if b[i] == '\r' || b[i] == '\n' {
					b[i] = ' '
				}
			}
			b = append(b, "\r\n"...)
		}
	}
	if w.c.last {
		b = append(b, "Connection: close\r\n"...)
	}
	switch {
	case w.chunks:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case w.status != http.StatusNoContent && w.status != http.StatusNotModified:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, w.length, 10)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// now is the Date, written once a second.
func (w *response) now() []byte {
	s := w.c.s
	at := s.began.Add(time.Duration(s.clock.Load()) * time.Millisecond)
	if unix := at.Unix(); unix != w.second {
		w.second = unix
		at.UTC().AppendFormat(w.date[:0], http.TimeFormat)
	}
	return w.date[:]
}

// refuse answers what is no request, and ends the connection.
func (c *conn) refuse(v verdict) {
	_, text := v.status()
	_ = c.raw.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := c.raw.Write([]byte("HTTP/1.1 " + text + "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" + text)); err != nil {
		return
	}
	c.body.left = 1 // what else it sent is not read
	c.linger()
}

// answers returns room to write into.
func (s *Server) answers() *[]byte {
	if b, ok := s.replies.Get().(*[]byte); ok {
		*b = (*b)[:0]
		return b
	}
	b := make([]byte, 0, 4<<10)
	return &b
}

func (s *Server) answered(b *[]byte) {
	if cap(*b) <= 2*together {
		s.replies.Put(b)
	}
}
