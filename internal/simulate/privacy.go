package simulate

import (
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/round"
)

// A ledger charges what rounds tell. The groups of a round have no site in
// common, so a round costs what its dearest group costs; rounds add up. Who
// was drawn into a round is known to who asks, so nothing is taken off for it.
type ledger struct {
	groups []dp.Event // of the round that is open, each once
	events []dp.Event // of all rounds, equal ones counted
}

// release adds the sum of a group to the open round.
func (l *ledger) release(e dp.Event) {
	for _, g := range l.groups {
		if g == e {
			return
		}
	}
	l.groups = append(l.groups, e)
}

// close ends the round and returns what has been spent so far, 0 without
// privacy.
func (l *ledger) close(p round.Privacy) (float64, error) {
	if !p.On() {
		return 0, nil
	}
	var dearest *dp.Event
	cost := 0.0
	for i, e := range l.groups {
		charge, err := dp.Epsilon([]dp.Event{e}, p.Delta)
		if err != nil {
			return 0, err
		}
		if dearest == nil || charge.Epsilon > cost {
			dearest, cost = &l.groups[i], charge.Epsilon
		}
	}
	if dearest != nil {
		l.count(*dearest)
	}
	l.groups = nil
	charge, err := dp.Epsilon(l.events, p.Delta)
	return charge.Epsilon, err
}

// count adds one answer of a kind.
func (l *ledger) count(e dp.Event) {
	for i, seen := range l.events {
		one := seen
		one.Count = e.Count
		if one == e {
			l.events[i].Count += e.Count
			return
		}
	}
	l.events = append(l.events, e)
}

// normalise makes public bounds the columns' normalisation, as a run's plan
// does.
func normalise(weights artifact.Tensors, bounds [][2]float64) {
	mean, _ := weights.Get(round.TensorMean)
	scale, _ := weights.Get(round.TensorScale)
	for c, b := range bounds {
		m, s := round.Centre(b)
		mean.F32[c], scale.F32[c] = float32(m), float32(s)
	}
}
