package compress

import (
	"encoding/binary"
	"errors"
	"io"
	"math"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// Half rounds to IEEE 754 binary16, to the nearest and to even. ok is false
// where the result would be an infinity, from 65520 on, and for NaN.
//
// Bound: |x - y| ≤ 2^-11·|x| from 2^-14 on, and ≤ 2^-25 below.
func Half(x float32) (h uint16, ok bool) {
	bits := math.Float32bits(x)
	sign, abs := uint16(bits>>16&0x8000), bits&0x7fffffff
	switch {
	case abs >= 0x477ff000: // 65520, halfway to 2^16
		return 0, false
	case abs < 0x38800000: // below 2^-14: steps of 2^-24, and adding 1/2 aligns them with those of an F32
		sum := math.Float32frombits(abs) + 0.5
		return sign | uint16(math.Float32bits(sum)-0x3f000000), true
	}
	abs += 0xfff + abs>>13&1 // half of what is cut, and one less where that rounds to odd
	return sign | uint16((abs-0x38000000)>>13), true
}

// encodeHalves writes an update as safetensors of 16 bits an element.
func (w Wire) encodeHalves(dst io.Writer, v Values, dtype artifact.DType, narrow func(float32) (uint16, bool)) error {
	out, err := artifact.NewTensorWriter(dst, infos(w.specs, dtype))
	if err != nil {
		return err
	}
	raw := make([]byte, 2*Chunk)
	err = w.each(v, func(values []float32) error {
		for i, x := range values {
			h, ok := narrow(x)
			if !ok {
				return ErrRange
			}
			binary.LittleEndian.PutUint16(raw[2*i:], h)
		}
		_, err := out.Write(raw[:2*len(values)])
		return err
	})
	if err != nil {
		return err
	}
	return out.Close()
}

// halves reads safetensors of 16 bits an element.
type halves struct {
	from *artifact.TensorReader
	wide []float64
	open bool
}

func (w Wire) decodeHalves(src io.Reader, dtype artifact.DType) (decoder, error) {
	from, err := artifact.NewTensorReader(src)
	if err != nil {
		return nil, err
	}
	want := make([]round.TensorSpec, len(w.specs))
	for i, t := range w.specs {
		want[i] = round.TensorSpec{Name: t.Name, DType: dtype, Shape: t.Shape}
	}
	if err := round.MatchTensors(want, from.Tensors()); err != nil {
		return nil, err
	}
	return &halves{from: from, wide: make([]float64, Chunk)}, nil
}

func (h *halves) next(dst []float32) error {
	for len(dst) > 0 {
		if !h.open {
			if _, err := h.from.Next(); err != nil {
				return err
			}
			h.open = true
		}
		n, err := h.from.Read(h.wide[:len(dst)])
		if errors.Is(err, io.EOF) {
			h.open = false
			continue
		}
		if err != nil {
			return err
		}
		for i, x := range h.wide[:n] {
			dst[i] = float32(x) // exact
		}
		dst = dst[n:]
	}
	return nil
}

func (h *halves) end() error {
	switch _, err := h.from.Next(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return artifact.ErrTail
}

func infos(specs []round.TensorSpec, dtype artifact.DType) []artifact.TensorInfo {
	out := make([]artifact.TensorInfo, len(specs))
	for i, t := range specs {
		out[i] = artifact.TensorInfo{Name: t.Name, DType: dtype, Shape: t.Shape}
	}
	return out
}
