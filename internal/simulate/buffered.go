package simulate

import (
	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// A pending is an update that a site is working on, or that it has, and that no
// sum has taken.
type pending struct {
	from  int     // train round whose weights it starts from
	ready float64 // on the clock of the simulation
}

// due returns how many seconds after a round was begun a site answers, and from
// which round's weights. In a buffered run a site that was busy goes on with
// what it does; if that is too old by the time, it begins anew then.
func (s *simulation) due(o order, v *virtual, c conduct) (seconds float64, from int) {
	if v.pending == nil || !o.Params.Buffers(o.Kind) {
		return c.work, o.Number
	}
	busy := max(0, v.pending.ready-s.clock)
	if _, ok := o.Staleness(v.pending.from); !ok {
		return busy + c.work, o.Number
	}
	return busy, v.pending.from
}

// settled notes who goes on with what. Those whose update is in the sum begin
// anew, and so do those who left.
func (s *simulation) settled(o order, v *virtual, at float64, from int, summed bool) {
	if !o.Params.Buffers(o.Kind) {
		return
	}
	v.pending = nil
	if !summed && at < never() {
		v.pending = &pending{from: from, ready: s.clock + at}
	}
}

// start returns the weights that a round's updates start from.
func (s *simulation) start(number int) artifact.Tensors {
	if weights, ok := s.starts[number]; ok {
		return weights
	}
	return s.weights
}

// remember keeps the weights that a round starts from for those who are late,
// and forgets those that are too old for anybody.
func (s *simulation) remember(m round.Manifest) {
	if !m.Params.Buffers(m.Kind) {
		return
	}
	if s.starts == nil {
		s.starts = map[int]artifact.Tensors{}
	}
	s.starts[m.Number] = s.weights
	delete(s.starts, m.Number-m.Params.Strategy.MaxStaleness-1)
	s.before = m
}

// weigh is what a plain update is multiplied by, as a region's worker has it.
func weigh(o order, from int, rows int) int64 {
	if !o.Params.Buffers(o.Kind) {
		return int64(rows)
	}
	tau, _ := o.Staleness(from)
	return round.StaleWeight(tau)
}

// perUpdate makes the mean of a buffered round one over updates. Each weighs so
// many units in the sum.
func perUpdate(o order, partial *aggregate.Partial, updates int, unit int64) {
	if o.Params.Buffers(o.Kind) {
		partial.Examples = unit * int64(updates)
	}
}
