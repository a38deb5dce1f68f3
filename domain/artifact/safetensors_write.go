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
	written, err := writeHeader(w, infos)
	if err != nil {
		return written, err
	}
	chunk := make([]byte, 64<<10)
	for _, tensor := range tensors {
		size := int(tensor.DType.Size())
		for i := 0; i < tensor.Len(); {
			n := min(tensor.Len()-i, len(chunk)/size)
			if tensor.DType == F64 {
				for j, v := range tensor.F64[i : i+n] {
					binary.LittleEndian.PutUint64(chunk[8*j:], math.Float64bits(v))
				}
			} else {
				for j, v := range tensor.F32[i : i+n] {
					binary.LittleEndian.PutUint32(chunk[4*j:], math.Float32bits(v))
				}
			}
			i += n
			sent, err := w.Write(chunk[:n*size])
			if written += int64(sent); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// writeHeader writes the prefix and the header.
func writeHeader(w io.Writer, infos []TensorInfo) (int64, error) {
	head := appendHeader(make([]byte, 8), infos)
	if len(head)-8 > MaxHeaderBytes {
		return 0, fmt.Errorf("header of %d bytes: %w", len(head)-8, ErrTooLarge)
	}
	binary.LittleEndian.PutUint64(head, uint64(len(head)-8))
	n, err := w.Write(head)
	return int64(n), err
}

// layout gives sorted tensors their places.
func (t Tensors) layout() ([]TensorInfo, error) {
	infos := make([]TensorInfo, len(t))
	for i, tensor := range t {
		if tensor.DType != F32 && tensor.DType != F64 {
			return nil, &TensorError{tensor.Name, ErrDType}
		}
		infos[i] = TensorInfo{Name: tensor.Name, DType: tensor.DType, Shape: tensor.Shape}
	}
	if err := place(infos); err != nil {
		return nil, err
	}
	for i, tensor := range t {
		if infos[i].Elements() != tensor.Len() {
			return nil, &TensorError{tensor.Name, ErrShape}
		}
	}
	return infos, nil
}

// place sets where each tensor begins and ends, from their shapes.
func place(infos []TensorInfo) error {
	if len(infos) == 0 || len(infos) > MaxTensors {
		return fmt.Errorf("%d tensors: %w", len(infos), ErrTooLarge)
	}
	var end int64
	for i := range infos {
		t := &infos[i]
		fail := func(why error) error { return &TensorError{t.Name, why} }
		if err := checkName(t.Name); err != nil {
			return fail(err)
		}
		if i > 0 && infos[i-1].Name >= t.Name {
			return fail(ErrTensorOrder)
		}
		size := t.DType.Size()
		if size == 0 {
			return fail(ErrDType)
		}
		n, err := elements(t.Shape, size)
		if err != nil {
			return fail(err)
		}
		t.Begin, t.End = end, end+n*size
		end = t.End
	}
	return nil
}
