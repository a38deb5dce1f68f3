package aggregate

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/kernel"
	"github.com/atom-fabric/fabric/domain/round"
)

// Sizes of a pass over many sources at once.
const (
	readers   = 16              // goroutines that read; a source belongs to one of them
	ahead     = 2               // chunks that each of them reads before they are asked for
	passBytes = 96 << 20        // of all chunks together
	mostChunk = 128 << 10       // bytes: stays in the cache from the digest to the sum
	chunkUnit = 8 * kernel.Span // bytes, and of what each chunk but a tensor's last is a multiple: sums of squares need it
)

// A lockstep reads sources of one shape side by side, a stretch of one tensor
// after another.
type lockstep struct {
	want    []round.TensorSpec
	readers []*artifact.TensorReader
	at      func(k int, err error) error // names the source at fault
}

// A chunk is a stretch of a tensor from one source, or why there is none.
type chunk struct {
	raw []byte
	err error
}

// open reads the headers and compares them.
func open(want []round.TensorSpec, sources []io.Reader, at func(k int, err error) error) (*lockstep, error) {
	for _, w := range want {
		if w.DType != artifact.F32 && w.DType != artifact.F64 {
			return nil, &artifact.TensorError{Tensor: w.Name, Err: artifact.ErrDType}
		}
	}
	l := &lockstep{want: want, at: at, readers: make([]*artifact.TensorReader, len(sources))}
	for k, src := range sources {
		r, err := artifact.NewTensorReader(src)
		if err != nil {
			return nil, at(k, err)
		}
		if err := round.MatchTensors(want, r.Tensors()); err != nil {
			return nil, at(k, fmt.Errorf("%w: %w", ErrShape, err))
		}
		l.readers[k] = r
	}
	return l, nil
}

// each gives the same stretch of a tensor to use, from group sources at a time
// beginning with the first-th, and one stretch after another, while the sources
// are read ahead. Memory is for group sources and a few chunks more, however
// many there are. It returns when nothing is read any more. When it returns
// nil, the sources have been read to their ends, and what they say there has
// been heard.
func (l *lockstep) each(group int, use func(tensor, first int, rows []kernel.Vector) error) error {
	workers, group := min(readers, len(l.readers)), min(group, len(l.readers))
	held := (group+workers-1)/workers + ahead // chunks of a worker: as many as a group has, and those ahead
	n := max(chunkUnit, min(mostChunk, passBytes/workers/held/chunkUnit*chunkUnit))
	free, full := make([]chan []byte, workers), make([]chan chunk, workers)
	stop := make(chan struct{})
	var reading sync.WaitGroup
	defer reading.Wait() // the caller may close the sources then
	defer close(stop)
	for w := range workers {
		free[w], full[w] = make(chan []byte, held), make(chan chunk, held)
		for range held {
			free[w] <- make([]byte, n)
		}
		reading.Go(func() { l.read(w, workers, n, free[w], full[w], stop) })
	}
	rows, raw := make([]kernel.Vector, group), make([][]byte, group)
	for tensor, spec := range l.want {
		for left := l.bytes(tensor); left > 0; left -= min(left, n) {
			for first := 0; first < len(l.readers); first += group {
				rows := rows[:min(group, len(l.readers)-first)]
				for i := range rows {
					c := <-full[(first+i)%workers]
					if c.err != nil {
						return l.at(first+i, c.err)
					}
					raw[i], rows[i] = c.raw, elements(spec.DType, c.raw)
				}
				if err := use(tensor, first, rows); err != nil {
					return err
				}
				for i := range rows {
					free[(first+i)%workers] <- raw[i] // never waits: there is a place for each chunk
				}
			}
		}
	}
	for k := range l.readers {
		if c := <-full[k%workers]; c.err != nil {
			return l.at(k, c.err)
		}
	}
	return nil
}

// bytes returns the size of a tensor.
func (l *lockstep) bytes(tensor int) int {
	return size(l.want[tensor].Shape) * int(l.want[tensor].DType.Size())
}

// read reads every step-th source from the w-th on, a chunk of at most n bytes
// of each in turn, until they end, one fails, or stop is closed.
func (l *lockstep) read(w, step, n int, free <-chan []byte, full chan<- chunk, stop <-chan struct{}) {
	send := func(c chunk) bool {
		select {
		case full <- c:
			return c.err == nil
		case <-stop:
			return false
		}
	}
	for tensor := range l.want {
		for at, end := 0, l.bytes(tensor); at < end; at += n {
			for k := w; k < len(l.readers); k += step {
				var raw []byte
				select {
				case raw = <-free:
				case <-stop:
					return
				}
				raw = raw[:min(n, end-at)]
				if !send(chunk{raw: raw, err: l.fill(k, at == 0, raw)}) {
					return
				}
			}
		}
	}
	for k := w; k < len(l.readers); k += step {
		_, err := l.readers[k].Next()
		if errors.Is(err, io.EOF) { // not more data, nor a digest that differs
			err = nil
		}
		if !send(chunk{err: err}) {
			return
		}
	}
}

// fill reads the next bytes of a source, of its next tensor if they begin one.
func (l *lockstep) fill(k int, begins bool, raw []byte) error {
	if begins {
		if _, err := l.readers[k].Next(); err != nil {
			return err
		}
	}
	_, err := l.readers[k].ReadRaw(raw)
	return err
}

// elements are the bytes as a vector.
func elements(dtype artifact.DType, raw []byte) kernel.Vector {
	if dtype == artifact.F64 {
		return kernel.LE64(raw)
	}
	return kernel.LE32(raw)
}
