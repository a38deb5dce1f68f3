package activitytest

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/recovery"
)

var (
	_ activities.Replicas = (*World)(nil)
	_ activities.Points   = (*World)(nil)
	_ activities.Heads    = (*World)(nil)
)

// A TakenPoint is a recovery point that was recorded.
type TakenPoint struct {
	Row    activities.PointRow
	Action string
}

func copyKey(tenant, model string, version int) string {
	return fmt.Sprintf("%s/%s/%d", tenant, model, version)
}

// Replicas returns what each region holds of a version. As long as a test sets
// no Copies, every region of the newest snapshot holds everything.
func (w *World) Replicas(_ context.Context, tenant, model string, version int) ([]activities.Replica, error) {
	var out []activities.Replica
	err := w.call(func() error {
		i := slices.IndexFunc(w.Models, func(m Model) bool { return m.Tenant == tenant && m.Model == model && m.Version.Number == version })
		if w.Copies != nil {
			out = slices.Clone(w.Copies[copyKey(tenant, model, version)])
			return nil
		}
		if len(w.History) == 0 {
			return nil
		}
		for _, r := range w.History[len(w.History)-1].Regions {
			held := activities.Replica{Region: r.Name, State: contract.ReplicaHeld, Registry: w.URL()}
			if i >= 0 {
				held.Package = w.Models[i].Version.Package
			}
			out = append(out, held)
		}
		return nil
	})
	return out, err
}

// Ask notes which regions were asked for.
func (w *World) Ask(_ context.Context, subject contract.Subject, version int, regions []string, _ bool) error {
	return w.call(func() error {
		for _, r := range regions {
			w.Asked = append(w.Asked, copyKey(subject.Tenant, subject.ModelID, version)+" "+r)
		}
		return nil
	})
}

// RecordReplica ends an attempt, once.
func (w *World) RecordReplica(_ context.Context, in contract.ReplicaOutcome) error {
	return w.call(func() error {
		if w.Copies == nil {
			w.Copies = map[string][]activities.Replica{}
		}
		key := copyKey(in.Tenant, in.ModelID, in.Version)
		written := activities.Replica{Region: in.Region, State: in.Outcome, Cause: in.Cause, Registry: in.Inspected.Registry, Package: in.Package.Digest,
			Weights: in.Weights, Bundle: in.Bundle, Input: in.ReplicaInput, Referrers: in.Inspected.Referrers}
		for i, r := range w.Copies[key] {
			if r.Region == in.Region {
				if r.Input.Attempt < in.Attempt {
					w.Copies[key][i] = written
				}
				return nil
			}
		}
		w.Copies[key] = append(w.Copies[key], written)
		return nil
	})
}

// InUse returns every version, and no alias but champions that served lists.
func (w *World) InUse(_ context.Context, tenant string, served []recovery.Model) ([]recovery.Model, []recovery.Alias, error) {
	models, aliases := []recovery.Model{}, []recovery.Alias{}
	err := w.call(func() error {
		for _, m := range w.Models {
			if m.Tenant != tenant {
				continue
			}
			v := m.Version
			models = append(models, recovery.Model{ID: m.Model, Version: v.Number, Repository: v.Repository, Package: v.Package, Weights: v.Weights, Bundle: v.Bundle})
			if slices.ContainsFunc(served, func(s recovery.Model) bool { return s.ID == m.Model && s.Version == v.Number }) {
				aliases = append(aliases, recovery.Alias{Model: m.Model, Environment: promotion.Production, Name: "serves-" + strconv.Itoa(v.Number), Version: v.Number, Package: v.Package})
			}
		}
		return nil
	})
	return models, aliases, err
}

// NewestPoint returns the newest point.
func (w *World) NewestPoint(context.Context, string) (row activities.PointRow, ok bool, err error) {
	err = w.call(func() error {
		if n := len(w.Recorded); n > 0 {
			row, ok = w.Recorded[n-1].Row, true
		}
		return nil
	})
	return row, ok, err
}

// Points returns the points from a sequence on.
func (w *World) Points(_ context.Context, _ string, from int64, limit int) ([]activities.PointRow, error) {
	var out []activities.PointRow
	err := w.call(func() error {
		for _, t := range w.Recorded {
			if t.Row.Sequence >= from && len(out) < limit {
				out = append(out, t.Row)
			}
		}
		return nil
	})
	return out, err
}

// Taken returns the point that an action took.
func (w *World) Taken(_ context.Context, _, action string) (row activities.PointRow, ok bool, err error) {
	err = w.call(func() error {
		for _, t := range w.Recorded {
			if t.Action == action {
				row, ok = t.Row, true
			}
		}
		return nil
	})
	return row, ok, err
}

// RecordPoint writes a point, once per action and sequence.
func (w *World) RecordPoint(_ context.Context, in contract.RecordPointInput, point recovery.Point) error {
	return w.call(func() error {
		for _, t := range w.Recorded {
			if t.Action == in.Action {
				return nil
			}
		}
		if point.Sequence != int64(len(w.Recorded))+1 {
			return activities.ErrStale
		}
		w.Recorded = append(w.Recorded, TakenPoint{Action: in.Action, Row: activities.PointRow{
			Sequence: point.Sequence, Digest: in.Point.Point.Digest, Previous: point.Previous, Bundle: in.Bundle}})
		return nil
	})
}

// Head returns a head; its tag is the digest of its content.
func (w *World) Head(_ context.Context, name string) ([]byte, string, error) {
	var content []byte
	err := w.call(func() error {
		var ok bool
		if content, ok = w.Tips[name]; !ok {
			return activities.ErrNotFound
		}
		return nil
	})
	return content, string(artifact.DigestOf(content)), err
}

// Swap moves a head.
func (w *World) Swap(_ context.Context, name, tag string, content []byte) error {
	return w.call(func() error {
		now := ""
		if old, ok := w.Tips[name]; ok {
			now = string(artifact.DigestOf(old))
		}
		if now != tag {
			return activities.ErrStale
		}
		w.Tips[name] = content
		return nil
	})
}
