package artifact

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Encode returns the one byte string that these tensors have. The bits of
// every element are kept, NaN included. Errors: [*TensorError] with
// [ErrTensorName], [ErrTensorOrder] (a name twice), [ErrDType] or [ErrShape]
// (also when the slice is not as long as the shape says).
func (t Tensors) Encode() ([]byte, error) {
	var buf bytes.Buffer
	if _, err := t.WriteTo(&buf); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// WriteTo writes the same bytes piece by piece. Nothing is written of tensors
// that do not encode.
func (t Tensors) WriteTo(w io.Writer) (int64, error) {
	tensors := t.sorted()
	infos, err := tensors.layout()
	if err != nil {
		return 0, err
	}
	head := appendHeader(nil, infos)
	if len(head) > MaxHeaderBytes {
		return 0, fmt.Errorf("header of %d bytes: %w", len(head), ErrTooLarge)
	}
	var prefix [8]byte
	binary.LittleEndian.PutUint64(prefix[:], uint64(len(head)))
	var written int64
	for _, piece := range [][]byte{prefix[:], head} {
		n, err := w.Write(piece)
		if written += int64(n); err != nil {
			return written, err
		}
	}
	chunk := make([]byte, 0, 64<<10)
	for _, tensor := range tensors {
		for i := 0; i < tensor.Len(); {
			chunk = chunk[:0]
			for ; i < tensor.Len() && len(chunk)+8 <= cap(chunk); i++ {
				if tensor.DType == F64 {
					chunk = binary.LittleEndian.AppendUint64(chunk, math.Float64bits(tensor.F64[i]))
				} else {
					chunk = binary.LittleEndian.AppendUint32(chunk, math.Float32bits(tensor.F32[i]))
				}
			}
			n, err := w.Write(chunk)
			if written += int64(n); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// layout gives sorted tensors their places.
func (t Tensors) layout() ([]TensorInfo, error) {
	if len(t) == 0 || len(t) > MaxTensors {
		return nil, fmt.Errorf("%d tensors: %w", len(t), ErrTooLarge)
	}
	infos := make([]TensorInfo, len(t))
	var end int64
	for i, tensor := range t {
		fail := func(why error) error { return &TensorError{tensor.Name, why} }
		if err := checkName(tensor.Name); err != nil {
			return nil, fail(err)
		}
		if i > 0 && t[i-1].Name == tensor.Name {
			return nil, fail(ErrTensorOrder)
		}
		if tensor.DType != F32 && tensor.DType != F64 {
			return nil, fail(ErrDType)
		}
		size := tensor.DType.Size()
		n, err := elements(tensor.Shape, size)
		if err != nil {
			return nil, fail(err)
		}
		if n != int64(tensor.Len()) {
			return nil, fail(ErrShape)
		}
		infos[i] = TensorInfo{Name: tensor.Name, DType: tensor.DType, Shape: tensor.Shape, Begin: end, End: end + n*size}
		end = infos[i].End
	}
	return infos, nil
}
