package upstream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/atom-fabric/fabric/internal/socket"
)

const (
	maxHead    = 32 << 10 // of an answer: status line and fields, or trailer
	maxInterim = 8        // answers of status 1xx before the one that counts
	maxDigits  = 15       // of a length
)

// framing is where a body ends.
type framing struct {
	left    int64 // of the body, or of the chunk; -1: until the connection ends
	chunked bool
	begun   bool // the first chunk's size was read
	keep    bool // the connection may be used again after it
	ended   bool
}

// A reader reads one answer. What it has of the connection is between from and
// to in its buffer.
type reader struct {
	conn     net.Conn
	sys      syscall.RawConn // see conn
	pools    *pools
	buffer   *buffer
	from, to int
	answered bool
}

// fill reads more, into a buffer that grows up to limit bytes.
func (r *reader) fill(limit int) error {
	if r.buffer == nil {
		if r.sys != nil {
			return r.begin()
		}
		r.buffer = r.pools.get(smallSize)
	}
	if r.to == len(r.buffer.b) {
		if r.from > 0 {
			r.to = copy(r.buffer.b, r.buffer.b[r.from:r.to])
			r.from = 0
		} else if len(r.buffer.b) >= limit {
			return ErrAnswer
		} else {
			larger := r.pools.get(min(limit, 8*len(r.buffer.b)))
			copy(larger.b, r.buffer.b[:r.to])
			r.buffer.free()
			r.buffer = larger
		}
	}
	n, err := r.conn.Read(r.buffer.b[r.to:])
	if n > 0 {
		r.to += n
		r.answered = true
		return nil
	}
	if err == nil {
		return nil // allowed by io.Reader, and asked again
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// begin waits for the first bytes and reads them into a buffer that is taken only
// when they are there: a request that waits for its answer has none.
func (r *reader) begin() (err error) {
	failed := r.sys.Read(func(fd uintptr) bool {
		buffer := r.pools.get(smallSize)
		var n int
		if n, err = socket.Read(fd, buffer.b); err == nil {
			r.buffer, r.to, r.answered = buffer, n, true
			return true
		}
		buffer.free()
		return !errors.Is(err, syscall.EAGAIN)
	})
	if failed != nil {
		return failed
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// answer reads an answer up to the end of its body or of the part that is
// wanted whole. keep: the connection may be used again.
func (r *reader) answer(req *Request) (a *Answer, keep bool, err error) {
	for range maxInterim {
		var head []byte
		if head, err = r.head(); err != nil {
			return nil, false, err
		}
		a = &Answer{}
		var f framing
		if a.Status, f, err = parse(head, req.Method, &a.Header); err != nil {
			return nil, false, err
		}
		if a.Status < 200 {
			if a.Status == 101 { // nothing was asked to be upgraded
				return nil, false, ErrAnswer
			}
			continue
		}
		keep, err = r.whole(a, f, req)
		return a, keep, err
	}
	return nil, false, ErrAnswer
}

// whole reads what is wanted of the body before the answer counts.
func (r *reader) whole(a *Answer, f framing, req *Request) (keep bool, err error) {
	a.Length = f.left
	if f.chunked {
		a.Length = -1
	}
	if req.Limit > 0 && a.Length > req.Limit {
		return false, ErrTooLong
	}
	switch {
	case f.ended:
	case a.Length >= 0 && a.Length <= int64(req.Whole):
		if err := r.sized(a, int(a.Length)); err != nil {
			return false, err
		}
	case a.Length < 0 && req.Whole > 0 && !streams(a.Header):
		more, err := r.pieces(a, &f, req)
		if err != nil {
			return false, err
		}
		if more {
			r.stream(a, f, req)
			return false, nil
		}
	default:
		r.stream(a, f, req)
		return false, nil
	}
	a.buffer = r.buffer
	// What follows an answer was not asked for: the next request would take it
	// for its own.
	return f.keep && r.from == r.to, nil
}

// sized reads a body of a known length. A short one lies in the buffer already.
func (r *reader) sized(a *Answer, length int) error {
	have := r.to - r.from
	if have >= length || r.from+length <= len(r.buffer.b) {
		for r.to-r.from < length {
			if err := r.fill(len(r.buffer.b)); err != nil {
				return err
			}
		}
		a.Body = r.buffer.b[r.from : r.from+length]
		r.from += length
		return nil
	}
	a.body = r.pools.get(length)
	a.Body = a.body.b[:length]
	n := copy(a.Body, r.buffer.b[r.from:r.to])
	r.from = r.to
	if _, err := io.ReadFull(r.conn, a.Body[n:]); err != nil {
		a.body.free()
		a.body = nil
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

// pieces reads a body whose end is not known before, up to what is wanted whole.
func (r *reader) pieces(a *Answer, f *framing, req *Request) (more bool, err error) {
	// The fields of the answer lie in the buffer that the body is read through.
	a.Header.raw = bytes.Clone(a.Header.raw)
	a.body = r.pools.get(largeSize)
	n := 0
	for !f.ended && n <= req.Whole {
		if n == len(a.body.b) {
			larger := r.pools.get(min(4*n, max(req.Whole+1, hugeSize)))
			copy(larger.b, a.body.b)
			a.body.free()
			a.body = larger
		}
		var got int
		if got, err = r.body(f, a.body.b[n:]); err != nil && !errors.Is(err, io.EOF) {
			a.body.free()
			a.body = nil
			return false, err
		}
		n += got
		if req.Limit > 0 && int64(n) > req.Limit {
			a.body.free()
			a.body = nil
			return false, ErrTooLong
		}
	}
	a.Body = a.body.b[:n]
	if f.ended {
		a.Length = int64(n)
	}
	return !f.ended, nil
}

// stream leaves the rest to be read by whoever wants it.
func (r *reader) stream(a *Answer, f framing, req *Request) {
	a.Header.raw = bytes.Clone(a.Header.raw)
	s := &stream{r: *r, f: f, limit: req.Limit, count: int64(len(a.Body))}
	a.Stream = s
}

// body reads a part of a body. io.EOF is returned once, at the end of it, and
// may come with the last bytes.
func (r *reader) body(f *framing, p []byte) (int, error) {
	if f.ended {
		return 0, io.EOF
	}
	if f.chunked && f.left == 0 {
		if err := r.chunk(f); err != nil {
			return 0, err
		}
		if f.ended {
			return 0, io.EOF
		}
	}
	if f.left > 0 && int64(len(p)) > f.left {
		p = p[:f.left]
	}
	n, err := r.read(p)
	if f.left > 0 {
		f.left -= int64(n)
		f.ended = f.left == 0 && !f.chunked
	}
	switch {
	case f.ended:
		return n, io.EOF
	case n > 0:
		return n, nil
	case errors.Is(err, io.EOF) && f.left < 0:
		f.ended = true
		return 0, io.EOF
	case errors.Is(err, io.EOF):
		return 0, io.ErrUnexpectedEOF
	}
	return 0, err
}

// read reads what is in the buffer, then from the connection.
func (r *reader) read(p []byte) (int, error) {
	if r.from < r.to {
		n := copy(p, r.buffer.b[r.from:r.to])
		r.from += n
		return n, nil
	}
	return r.conn.Read(p)
}

// chunk reads the size of the next chunk, and after the last one the trailer,
// which is dropped.
func (r *reader) chunk(f *framing) error {
	if f.begun {
		end, err := r.line(2)
		if err != nil {
			return err
		}
		if len(end) != 0 {
			return ErrAnswer
		}
	}
	f.begun = true
	text, err := r.line(256)
	if err != nil {
		return err
	}
	size, extension, _ := bytes.Cut(text, []byte(";"))
	if size = bytes.TrimRight(size, " \t"); len(size) == 0 || len(size) > 8 || !valid(extension) {
		return ErrAnswer
	}
	for _, c := range size {
		digit := strings.IndexByte("0123456789abcdef", lower(c))
		if digit < 0 {
			return ErrAnswer
		}
		f.left = f.left<<4 | int64(digit)
	}
	if f.left > 0 {
		return nil
	}
	for total := 0; total < maxHead; {
		text, err := r.line(maxHead)
		if err != nil {
			return err
		}
		if len(text) == 0 {
			f.ended = true
			return nil
		}
		name, value, ok := bytes.Cut(text, []byte(":"))
		if !ok || !token(name) || !valid(value) {
			return ErrAnswer
		}
		total += len(text) + 2
	}
	return ErrAnswer
}

// line returns the next line, of at most limit bytes with its end, without it.
func (r *reader) line(limit int) ([]byte, error) {
	for {
		have := r.buffer.b[r.from:r.to]
		end := bytes.IndexByte(have, '\n')
		if end >= 0 {
			if end == 0 || have[end-1] != '\r' || end >= limit || !valid(have[:end-1]) {
				return nil, ErrAnswer
			}
			r.from += end + 1
			return have[:end-1], nil
		}
		if len(have) >= limit {
			return nil, ErrAnswer
		}
		if err := r.fill(maxHead + smallSize); err != nil {
			return nil, err
		}
	}
}
