package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
)

// A content is what a site sends: bytes that are in memory or on disk, and can
// be read in any place, again and again.
type content struct {
	artifact.Descriptor
	io.ReaderAt
	close func() error // nil when there is nothing to close
}

// bytesOf is content in memory.
func bytesOf(mediaType string, text []byte) *content {
	return &content{Descriptor: artifact.Describe(mediaType, text), ReaderAt: bytes.NewReader(text)}
}

// encoded is the content of tensors.
func encoded(tensors artifact.Tensors) (*content, error) {
	text, err := tensors.Encode()
	if err != nil {
		return nil, fmt.Errorf("update: %w", err)
	}
	return bytesOf(artifact.MediaTypeWeights, text), nil
}

// reader reads it from its start.
func (c *content) reader() io.Reader { return io.NewSectionReader(c, 0, c.SizeBytes) }

// Close may be called on no content at all.
func (c *content) Close() error {
	if c == nil || c.close == nil {
		return nil
	}
	return c.close()
}

// digestOf reads so many bytes to their end.
func digestOf(src io.ReaderAt, size int64) (artifact.Digest, error) {
	hash := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{hash}, struct{ io.Reader }{io.NewSectionReader(src, 0, size)}, make([]byte, copied))
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	return artifact.Summed(hash), err
}

// copied is how much of a content is in memory when it is read from its start
// to its end: whole elements of any kind.
const copied = 1 << 20

// A coordinates reads the values of an update's tensors, all of them F32 and
// end to end, as one vector. It is a [payload.Values].
type coordinates struct {
	src    io.ReaderAt
	begin  int64 // of the first value
	len    int
	factor float64 // by which a clipped update is shorter
	raw    []byte
}

// coordinatesOf reads the header of an update.
func coordinatesOf(src io.ReaderAt, size int64) (*coordinates, error) {
	r, err := artifact.NewTensorReader(io.NewSectionReader(src, 0, size))
	if err != nil {
		return nil, err
	}
	for _, t := range r.Tensors() {
		if t.DType != artifact.F32 {
			return nil, &artifact.TensorError{Tensor: t.Name, Err: artifact.ErrDType}
		}
	}
	return &coordinates{src: src, begin: size - r.DataBytes(), len: int(r.DataBytes() / 4), factor: 1}, nil
}

// At implements [payload.Values].
func (c *coordinates) At(dst []float32, first int) error {
	for len(dst) > 0 {
		part := dst[:min(len(dst), copied/4)]
		if cap(c.raw) < 4*len(part) {
			c.raw = make([]byte, 4*len(part))
		}
		raw := c.raw[:4*len(part)]
		if n, err := c.src.ReadAt(raw, c.begin+4*int64(first)); n < len(raw) {
			return fmt.Errorf("update: %w", errors.Join(err, artifact.ErrTruncated))
		}
		for i := range part {
			part[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
		if c.factor != 1 {
			for i, x := range part {
				part[i] = float32(float64(x) * c.factor)
			}
		}
		dst, first = dst[len(part):], first+len(part)
	}
	return nil
}

// clip bounds the vector as [dp.Clip] does, to the same bits, and returns the
// norm that it had. It reads all of it once.
func (c *coordinates) clip(bound float64) (norm float64, err error) {
	var sum dp.Squares
	values := make([]float32, min(c.len, copied/4))
	defer clear(values)
	for first := 0; first < c.len; {
		part := values[:min(c.len-first, len(values))]
		if err := c.At(part, first); err != nil {
			return 0, err
		}
		sum.Add(part)
		first += len(part)
	}
	if norm, err = sum.Norm(); err != nil {
		return 0, err
	}
	c.factor, err = dp.ClipFactor(bound, norm)
	return norm, err
}

// erase forgets what was read last, which is not masked.
func (c *coordinates) erase() { clear(c.raw) }
