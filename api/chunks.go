package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// maxChunk bounds one piece of an upload.
const maxChunk = 8 << 20

// What the port of uploads says beside the words of all ports.
var (
	ErrOffset    = errors.New("the piece does not follow what is kept")
	ErrUploading = errors.New("another sender is on this upload") // or this one, on a connection that it gave up
	ErrFull      = errors.New("no room for uploads now")
)

// An Upload is a blob on its way in. Owner and digest name it: what others send
// under the same digest is another upload, so that nobody can tell from an
// answer what others have.
type Upload struct {
	Owner     string // "tenant/site", or "models/tenant/subject"
	Digest    artifact.Digest
	SizeBytes int64 // of the whole; 1 or more, and the same each time, else ErrConflict
	MediaType string
}

// Uploads keeps blobs that come in pieces until they are whole. What it says is
// kept survives a crash, for a time that it may bound.
type Uploads interface {
	// Resume returns how many bytes from the start are kept; all of them when
	// the blob is in the store, where it puts it if that is all that is missing.
	Resume(ctx context.Context, u Upload) (kept int64, err error)
	// Append adds content, whose first byte is byte first of the whole, and
	// returns what is kept then; all of it when the blob is in the store.
	// ErrOffset, with what is kept, when first is not that; ErrUploading while
	// another writes; ErrFull, for a new upload, when there is no room;
	// artifact.ErrTooLarge when there will never be; artifact.ErrContent when
	// the whole is not what the digest says, and nothing of it is kept any more.
	// When content fails, what came before may be kept.
	Append(ctx context.Context, u Upload, first int64, content io.Reader) (kept int64, err error)
}

// A piece is what a Content-Range says: bytes first to last of total, or, when
// it asks for nothing but the state, only the total.
type piece struct {
	asks        bool
	first, last int64
	total       int64
}

func (p piece) size() int64 { return p.last - p.first + 1 }

// parsePiece reads "bytes 0-8388607/1073741824" or "bytes */1073741824" (RFC
// 9110, 14.4).
func parsePiece(text string) (piece, error) {
	malformed := invalidRequest.at("header:Content-Range", "must be bytes FIRST-LAST/TOTAL or bytes */TOTAL")
	spec, ok := strings.CutPrefix(text, "bytes ")
	span, total, whole := strings.Cut(spec, "/")
	if !ok || !whole {
		return piece{}, malformed
	}
	var p piece
	if p.total, ok = count(total); !ok || p.total < 1 {
		return piece{}, malformed
	}
	if span == "*" {
		p.asks = true
		return p, nil
	}
	first, last, both := strings.Cut(span, "-")
	var firstOK, lastOK bool
	p.first, firstOK = count(first)
	p.last, lastOK = count(last)
	if !both || !firstOK || !lastOK || p.first > p.last {
		return piece{}, malformed
	}
	if p.last >= p.total {
		return piece{}, badRange.because("the piece ends after the whole")
	}
	if p.size() > maxChunk {
		return piece{}, tooLarge.because(fmt.Sprintf("a piece is at most %d bytes", maxChunk))
	}
	return p, nil
}

// uploadable refuses a run whose sites could never send what they have trained.
func uploadable(p round.Params, most int64) error {
	size := p.Model.SizeBytes() + maxHead
	if p.Secure.Ring == 64 && p.Secure.Mode != round.SecureOff {
		size *= 2
	}
	if size <= most {
		return nil
	}
	return badParams.at("/params/model", fmt.Sprintf("a site would send %d bytes, and an upload is at most %d (FABRIC_MAX_UPLOAD_BYTES)", size, most))
}

// maxHead is more than an update has beside its values: the header of a file, or
// the counts of a vector.
const maxHead = 64 << 10

// count reads digits and nothing else.
func count(text string) (int64, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// chunk takes a piece of a blob that is larger than one request may be, or says
// how much of it is kept. It answers 201 when the whole is, and until then 308
// with the range of what is.
func (b *Border) chunk(c *gin.Context, uploads Uploads, owner, media string, sizes []int64) error {
	p, err := parsePiece(c.GetHeader("Content-Range"))
	if err != nil {
		return err
	}
	switch {
	case len(sizes) > 0 && !slices.Contains(sizes, p.total):
		return badUpdate.because(errLength.Error())
	case p.total > b.opts.MaxUpload:
		return tooLarge.because(fmt.Sprintf("an upload is at most %d bytes (FABRIC_MAX_UPLOAD_BYTES)", b.opts.MaxUpload))
	case p.asks && c.Request.ContentLength != 0:
		return badRequest.because("a question for the state has no body; send Content-Length: 0")
	case !p.asks && c.Request.ContentLength != p.size():
		return badRequest.because("Content-Length is not the length of the piece")
	}
	u := Upload{Owner: owner, Digest: artifact.Digest(c.Param("digest")), SizeBytes: p.total, MediaType: media}
	var kept int64
	var body sender
	if p.asks {
		kept, err = uploads.Resume(c.Request.Context(), u)
	} else {
		body.Reader = c.Request.Body
		kept, err = uploads.Append(c.Request.Context(), u, p.first, &body)
	}
	switch {
	case errors.Is(err, ErrOffset):
		keeps(c, kept)
		return &Problem{Kind: wrongOffset, Detail: "go on after what the Range of this answer says is kept", Err: err}
	case errors.Is(err, ErrUploading):
		return &Problem{Kind: uploadBusy, RetryAfter: 1, Err: err}
	case errors.Is(err, ErrFull):
		return &Problem{Kind: uploadsFull, RetryAfter: 30, Err: err}
	case errors.Is(err, artifact.ErrTooLarge):
		return &Problem{Kind: tooLarge, Detail: "there is never room for it", Err: err}
	case errors.Is(err, artifact.ErrContent):
		return &Problem{Kind: unverified, Detail: errDigest.Error() + "; nothing of it is kept", Err: err}
	case body.err != nil:
		return contentProblem(body.err)
	case err != nil:
		return err
	}
	if kept == p.total {
		return b.send(c, http.StatusCreated, descriptorView(artifact.Descriptor{Digest: u.Digest, SizeBytes: p.total, MediaType: media}))
	}
	keeps(c, kept)
	c.Header("Cache-Control", "no-store")
	c.Status(http.StatusPermanentRedirect) // without a Location: "resume incomplete"
	c.Writer.WriteHeaderNow()
	return nil
}

// keeps says which bytes are kept; no Range says none.
func keeps(c *gin.Context, kept int64) {
	if kept > 0 {
		c.Header("Range", fmt.Sprintf("bytes=0-%d", kept-1))
	}
}

// A sender is the body of a request, which remembers how it failed.
type sender struct {
	io.Reader
	err error
}

// Read implements io.Reader.
func (s *sender) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
