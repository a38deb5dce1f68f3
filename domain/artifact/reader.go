package artifact

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

// ErrContent says that content is not what its digest names.
var ErrContent = errors.New("content differs from its digest")

// Expect returns a reader of r that fails with [ErrContent] instead of ending
// when what was read is not what the digest names. The content may be used
// only after the reader has ended.
func Expect(r io.Reader, want Digest) io.Reader {
	return &expecting{r: r, hash: sha256.New(), want: want}
}

type expecting struct {
	r     io.Reader
	hash  hash.Hash
	want  Digest
	begun bool
}

// Hashed returns a reader of r and the SHA-256 of what was read of it so far. A
// reader of [Expect] hashes already, and is not hashed a second time.
func Hashed(r io.Reader) (io.Reader, hash.Hash) {
	if e, ok := r.(*expecting); ok && !e.begun {
		return e, e.hash
	}
	sum := sha256.New()
	return io.TeeReader(r, sum), sum
}

func (e *expecting) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.begun = true
	e.hash.Write(p[:n])
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if got := Summed(e.hash); got != e.want {
		return n, fmt.Errorf("%s instead of %s: %w", got.Short(), e.want.Short(), ErrContent)
	}
	return n, io.EOF
}

// Limit returns a reader of r that fails with [ErrTooLarge] after max bytes,
// where [io.LimitReader] would end and pass a part off as the whole.
func Limit(r io.Reader, max int64) io.Reader { return &limited{r: r, max: max, left: max} }

type limited struct {
	r         io.Reader
	max, left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, fmt.Errorf("more than %d bytes: %w", l.max, ErrTooLarge)
	}
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1] // one more than allowed, to see whether there is more
	}
	n, err := l.r.Read(p)
	l.left -= int64(n)
	if l.left < 0 {
		return n - 1, fmt.Errorf("more than %d bytes: %w", l.max, ErrTooLarge)
	}
	return n, err
}
