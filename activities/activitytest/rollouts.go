package activitytest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/routing"
)

// Rollouts are the ports of grants, rollouts, traffic and scorecards.
type Rollouts struct {
	w *World

	Minted   map[string]promotion.Grant // by action
	Noted    []canary.Fact
	Traffic  []Answered
	Mirrored []Answered                 // copies that answered nobody
	Lacking  string                     // what the scorecard of every version lacks
	Planned  map[string]artifact.Digest // plans of the actions that have started; nil: any
	Trusting bool                       // takes every grant that is whole
}

// Answered is traffic of ten seconds.
type Answered struct {
	At time.Time
	routing.Traffic
}

var (
	_ activities.Grants   = (*Rollouts)(nil)
	_ activities.Canaries = (*Rollouts)(nil)
	_ activities.Traffic  = (*Rollouts)(nil)
	_ activities.Cards    = (*Rollouts)(nil)
)

// NewRollouts returns the ports of a world.
func NewRollouts(w *World) *Rollouts {
	return &Rollouts{w: w, Minted: map[string]promotion.Grant{}}
}

// Mint writes a grant once.
func (r *Rollouts) Mint(_ context.Context, grant promotion.Grant) (promotion.Grant, error) {
	err := r.w.call(func() error {
		if stands, ok := r.Minted[grant.Action]; ok {
			if stands.Plan != grant.Plan {
				return activities.ErrRefused
			}
			grant = stands
			return nil
		}
		if r.Planned != nil && r.Planned[grant.Action] != grant.Plan {
			return activities.ErrRefused
		}
		if grant.Need > 0 {
			ballot := r.w.Ballots[grant.Action]
			if ballot.Outcome != approval.Approved || ballot.BegunAt.IsZero() || ballot.Request.Action.Plan != grant.Plan {
				return fmt.Errorf("ballot is %s: %w", ballot.Outcome, activities.ErrRefused)
			}
		}
		r.Minted[grant.Action] = grant
		return nil
	})
	return grant, err
}

// Granted finds a grant that was minted.
func (r *Rollouts) Granted(_ context.Context, grant promotion.Grant) error {
	return r.w.call(func() error {
		if r.Minted[grant.Action] != grant && !r.Trusting {
			return activities.ErrRefused
		}
		return nil
	})
}

// NoteFact writes a fact once by its number.
func (r *Rollouts) NoteFact(_ context.Context, _, _ string, fact canary.Fact) (canary.Fact, error) {
	err := r.w.call(func() error {
		if i := slices.IndexFunc(r.Noted, func(f canary.Fact) bool { return f.Number == fact.Number }); i >= 0 {
			fact = r.Noted[i]
			return nil
		}
		r.Noted = append(r.Noted, fact)
		return nil
	})
	return fact, err
}

// Facts returns what was noted.
func (r *Rollouts) Facts(context.Context, string, string) ([]canary.Fact, error) {
	var out []canary.Fact
	err := r.w.call(func() error {
		out = slices.Clone(r.Noted)
		slices.SortFunc(out, func(a, b canary.Fact) int { return a.Number - b.Number })
		return nil
	})
	return out, err
}

// TrafficBetween adds up what was answered.
func (r *Rollouts) TrafficBetween(_ context.Context, _, _ string, version int, regions []string, from, to time.Time) ([]routing.Traffic, error) {
	var out []routing.Traffic
	err := r.w.call(func() error {
		for _, a := range r.Traffic {
			at := a.At.Truncate(activities.TrafficGrain)
			if at.Before(from) || !at.Before(to) || version != 0 && a.Version != version || len(regions) > 0 && !slices.Contains(regions, a.Region) {
				continue
			}
			same := func(t routing.Traffic) bool {
				return t.Environment == a.Environment && t.Version == a.Version && t.Region == a.Region && t.Canary == a.Canary
			}
			if i := slices.IndexFunc(out, same); i >= 0 {
				out[i] = out[i].Plus(a.Traffic)
			} else {
				out = append(out, a.Traffic)
			}
		}
		return nil
	})
	return out, err
}

// MirroredBetween adds up what became of the copies.
func (r *Rollouts) MirroredBetween(_ context.Context, _, _, environment string, version int, region string, from, to time.Time) (routing.Traffic, error) {
	out := routing.Traffic{Environment: environment, Version: version, Region: region}
	err := r.w.call(func() error {
		for _, a := range r.Mirrored {
			at := a.At.Truncate(activities.TrafficGrain)
			if !at.Before(from) && at.Before(to) && a.Environment == environment && a.Version == version && a.Region == region {
				out = out.Plus(a.Traffic)
			}
		}
		return nil
	})
	return out, err
}

// Unproven says what was set.
func (r *Rollouts) Unproven(context.Context, string, string, int) (string, error) {
	var out string
	err := r.w.call(func() error { out = r.Lacking; return nil })
	return out, err
}
