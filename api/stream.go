package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// errLost says that content of ours, which a row names, is not there as it was.
var errLost = errors.New("lost")

// lost says so of a blob. The port's word for it is left behind: what we have
// lost is no "not found" of the caller's. A port that is away stays away.
func lost(digest artifact.Digest, err error) error {
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("blob %s: %w", digest.Short(), errLost)
	}
	return fmt.Errorf("blob %s: %w", digest.Short(), err)
}

// Why content is not kept.
var (
	errDigest = errors.New("content differs from its digest")
	errLength = errors.New("content has none of the lengths that are wanted")
)

// A checker passes content on and fails its last Read when the content is not
// what its digest says, or not as long as it should be, so that whoever stores
// it stores nothing. err is what
// went wrong on the sender's side, and n what was read.
type checker struct {
	src    io.Reader
	sum    hash.Hash
	digest artifact.Digest
	sizes  []int64 // that it may have; none: any
	n      int64
	err    error
}

func checking(src io.Reader, digest artifact.Digest) *checker {
	return &checker{src: src, sum: sha256.New(), digest: digest}
}

// Read implements io.Reader.
func (r *checker) Read(p []byte) (int, error) {
	n, err := r.src.Read(p)
	r.sum.Write(p[:n])
	r.n += int64(n)
	if errors.Is(err, io.EOF) && "sha256:"+hex.EncodeToString(r.sum.Sum(nil)) != string(r.digest) {
		err = errDigest
	}
	if errors.Is(err, io.EOF) && len(r.sizes) > 0 && !slices.Contains(r.sizes, r.n) {
		err = errLength
	}
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// put keeps a small document.
func put(ctx context.Context, blobs Blobs, mediaType string, content []byte) (artifact.Descriptor, error) {
	return blobs.Put(ctx, mediaType, bytes.NewReader(content))
}

// contentProblem tells what was wrong with content that was sent.
func contentProblem(err error) error {
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, errDigest):
		return unverified.because(errDigest.Error())
	case errors.Is(err, errLength):
		return badUpdate.because(errLength.Error())
	case errors.As(err, &large):
		return tooLarge.because(fmt.Sprintf("the content is at most %d bytes", large.Limit))
	}
	return &Problem{Kind: badRequest, Detail: "the body ended early", Err: err}
}

// serveBlob streams a blob with its digest as entity tag; ranges are served.
func (b *Border) serveBlob(c *gin.Context, blobs Blobs, d artifact.Descriptor, filename string) error {
	open := func(ctx context.Context) (io.ReadCloser, error) { return blobs.Open(ctx, d.Digest) }
	return b.serveContent(c, open, d, filename)
}

// serveContent streams what open returns. It is opened before a status is
// sent, so that content which is lost is a problem document.
func (b *Border) serveContent(c *gin.Context, open func(context.Context) (io.ReadCloser, error), d artifact.Descriptor, filename string) error {
	ctx := c.Request.Context()
	first, err := open(ctx)
	if err != nil {
		return lost(d.Digest, err)
	}
	content := &seeker{ctx: ctx, open: open, size: d.SizeBytes, at: first}
	defer content.Close()
	c.Header("ETag", `"`+string(d.Digest)+`"`)
	if sum, err := hex.DecodeString(d.Digest.Hex()); err == nil {
		text := base64.StdEncoding.EncodeToString(sum)
		c.Header("Digest", "sha-256="+text)           // RFC 3230, of the whole
		c.Header("Repr-Digest", "sha-256=:"+text+":") // RFC 9530
	}
	c.Header("Content-Type", "application/octet-stream")
	c.Header("X-Media-Type", d.MediaType)
	c.Header("Cache-Control", "private, immutable, max-age=86400") // the digest names it for ever
	if filename != "" {
		c.Header("Content-Disposition", `attachment; filename="`+filename+`"`)
	}
	if strings.Contains(c.GetHeader("Range"), ",") {
		c.Request.Header.Del("Range") // several ranges at once: the whole, as RFC 9110, section 14.2 allows
	}
	http.ServeContent(&ranged{ResponseWriter: c.Writer, c: c, b: b}, c.Request, "", time.Time{}, content)
	if content.err != nil {
		b.log.ErrorContext(ctx, "content broke off", "digest", string(d.Digest), "cause", content.err)
		// Fewer bytes than the length that was sent: net/http cuts the
		// connection, so that a short body does not look whole.
	}
	return nil
}

// writePatience is how long a reader may take for one buffer.
const writePatience = 30 * time.Second

// A seeker makes a stream seekable. Read from its start it keeps its own digest
// check. A part is not compared with anything, since that would mean to read
// the whole for each: it is sought where the stream can do so, and else read up
// to, and backward the stream is opened anew.
type seeker struct {
	ctx  context.Context
	open func(context.Context) (io.ReadCloser, error)
	size int64
	want int64 // where the next Read is to begin
	pos  int64 // where the open stream stands
	at   io.ReadCloser
	err  error
}

// Read implements io.Reader.
func (s *seeker) Read(p []byte) (int, error) {
	if s.want < s.pos || s.at == nil {
		if err := s.reopen(); err != nil {
			s.err = err
			return 0, err
		}
	}
	if s.want > s.pos {
		if err := s.forward(); err != nil {
			s.err = err
			return 0, err
		}
	}
	n, err := s.at.Read(p)
	s.pos += int64(n)
	s.want = s.pos
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	if errors.Is(err, io.EOF) && s.pos < s.size {
		s.err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (s *seeker) forward() error {
	if at, ok := s.at.(io.Seeker); ok {
		pos, err := at.Seek(s.want, io.SeekStart)
		s.pos = pos
		return err
	}
	n, err := io.CopyN(io.Discard, s.at, s.want-s.pos)
	s.pos += n
	return err
}

func (s *seeker) reopen() error {
	s.Close()
	at, err := s.open(s.ctx)
	s.at, s.pos = at, 0
	return err
}

// Seek implements io.Seeker; nothing is read yet.
func (s *seeker) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.want
	case io.SeekEnd:
		offset += s.size
	}
	if offset < 0 {
		return 0, errors.New("before the beginning")
	}
	s.want = offset
	return offset, nil
}

// Close closes the open stream.
func (s *seeker) Close() {
	if s.at != nil {
		s.at.Close()
		s.at = nil
	}
}

// ranged turns the plain text that net/http refuses a range with into a
// problem document.
type ranged struct {
	http.ResponseWriter
	c       *gin.Context
	b       *Border
	refused bool
}

// WriteHeader implements http.ResponseWriter.
func (w *ranged) WriteHeader(status int) {
	if status == http.StatusRequestedRangeNotSatisfiable {
		w.refused = true
		w.b.fail(w.c, badRange)
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter. Each write has its own patience: how
// long a download takes is for the line to say.
func (w *ranged) Write(p []byte) (int, error) {
	if w.refused {
		return len(p), nil
	}
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(writePatience)) // a test's knows none
	return w.ResponseWriter.Write(p)
}

// ReadFrom implements io.ReaderFrom. What is large is hashed beside being sent.
func (w *ranged) ReadFrom(src io.Reader) (int64, error) {
	if part, ok := src.(*io.LimitedReader); ok && part.N <= pieceBytes {
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	return readAhead(w, src)
}
