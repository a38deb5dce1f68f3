package aggregate

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/kernel"
	"github.com/atom-fabric/fabric/domain/round"
)

// An Open opens safetensors that are not in memory, from the start. It is
// called again when they are read again. A reader that compares what it reads
// with a digest is heard at its end.
type Open func() (io.ReadCloser, error)

// StepSources are a [StepInput] that is not in memory.
type StepSources struct {
	Base, Mean    Open // as in StepInput; the mean in F64
	State         Open // nil before the first step
	Answered, All int64
}

// StepWeights writes the weights that [Step] returns, to the byte, with memory
// for a stretch of them. Errors: those of [Step]; of [artifact.NewTensorReader];
// those of the sources and of dst as they are. After an error what was written
// is worth nothing.
func StepWeights(dst io.Writer, spec round.ModelSpec, s round.Strategy, in StepSources) (err error) {
	if s, err = s.Validate(); err != nil {
		return err
	}
	t := tape{spec: spec, s: s, in: in}
	defer t.close(&err)
	base := t.open(in.Base, spec.Tensors(), round.ErrTensors)
	mean := t.open(in.Mean, wide(s.Update(spec, round.Train)), ErrShape)
	first, second := t.moment(round.TensorFirst), t.moment(round.TensorSecond)
	out, err := t.writer(dst, spec.Tensors())
	if err != nil {
		return err
	}
	trained := spec.Trainable()
	move := equationOf(s)
	var w, d, m, v [stretch]float64
	var narrow [stretch]float32
	var raw [4 * stretch]byte
	for _, tensor := range spec.Tensors() {
		moves := slices.ContainsFunc(trained, func(u round.TensorSpec) bool { return u.Name == tensor.Name })
		base.to(tensor.Name)
		if moves {
			mean.to(tensor.Name)
			first.to(round.TensorFirst + tensor.Name)
			second.to(round.TensorSecond + tensor.Name)
		}
		for left := size(tensor.Shape); left > 0 && t.err == nil; left -= min(left, stretch) {
			n := min(left, stretch)
			base.read(w[:n])
			if moves {
				mean.read(d[:n])
				first.read(m[:n])
				second.read(v[:n])
				move(s, d[:n], cut(m[:], 0, n), cut(v[:], 0, n))
				for j := range n {
					narrow[j] = float32(w[j] + d[j])
				}
			} else {
				for j := range n {
					narrow[j] = float32(w[j]) // it was one
				}
			}
			if !kernel.PutLE32(raw[:], narrow[:n]) {
				t.fail(&artifact.TensorError{Tensor: tensor.Name, Err: round.ErrNotFinite})
			}
			t.write(out, raw[:4*n])
		}
	}
	return t.end(out)
}

// StepState writes the state that [Step] returns, to the byte, with memory for
// a stretch of it. The mean is opened once for each moment. A strategy that
// carries nothing is refused with [ErrState]; the other errors are those of
// [StepWeights].
func StepState(dst io.Writer, spec round.ModelSpec, s round.Strategy, in StepSources) (err error) {
	if s, err = s.Validate(); err != nil {
		return err
	}
	want := s.State(spec)
	if len(want) == 0 {
		return ErrState
	}
	share := 0.0
	if s.Name == round.Scaffold {
		if share, err = answered(in.Answered, in.All); err != nil {
			return err
		}
	}
	t := tape{spec: spec, s: s, in: in}
	defer t.close(&err)
	out, err := t.writer(dst, want)
	if err != nil {
		return err
	}
	move := equationOf(s)
	var d, x, other [stretch]float64
	var raw [8 * stretch]byte
	for _, prefix := range []string{round.TensorControl, round.TensorFirst, round.TensorSecond} {
		if !t.carries(prefix) {
			continue
		}
		mean := t.open(in.Mean, wide(s.Update(spec, round.Train)), ErrShape)
		state := t.moment(prefix)
		for _, tensor := range spec.Trainable() {
			state.to(prefix + tensor.Name)
			if prefix == round.TensorControl {
				mean.to(prefix + tensor.Name)
			} else {
				mean.to(tensor.Name)
			}
			for left := size(tensor.Shape); left > 0 && t.err == nil; left -= min(left, stretch) {
				n := min(left, stretch)
				mean.read(d[:n])
				state.read(x[:n])
				switch prefix { // a moment does not depend on the other
				case round.TensorControl:
					scaffold(share, d[:n], x[:n])
				case round.TensorFirst:
					move(s, d[:n], x[:n], other[:n])
				case round.TensorSecond:
					move(s, d[:n], other[:n], x[:n])
				}
				if !kernel.PutLE64(raw[:], x[:n]) {
					t.fail(&artifact.TensorError{Tensor: prefix + tensor.Name, Err: round.ErrNotFinite})
				}
				t.write(out, raw[:8*n])
			}
		}
	}
	return t.end(out)
}

