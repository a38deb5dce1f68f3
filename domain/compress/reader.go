package compress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// Reader returns what [Wire.Encode] wrote as the update that it stands for: a
// reader of the bytes that [artifact.Tensors.Encode] gives, in F32. It reads as
// it is read, with memory for a few chunks, and src to its end, so that a reader
// that compares a digest is heard.
//
// Its errors say that src is no update of the round: [ErrForm],
// [round.ErrNotFinite], [artifact.ErrTruncated], [artifact.ErrTail] and what
// [artifact.NewTensorReader] names; a failure of src comes as it is.
func (w Wire) Reader(src io.Reader) io.Reader { return &reader{wire: w, src: src} }

type reader struct {
	wire   Wire
	src    io.Reader
	from   decoder
	out    bytes.Buffer // what is decoded and not read yet
	tensor int
	left   int // of the tensor
	values []float32
	err    error
}

func (r *reader) Read(p []byte) (int, error) {
	for r.out.Len() == 0 && r.err == nil {
		r.err = r.more()
	}
	if r.out.Len() == 0 {
		return 0, r.err
	}
	return r.out.Read(p)
}

// more decodes the header, a chunk, or the end.
func (r *reader) more() (err error) {
	if r.from == nil {
		infos := make([]artifact.TensorInfo, len(r.wire.specs))
		for i, t := range r.wire.specs {
			infos[i] = artifact.TensorInfo{Name: t.Name, DType: artifact.F32, Shape: t.Shape}
		}
		if r.from, err = r.wire.decoder(r.src); err != nil {
			return err
		}
		r.values, r.left = make([]float32, Chunk), size(r.wire.specs[0].Shape)
		_, err = artifact.NewTensorWriter(&r.out, infos)
		return err
	}
	for r.left == 0 {
		if r.tensor++; r.tensor == len(r.wire.specs) {
			if err := r.from.end(); err != nil {
				return err
			}
			return io.EOF
		}
		r.left = size(r.wire.specs[r.tensor].Shape)
	}
	values := r.values[:min(r.left, Chunk)]
	if err := r.from.next(values); err != nil {
		return err
	}
	raw := r.out.AvailableBuffer()
	for _, v := range values {
		if !finite(v) {
			return &artifact.TensorError{Tensor: r.wire.specs[r.tensor].Name, Err: round.ErrNotFinite}
		}
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	r.out.Write(raw)
	r.left -= len(values)
	return nil
}

// A header is what begins the forms that are no safetensors: their name in
// eight bytes, and how many elements the update has, in eight.
const headerBytes = 16

func putHeader(dst io.Writer, magic string, dim int) error {
	raw := binary.LittleEndian.AppendUint64([]byte(magic), uint64(dim))
	_, err := dst.Write(raw)
	return err
}

func checkHeader(src io.Reader, magic string, dim int) error {
	var raw [headerBytes]byte
	if err := full(src, raw[:]); err != nil {
		return err
	}
	if string(raw[:8]) != magic || binary.LittleEndian.Uint64(raw[8:]) != uint64(dim) {
		return ErrForm
	}
	return nil
}

// full fills p, or says that the data ends too early.
func full(src io.Reader, p []byte) error {
	_, err := io.ReadFull(src, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return artifact.ErrTruncated
	}
	return err
}

// ended reads the end of src, or says that the data goes on.
func ended(src io.Reader) error {
	var one [1]byte
	switch _, err := io.ReadFull(src, one[:]); {
	case err == nil:
		return artifact.ErrTail
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}
