package aggregate

import (
	"errors"
	"io"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/kernel"
	"github.com/atom-fabric/fabric/domain/round"
)

// A sink writes tensors in F64, one stretch after the other, with memory for
// one stretch of a [lockstep].
type sink struct {
	out *artifact.TensorWriter
	sum []float64
	raw []byte
}

func newSink(dst io.Writer, want []round.TensorSpec) (*sink, error) {
	out, err := artifact.NewTensorWriter(dst, infos(wide(want)))
	return &sink{out: out, sum: make([]float64, mostChunk/4), raw: make([]byte, mostChunk/4*8)}, err
}

// values are where the next n elements are worked out; they hold what the last
// ones left.
func (s *sink) values(n int) []float64 { return s.sum[:n] }

func (s *sink) write(values []float64) error {
	raw := s.raw[:8*len(values)]
	kernel.PutLE64(raw, values)
	_, err := s.out.Write(raw)
	return err
}

// A begun sum is read beside the sources that are added to it.
type begun struct {
	r      *artifact.TensorReader
	tensor int // the one that is read, counted from 1
}

// openBefore reads the header of a sum, if there is one.
func openBefore(src io.Reader, want []round.TensorSpec) (*begun, error) {
	if src == nil {
		return &begun{}, nil
	}
	r, err := artifact.NewTensorReader(src)
	if err == nil {
		err = round.MatchTensors(wide(want), r.Tensors())
	}
	return &begun{r: r}, err
}

// read fills dst with the next elements of a tensor, zeros where nothing was
// begun.
func (b *begun) read(tensor int, dst []float64) error {
	if b.r == nil {
		clear(dst)
		return nil
	}
	if b.tensor == tensor {
		b.tensor++
		if _, err := b.r.Next(); err != nil {
			return err
		}
	}
	for len(dst) > 0 {
		n, err := b.r.Read(dst)
		if err != nil {
			return err
		}
		dst = dst[n:]
	}
	return nil
}

// end hears what the sum says at its end.
func (b *begun) end() error {
	if b.r == nil {
		return nil
	}
	if _, err := b.r.Next(); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
