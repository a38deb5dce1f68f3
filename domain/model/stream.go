package model

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// rowMemory bounds what [Stream] holds of rows and of what layers make of them.
const rowMemory = 32 << 20

// readMemory is how much of the weights is read at a time.
const readMemory = 1 << 20

// Stream gives the logits of every row, in order, to use, which does not keep
// them: those of [Pass.Logits], to the bit. The weights are safetensors of size
// bytes that need not be in memory: they are read once for as many rows as there
// is room for.
// Errors: those of [artifact.NewTensorReader] and of [Load]; [*RowError]; those
// of weights and of use as they are.
func Stream(spec round.ModelSpec, weights io.ReaderAt, size int64, rows [][]float64, use func(row int, logits []float64) error) error {
	r, err := artifact.NewTensorReader(io.NewSectionReader(weights, 0, size))
	if err != nil {
		return err
	}
	if err := round.MatchTensors(spec.Tensors(), r.Tensors()); err != nil {
		return err
	}
	s := stream{src: weights, at: map[string]artifact.TensorInfo{}, data: size - r.DataBytes(), raw: make([]byte, readMemory)}
	for _, t := range r.Tensors() {
		s.at[t.Name] = t
	}
	if s.mean, err = s.all(round.TensorMean); err != nil {
		return err
	}
	if s.scale, err = s.all(round.TensorScale); err != nil {
		return err
	}
	together := max(1, rowMemory/8/(spec.Inputs+spec.Hidden+spec.Classes))
	for first := 0; first < len(rows); first += together {
		part := rows[first:min(first+together, len(rows))]
		logits, err := s.forward(spec, part, first)
		if err != nil {
			return err
		}
		for i, z := range logits {
			if err := use(first+i, z); err != nil {
				return err
			}
		}
	}
	return nil
}

// A stream reads tensors where they lie.
type stream struct {
	src         io.ReaderAt
	at          map[string]artifact.TensorInfo
	data        int64 // where the tensors begin
	raw         []byte
	mean, scale []float64
}

// each gives the elements of a tensor to use, piece by piece.
func (s *stream) each(name string, use func(first int, values []float64)) error {
	t := s.at[name]
	src := bufio.NewReaderSize(io.NewSectionReader(s.src, s.data+t.Begin, t.End-t.Begin), len(s.raw))
	values := make([]float64, 4096)
	for first, left := 0, t.Elements(); left > 0; {
		n := min(left, len(values))
		raw := s.raw[:4*n]
		if _, err := io.ReadFull(src, raw); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = artifact.ErrTruncated
			}
			return err
		}
		for i := range n {
			v := float64(math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:])))
			switch {
			case math.IsNaN(v) || math.IsInf(v, 0):
				return &artifact.TensorError{Tensor: name, Err: round.ErrNotFinite}
			case name == round.TensorScale && v <= 0:
				return &artifact.TensorError{Tensor: name, Err: round.ErrScale}
			}
			values[i] = v
		}
		use(first, values[:n])
		first, left = first+n, left-n
	}
	return nil
}

// all reads a short tensor.
func (s *stream) all(name string) ([]float64, error) {
	t := s.at[name]
	out := make([]float64, t.Elements())
	return out, s.each(name, func(first int, values []float64) { copy(out[first:], values) })
}

// forward takes rows through the layers side by side.
func (s *stream) forward(spec round.ModelSpec, rows [][]float64, first int) ([][]float64, error) {
	x := make([][]float64, len(rows))
	for r, row := range rows {
		if len(row) != spec.Inputs {
			return nil, &RowError{Row: first + r, Err: ErrRowLength}
		}
		x[r] = make([]float64, len(row))
		for i, v := range row {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, &RowError{Row: first + r, Err: ErrRowValue}
			}
			x[r][i] = (v - s.mean[i]) / s.scale[i]
		}
	}
	forms := layers(spec)
	for l, layer := range forms {
		bias, err := s.all(layer.Name + ".bias")
		if err != nil {
			return nil, err
		}
		y := make([][]float64, len(rows))
		for r := range y {
			y[r] = append([]float64(nil), bias...)
		}
		err = s.each(layer.Name+".weight", func(at int, values []float64) {
			for len(values) > 0 { // the part of one input's weights that is here
				in, out := at/layer.Out, at%layer.Out
				n := min(len(values), layer.Out-out)
				for r := range y {
					v := x[r][in]
					if v == 0 {
						continue
					}
					sum := y[r][out : out+n]
					for o, w := range values[:n] {
						sum[o] += float64(v * w)
					}
				}
				at, values = at+n, values[n:]
			}
		})
		if err != nil {
			return nil, err
		}
		if l < len(forms)-1 {
			for r := range y {
				for o, v := range y[r] {
					y[r][o] = max(v, 0)
				}
			}
		}
		x = y
	}
	return x, nil
}
