package aggregate

import (
	"io"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/kernel"
	"github.com/atom-fabric/fabric/domain/round"
)

// A VectorSource is a vector for [MergeRobust] that is not in memory.
type VectorSource struct {
	Tenant string
	Site   string
	Open   Open
}

// MergeRobust combines vectors as [Robust] does, to the same bits, and writes
// the result to dst as safetensors. It reads the vectors side by side, twice
// if the rule needs distances or norms, with the memory of [Merge] and n² sums
// for the distances. It returns the names that a rule selected.
//
// Want has the tensors and types of the vectors, F32 or F64.
// Order:  sources come by strictly ascending (tenant, site).
// Errors: those of [Robust], [*UpdateError] also for [ErrOrder] and whatever a
// source returns; a failure of dst as it is. After an error what was written
// is worth nothing.
func MergeRobust(dst io.Writer, want []round.TensorSpec, s round.Strategy, sources []VectorSource) ([]string, error) {
	s, err := s.Validate()
	if err != nil {
		return nil, err
	}
	if len(sources) == 0 {
		return nil, ErrNoUpdates
	}
	sites := make([]Update, len(sources))
	for k, v := range sources {
		sites[k] = Update{Tenant: v.Tenant, Site: v.Site}
	}
	if err := admits(s, sites); err != nil {
		return nil, err
	}
	pass := robustPass{want: want, sources: sources, sites: sites, loops: kernel.Best()}
	m := measuring(s, len(sources), pass.loops)
	if m.total != nil {
		last := 0
		err := pass.read(nil, func(tensor int, rows []kernel.Vector) error {
			if tensor != last {
				m.next()
				last = tensor
			}
			m.add(rows)
			return nil
		})
		if err != nil {
			return nil, err
		}
		m.next()
	}
	p := choose(s, m)
	return p.kept(sites), pass.write(dst, p)
}

// A robustPass reads vectors, as often as it takes.
type robustPass struct {
	want    []round.TensorSpec
	sources []VectorSource
	sites   []Update
	loops   kernel.Set
}

// read gives the vectors at places, nil for all, to use, piece by piece.
func (r robustPass) read(places []int, use func(tensor int, rows []kernel.Vector) error) (err error) {
	if places == nil {
		for k := range r.sources {
			places = append(places, k)
		}
	}
	at := func(i int, err error) error { return r.sites[places[i]].fail(err) }
	var readers []io.Reader
	var opened []io.Closer
	defer func() {
		for i, c := range opened {
			if e := c.Close(); e != nil && err == nil {
				err = at(i, e)
			}
		}
	}()
	for i, k := range places {
		src, err := r.sources[k].Open()
		if err != nil {
			return at(i, err)
		}
		readers, opened = append(readers, src), append(opened, src)
	}
	l, err := open(r.want, readers, at)
	if err != nil {
		return err
	}
	return l.each(len(readers), func(tensor, _ int, rows []kernel.Vector) error {
		// A median hides what is not finite, so every vector is looked at.
		for i, v := range rows {
			if !kernel.Finite(v) {
				return at(i, &artifact.TensorError{Tensor: r.want[tensor].Name, Err: round.ErrNotFinite})
			}
		}
		return use(tensor, rows)
	})
}

// write carries out the plan.
func (r robustPass) write(dst io.Writer, p plan) error {
	out, err := newSink(dst, r.want)
	if err != nil {
		return err
	}
	err = r.read(p.places, func(_ int, rows []kernel.Vector) error {
		sum := out.values(rows[0].Len())
		clear(sum)
		p.combine(sum, rows, r.loops)
		return out.write(sum)
	})
	if err != nil {
		return err
	}
	return out.out.Close()
}