// buffered is how many bytes are read and written at a time.
const buffered = 128 << 10

// A tape is a pass over several sources. It remembers the first error; after
// it nothing moves any more.
type tape struct {
	spec round.ModelSpec
	s    round.Strategy
	in   StepSources
	all  []*cursor
	dst  *bufio.Writer
	err  error
}

// A cursor is where a source is being read. Where there is none, it reads the
// same value everywhere.
type cursor struct {
	t     *tape
	src   io.Closer
	r     *artifact.TensorReader
	value float64
}

func (t *tape) fail(err error) {
	if t.err == nil {
		t.err = err
	}
}

// open reads a header and compares it; why is the reason if it differs.
func (t *tape) open(open Open, want []round.TensorSpec, why error) *cursor {
	c := &cursor{t: t}
	if t.err != nil {
		return c
	}
	src, err := open()
	if err != nil {
		t.fail(err)
		return c
	}
	c.src = src
	t.all = append(t.all, c)
	if c.r, err = artifact.NewTensorReader(bufio.NewReaderSize(src, buffered)); err != nil {
		t.fail(err)
		return c
	}
	if err := round.MatchTensors(want, c.r.Tensors()); err != nil {
		t.fail(fmt.Errorf("%w: %w", why, err))
	}
	return c
}

// carries says whether the state has tensors of that prefix.
func (t *tape) carries(prefix string) bool {
	return slices.ContainsFunc(t.s.State(t.spec), func(u round.TensorSpec) bool { return u.Name[:min(len(prefix), len(u.Name))] == prefix })
}

// moment opens the state to read the tensors of that prefix.
func (t *tape) moment(prefix string) *cursor {
	if t.in.State == nil || !t.carries(prefix) {
		return &cursor{t: t, value: begin(t.s, prefix)}
	}
	return t.open(t.in.State, t.s.State(t.spec), ErrState)
}

// to goes to the tensor of that name, which comes later.
func (c *cursor) to(name string) {
	for c.r != nil && c.t.err == nil {
		switch info, err := c.r.Next(); {
		case err != nil:
			c.t.fail(err)
		case info.Name == name:
			return
		}
	}
}

// read fills dst with the next elements.
func (c *cursor) read(dst []float64) {
	if c.r == nil {
		for j := range dst {
			dst[j] = c.value
		}
		return
	}
	for len(dst) > 0 && c.t.err == nil {
		n, err := c.r.Read(dst)
		if err != nil {
			c.t.fail(err)
			return
		}
		dst = dst[n:]
	}
}

func (t *tape) writer(dst io.Writer, want []round.TensorSpec) (*artifact.TensorWriter, error) {
	if t.err != nil {
		return nil, t.err
	}
	t.dst = bufio.NewWriterSize(dst, buffered)
	return artifact.NewTensorWriter(t.dst, infos(want))
}

func (t *tape) write(out *artifact.TensorWriter, raw []byte) {
	if t.err == nil {
		_, err := out.Write(raw)
		t.fail(err)
	}
}

// end reads every source to its end, to hear what it says there.
func (t *tape) end(out *artifact.TensorWriter) error {
	for _, c := range t.all {
		for t.err == nil {
			if _, err := c.r.Next(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.fail(err)
			}
		}
	}
	if t.err == nil {
		t.fail(out.Close())
	}
	if t.err == nil {
		t.fail(t.dst.Flush())
	}
	return t.err
}

// close closes what was opened, and reports what failed if nothing else did.
func (t *tape) close(err *error) {
	for _, c := range t.all {
		if e := c.src.Close(); e != nil && *err == nil {
			*err = e
		}
	}
	if *err == nil {
		*err = t.err
	}
}
