package api

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"regexp"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
)

// Bounds of a form with a package. The reader of the standard library has none
// for the number of parts, and takes ten megabytes of headers for each.
const (
	maxParts       = 8
	maxPartHeader  = 16 << 10         // and what is read ahead
	readPatience   = 30 * time.Second // for each read of the body
	answerPatience = 10 * time.Minute // for our own work once it is read
)

// mediaTypeAhead is what pieces are until a manifest says what they are.
const mediaTypeAhead = "application/octet-stream"

// plainName is what a file name may look like. It decides nothing: files are
// called what the manifest calls them.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// A form is a multipart body that is read part by part, in order.
type form struct {
	reader *multipart.Reader
	body   *rationed
	part   *multipart.Part // that was announced and not yet taken
	count  int
	ended  bool
}

// newForm refuses a body of unknown or impossible length before it is read.
func newForm(c *gin.Context) (*form, error) {
	const most = modelpack.MaxWeights + maxParts*(modelpack.MaxDocument+maxPartHeader)
	switch n := c.Request.ContentLength; {
	case n < 0:
		return nil, lengthRequired.because("send a Content-Length; a package is not taken in an unknown size")
	case n > most:
		return nil, tooLarge.because(fmt.Sprintf("a package is at most %d bytes", int64(most)))
	}
	body := rationing(http.MaxBytesReader(c.Writer, c.Request.Body, most), http.NewResponseController(c.Writer))
	c.Request.Body = body
	reader, err := c.Request.MultipartReader()
	if err != nil {
		return nil, mediaType.because("send Content-Type: multipart/form-data with a boundary")
	}
	return &form{reader: reader, body: body}, nil
}

// next announces the next part. At the end of the form there is none.
func (f *form) next() error {
	if f.part != nil || f.ended {
		return nil
	}
	f.body.allow(maxPartHeader)
	part, err := f.reader.NextRawPart()
	switch {
	case errors.Is(err, io.EOF):
		f.ended = true
		return nil
	case err != nil && f.body.left <= 0, errors.Is(err, multipart.ErrMessageTooLarge):
		return tooLarge.because(fmt.Sprintf("the header of a part is at most %d bytes", maxPartHeader))
	case err != nil:
		return contentProblem(err)
	}
	if f.count++; f.count > maxParts {
		return badPackage.because(fmt.Sprintf("a package has at most %d parts", maxParts))
	}
	_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if name, given := params["filename"]; err != nil || given && !plainName.MatchString(name) {
		return badPackage.because("the file name of a part is no plain name")
	}
	f.part = part
	return nil
}

// at says whether the next part has this name, and lets its content in.
func (f *form) at(name string, size int64) (bool, error) {
	if err := f.next(); err != nil || f.ended || f.part.FormName() != name {
		return false, err
	}
	f.body.allow(size + maxPartHeader)
	return true, nil
}

// content is that of the part that at found. It is read once, to its end.
func (f *form) content() io.Reader {
	part := f.part
	f.part = nil
	return part
}

// document reads the part of that name, which must be next, and small.
func (f *form) document(name string) ([]byte, error) {
	came, err := f.at(name, maxDocument+1)
	if err != nil {
		return nil, err
	}
	if !came {
		return nil, badPackage.because("the part " + name + " is missing, or out of order")
	}
	text, err := io.ReadAll(io.LimitReader(f.content(), maxDocument+1))
	if err != nil {
		return nil, contentProblem(err)
	}
	if len(text) > maxDocument {
		return nil, tooLarge.because("a " + name + " is at most 1 MiB")
	}
	return text, nil
}

// end refuses a part that nobody asked for: one that the manifest does not
// name, one that is there twice, or one that comes late.
func (f *form) end() error {
	if err := f.next(); err != nil {
		return err
	}
	f.body.rest()
	if !f.ended {
		return badPackage.because("a part that the manifest does not name, or names before another")
	}
	return nil
}

var errRation = errors.New("more than was let in")

// bodyBuffer is what is taken from the line at once: the reader of forms asks
// for four kilobytes at a time.
const bodyBuffer = 256 << 10

// A rationed body gives what it is allowed to, and gives up on a sender that
// stalls. What is in its buffer beyond that was not given to anybody.
type rationed struct {
	io.Closer
	src  *bufio.Reader
	line *http.ResponseController
	left int64
}

func rationing(src io.ReadCloser, line *http.ResponseController) *rationed {
	return &rationed{Closer: src, src: bufio.NewReaderSize(patient{src, line}, bodyBuffer), line: line}
}

// A patient reader waits so long for each read, and no longer.
type patient struct {
	src  io.Reader
	line *http.ResponseController
}

// Read implements io.Reader.
func (r patient) Read(p []byte) (int, error) {
	// A connection that knows no deadlines (a test's) is bounded by its server.
	_ = r.line.SetReadDeadline(time.Now().Add(readPatience))
	return r.src.Read(p)
}

func (r *rationed) allow(n int64) { r.left = n }

// Read implements io.Reader.
func (r *rationed) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, errRation
	}
	n, err := r.src.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if err != nil {
		r.rest()
	}
	return n, err
}

// rest ends the patience: what follows is our own work, and the connection is
// then given time for the answer.
func (r *rationed) rest() {
	_ = r.line.SetReadDeadline(time.Time{})
	_ = r.line.SetWriteDeadline(time.Now().Add(answerPatience))
}

// sound looks at what a file begins with, or all of it if it is a document,
// and returns the same content: weights are safetensors in canonical form of
// exactly the manifest's size, whatever a sender calls them (a pickle, an
// archive, HDF5 and GGUF begin otherwise), and documents are JSON.
func sound(f modelpack.File, content io.Reader) (io.Reader, error) {
	if f.Path != modelpack.WeightsFile {
		text, err := io.ReadAll(io.LimitReader(content, maxDocument+1))
		if err != nil {
			return nil, err
		}
		var any map[string]any
		if err := artifact.DecodeStrict(text, &any); err != nil {
			return nil, &Problem{Kind: badPackage, Detail: "the " + partName(f) + " is not a JSON object that every parser reads alike", Err: err}
		}
		return bytes.NewReader(text), nil
	}
	var head bytes.Buffer
	tensors, err := artifact.NewTensorReader(io.TeeReader(content, &head))
	if err != nil {
		return nil, &Problem{Kind: badPackage, Detail: "the weights are not safetensors in canonical form", Err: err}
	}
	if int64(head.Len())+tensors.DataBytes() != f.SizeBytes {
		return nil, badPackage.because("the weights have fewer or more bytes than their header says")
	}
	return io.MultiReader(&head, content), nil
}
