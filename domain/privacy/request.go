package privacy

import (
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/round"
)

// Of returns what a round of that manifest asks of the features that it reads.
//
// Every round of a run without privacy is exact, and so are statistics. A last
// evaluation of a private run, which counts held-out rows and moves no weight,
// costs nothing here. Groups are disjoint sites, and a contributor is in one of
// them, so a round costs what its costliest group does; where no group is that
// at every order, all those are charged that may be.
//
// Errors: those of [payload.For], [payload.Form.Event] and [dp.RDP]: such a
// round cannot be accounted for, and so it cannot begin.
func Of(m round.Manifest, manifest artifact.Digest) (Request, error) {
	private := m.Params.Privacy.On()
	r := Request{Exact: !private || m.Kind == round.Statistics}
	for _, f := range m.Features {
		r.Features = append(r.Features, Feature{f.Tenant, f.Feature})
	}
	if r.Exact || m.Kind != round.Train {
		return r, nil
	}
	if !m.Secured {
		if m.Params.Privacy.Distributed() {
			return Request{}, fmt.Errorf("round %s/%d: %w", m.Run, m.Number, round.ErrNotSummed)
		}
		r.Events = []dp.Event{{Mechanism: dp.Gaussian, Count: 1, NoiseMultiplier: m.Params.Privacy.NoiseMultiplier, SampleRate: 1}}
		return r, r.Events[0].Validate()
	}
	for _, c := range m.Cohort {
		form, err := payload.For(m, manifest, c.Name())
		if err != nil {
			return Request{}, fmt.Errorf("group %s: %w", c.Name(), err)
		}
		event, costs, err := form.Event()
		if err != nil {
			return Request{}, fmt.Errorf("group %s: %w", c.Name(), err)
		}
		if !costs {
			continue
		}
		if r.Events, err = costliest(r.Events, event); err != nil {
			return Request{}, fmt.Errorf("group %s: %w", c.Name(), err)
		}
	}
	if len(r.Events) == 0 {
		return Request{}, fmt.Errorf("round %s/%d trains in private and costs nothing: %w", m.Run, m.Number, ErrLedgers)
	}
	return r, nil
}

// costliest adds an event to those of which none costs at most as much as
// another at every Rényi order.
func costliest(events []dp.Event, e dp.Event) ([]dp.Event, error) {
	orders := dp.Orders()
	added, err := dp.RDP([]dp.Event{e}, orders)
	if err != nil {
		return nil, err
	}
	var kept []dp.Event
	for _, other := range events {
		known, err := dp.RDP([]dp.Event{other}, orders)
		if err != nil {
			return nil, err
		}
		if atMost(added, known) {
			return events, nil
		}
		if !atMost(known, added) {
			kept = append(kept, other)
		}
	}
	return append(kept, e), nil
}

// atMost says whether a is at most b everywhere.
func atMost(a, b []float64) bool {
	for i := range a {
		if !(a[i] <= b[i]) {
			return false
		}
	}
	return true
}
