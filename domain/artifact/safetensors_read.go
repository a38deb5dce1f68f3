package artifact

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// A TensorReader reads a model tensor by tensor with memory for its header and
// one chunk, whatever the size of the model.
type TensorReader struct {
	src   io.Reader
	infos []TensorInfo
	next  int   // index of the tensor that Next returns
	left  int64 // bytes of the current tensor not yet read
	dtype DType
	chunk []byte
}

// NewTensorReader reads and checks the header. It reads no further, so that a
// caller can compare names and shapes before it takes any data.
//
// Errors: [ErrHeaderLength], [ErrHeader], [ErrTruncated], [ErrTooLarge], and
// [*TensorError] with [ErrTensorName], [ErrTensorOrder], [ErrDType], [ErrShape]
// or [ErrLayout]; a failure of src as it is.
func NewTensorReader(src io.Reader) (*TensorReader, error) {
	var prefix [8]byte
	if _, err := io.ReadFull(src, prefix[:]); err != nil {
		return nil, short(err)
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	if n < 8 || n > MaxHeaderBytes || n%8 != 0 {
		return nil, ErrHeaderLength
	}
	var header bytes.Buffer // grows with what arrives, not with what is claimed
	if _, err := io.CopyN(&header, src, int64(n)); err != nil {
		return nil, short(err)
	}
	infos, err := parseHeader(header.Bytes())
	if err != nil {
		return nil, err
	}
	return &TensorReader{src: src, infos: infos}, nil
}

// Tensors returns what the header says, by ascending name.
func (r *TensorReader) Tensors() []TensorInfo { return r.infos }

// DataBytes returns the size of the data after the header.
func (r *TensorReader) DataBytes() int64 { return r.infos[len(r.infos)-1].End }

// Next goes to the next tensor and passes over what was not read of the last.
// After the last tensor it returns [io.EOF] if the data ends there, and
// [ErrTail] if it does not.
func (r *TensorReader) Next() (TensorInfo, error) {
	if r.left > 0 {
		if _, err := io.CopyN(io.Discard, r.src, r.left); err != nil {
			return TensorInfo{}, short(err)
		}
		r.left = 0
	}
	if r.next == len(r.infos) {
		var one [1]byte
		switch _, err := io.ReadFull(r.src, one[:]); {
		case err == nil:
			return TensorInfo{}, ErrTail
		default:
			return TensorInfo{}, err // io.EOF, or what src reports (a digest that differs)
		}
	}
	info := r.infos[r.next]
	r.next++
	r.left, r.dtype = info.End-info.Begin, info.DType
	return info, nil
}

// Read fills dst with the next elements of the current tensor, every type
// widened exactly to float64, and returns [io.EOF] when none is left.
func (r *TensorReader) Read(dst []float64) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	size := int(r.dtype.Size())
	n := min(len(dst), int(r.left/int64(size)), 8<<10)
	raw, err := r.take(n * size)
	if err != nil {
		return 0, err
	}
	dst = dst[:n]
	switch r.dtype { // outside of the loops: they are most of the time
	case F64:
		for i := range dst {
			dst[i] = math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:]))
		}
	case F32:
		for i := range dst {
			dst[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:])))
		}
	case BF16:
		for i := range dst {
			dst[i] = float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw[2*i:])) << 16))
		}
	case F16:
		for i := range dst {
			dst[i] = half(binary.LittleEndian.Uint16(raw[2*i:]))
		}
	}
	return n, nil
}

// ReadRaw fills dst with the next elements of the current tensor as they are
// in the file, little-endian, and returns how many bytes that is: as many
// whole elements as dst holds, or as are left. It returns [io.EOF] when none
// is left.
func (r *TensorReader) ReadRaw(dst []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(dst))/r.dtype.Size()*r.dtype.Size(), r.left))
	if _, err := io.ReadFull(r.src, dst[:n]); err != nil {
		return 0, short(err)
	}
	r.left -= int64(n)
	return n, nil
}

// take reads n bytes into the reused chunk.
func (r *TensorReader) take(n int) ([]byte, error) {
	if cap(r.chunk) < n {
		r.chunk = make([]byte, n)
	}
	raw := r.chunk[:n]
	if _, err := io.ReadFull(r.src, raw); err != nil {
		return nil, short(err)
	}
	r.left -= int64(n)
	return raw, nil
}

// half widens an IEEE 754 binary16.
func half(bits uint16) float64 {
	fraction, exponent := float64(bits&0x3ff), int(bits>>10&0x1f)
	var v float64
	switch exponent {
	case 0:
		v = math.Ldexp(fraction, -24)
	case 0x1f:
		v = math.Inf(1)
		if fraction != 0 {
			v = math.NaN()
		}
	default:
		v = math.Ldexp(fraction+1024, exponent-25)
	}
	return math.Copysign(v, 1-2*float64(bits>>15))
}

// short tells an early end from a failing source.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return err
}

// ReadTensors reads a whole model of F32 and F64 tensors, of at most maxBytes
// of data. Memory grows with what arrives. Errors: those of
// [NewTensorReader], [ErrTooLarge], [ErrTail], and [ErrDType] for F16, BF16.
func ReadTensors(src io.Reader, maxBytes int64) (Tensors, error) {
	r, err := NewTensorReader(src)
	if err != nil {
		return nil, err
	}
	if r.DataBytes() > maxBytes {
		return nil, fmt.Errorf("%d bytes of data: %w", r.DataBytes(), ErrTooLarge)
	}
	out := make(Tensors, 0, len(r.infos))
	for {
		info, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		tensor, err := r.whole(info)
		if err != nil {
			return nil, &TensorError{info.Name, err}
		}
		out = append(out, tensor)
	}
}

// ParseTensors reads a model that is in memory already.
func ParseTensors(content []byte) (Tensors, error) {
	return ReadTensors(bytes.NewReader(content), int64(len(content)))
}

// whole reads all of the current tensor.
func (r *TensorReader) whole(info TensorInfo) (Tensor, error) {
	t := Tensor{Name: info.Name, DType: info.DType, Shape: info.Shape}
	size := int(info.DType.Size())
	if info.DType != F32 && info.DType != F64 {
		return t, ErrDType
	}
	for r.left > 0 {
		raw, err := r.take(int(min(r.left, 64<<10)))
		if err != nil {
			return t, err
		}
		n := len(raw) / size
		if info.DType == F64 {
			t.F64 = slices.Grow(t.F64, n) // with what arrives, not with what is claimed
			for i := range n {
				t.F64 = append(t.F64, math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:])))
			}
			continue
		}
		t.F32 = slices.Grow(t.F32, n)
		for i := range n {
			t.F32 = append(t.F32, math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:])))
		}
	}
	return t, nil
}
