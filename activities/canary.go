package activities

import (
	"context"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/routing"
)

// Types of the blobs of a rollout.
const (
	mediaTypeLook   = "application/vnd.fabric.canary.look.v1+json"
	mediaTypeRecord = "application/vnd.fabric.canary.record.v1+json"
)

// points is into how many parts a second opinion cuts a window at most.
const points = 24

// A Canary looks at what a rollout does to the traffic, and writes it down.
type Canary struct {
	Blobs    Blobs
	Traffic  Traffic
	Canaries Canaries
}

// LookCanary compares what both sides of a step answered in a window, and keeps
// what it saw and said. Idempotent: a look is a fact with a number, and the
// first one stands, also when more has been counted since. No answers are a
// verdict; a database that is away is none, and is tried again. Final:
// [contract.BadPlan] for a plan without a rollout.
func (c *Canary) LookCanary(ctx context.Context, in contract.LookInput) (contract.Looked, error) {
	out, err := c.look(ctx, in)
	return out, within(err, "look %d of %s", in.Number, in.Action)
}

func (c *Canary) look(ctx context.Context, in contract.LookInput) (contract.Looked, error) {
	plan := in.Plan
	if plan.Canary == nil || plan.Version == nil {
		return contract.Looked{}, permanent(contract.BadPlan, promotion.ErrKind)
	}
	from, to := grains(in.From, in.To)
	control, candidate, err := c.sides(ctx, plan, in.Step, from, to)
	if err != nil {
		return contract.Looked{}, err
	}
	design := *plan.Canary
	look := canary.Judge(design, design.Judged(len(plan.Regions)), in.Step, control, candidate)
	if in.Last {
		if err := c.second(ctx, plan, &look, from, to); err != nil {
			return contract.Looked{}, err
		}
	}
	blob, err := keep(ctx, c.Blobs, mediaTypeLook, look)
	if err != nil {
		return contract.Looked{}, err
	}
	fact, err := c.Canaries.NoteFact(ctx, plan.Tenant, in.Action, canary.Fact{
		Number: in.Number, Kind: canary.FactLook, At: in.To.UTC(), Step: in.Step, Verdict: look.Verdict, Words: look.Words(), Look: blob.Digest,
	})
	if err != nil {
		return contract.Looked{}, settled(err)
	}
	return contract.Looked{Verdict: fact.Verdict, Look: fact.Look, Words: fact.Words}, nil
}

// grains moves a window to where traffic is counted, inwards: what was answered
// before the share was given belongs to no step.
func grains(from, to time.Time) (time.Time, time.Time) {
	inner := from.UTC().Truncate(TrafficGrain)
	if inner.Before(from) {
		inner = inner.Add(TrafficGrain)
	}
	return inner, to.UTC().Truncate(TrafficGrain)
}

// sides returns what both sides of a step answered in its region: the version
// that the plan observed there, and the plan's own, as the canary or, in a
// shadow, to copies of what the other one was asked.
func (c *Canary) sides(ctx context.Context, plan promotion.Plan, step canary.Step, from, to time.Time) (control, candidate canary.Measure, err error) {
	region := step.Region
	if !from.Before(to) {
		return control, candidate, nil
	}
	all, err := c.Traffic.TrafficBetween(ctx, plan.Tenant, plan.ModelID, 0, []string{region}, from, to)
	if err != nil {
		return control, candidate, err
	}
	serves := plan.Observed.Champion
	if i := slices.Index(plan.Regions, region); i >= 0 && i < len(plan.Observed.Served) {
		serves = plan.Observed.Served[i]
	}
	for _, t := range all {
		switch {
		case t.Environment != plan.Environment || t.Region != region:
		case t.Canary && t.Version == plan.Version.Number:
			candidate = measured(candidate, t)
		case !t.Canary && t.Version == serves && step.Shadow():
			control = measured(control, stayed(t))
		case !t.Canary && t.Version == serves:
			control = measured(control, t)
		}
	}
	if step.Shadow() { // of what it answered to callers, there is nothing
		copies, err := c.Traffic.MirroredBetween(ctx, plan.Tenant, plan.ModelID, plan.Environment, plan.Version.Number, region, from, to)
		return control, measured(canary.Measure{}, copies), err
	}
	return control, candidate, nil
}

// stayed leaves out the callers that left: there is no copy of their calls, and
// nobody leaves a copy.
func stayed(t routing.Traffic) routing.Traffic {
	t.Requests, t.Gone = t.Requests-t.Gone, 0
	return t
}

// measured adds traffic to a side. Whatever was not answered is an error, for
// whatever reason: a version that refuses what the other one answers, or that
// callers do not wait for, must not look good. What callers do wrong they do on
// both sides.
func measured(m canary.Measure, t routing.Traffic) canary.Measure {
	m.Answers += t.Requests
	m.Errors += t.Requests - t.Answered
	m.Sum += float64(t.LatencySum) / 1e3
	m.Squares += t.LatencySquares / 1e6
	return m
}

// second asks for a second opinion on the window: each guardrail by the means
// of its parts.
func (c *Canary) second(ctx context.Context, plan promotion.Plan, look *canary.Look, from, to time.Time) error {
	part := max(TrafficGrain, (to.Sub(from) / points).Truncate(TrafficGrain))
	var series [2][2][]float64 // by metric, then side
	for at := from; !at.Add(part).After(to); at = at.Add(part) {
		a, b, err := c.sides(ctx, plan, look.Step, at, at.Add(part))
		if err != nil {
			return err
		}
		for metric, of := range []func(canary.Measure) (float64, bool){canary.Measure.ErrorRate, canary.Measure.MeanLatency} {
			x, there := of(a)
			y, too := of(b)
			if there && too {
				series[metric][0], series[metric][1] = append(series[metric][0], x), append(series[metric][1], y)
			}
		}
	}
	for _, g := range plan.Canary.Guardrails {
		metric := 0
		if g.Metric == canary.Latency {
			metric = 1
		}
		look.Join(canary.Second(g, series[metric][0], series[metric][1]))
	}
	return nil
}

// NoteCanary writes a fact of a rollout. Idempotent: once by its number.
func (c *Canary) NoteCanary(ctx context.Context, in contract.CanaryNote) (contract.Nothing, error) {
	_, err := c.Canaries.NoteFact(ctx, in.Tenant, in.Action, in.Fact)
	return contract.Nothing{}, within(settled(err), "rollout of %s", in.Action)
}

// RecordCanary puts the record of a rollout together and answers with its
// digest in how the rollout ended. Idempotent: the same facts are the same
// record. Final: [contract.BadPlan] when a look is not what was kept.
func (c *Canary) RecordCanary(ctx context.Context, in contract.CanaryEnd) (contract.CanaryResult, error) {
	digest, err := c.record(ctx, in)
	in.Result.Record = digest
	return in.Result, within(err, "rollout of %s", in.Action)
}

func (c *Canary) record(ctx context.Context, in contract.CanaryEnd) (artifact.Digest, error) {
	facts, err := c.Canaries.Facts(ctx, in.Tenant, in.Action)
	if err != nil {
		return "", settled(err)
	}
	facts = slices.DeleteFunc(facts, func(f canary.Fact) bool { return f.Number > in.Facts }) // the end itself, of a first run
	out := canary.Record{Action: in.Action, Plan: in.Plan, Outcome: in.Result.Outcome, Facts: facts, Looks: []canary.Look{}}
	for _, f := range facts {
		if f.Kind != canary.FactLook {
			continue
		}
		var look canary.Look
		if err := decode(ctx, c.Blobs, f.Look, contract.BadPlan, &look); err != nil {
			return "", err
		}
		out.Looks = append(out.Looks, look)
	}
	blob, err := keep(ctx, c.Blobs, mediaTypeRecord, out)
	if err != nil {
		return "", err
	}
	end := canary.Fact{Number: in.Facts + 1, Kind: canary.FactEnd, Words: in.Result.Outcome, Look: blob.Digest}
	if len(facts) > 0 {
		end.At = facts[len(facts)-1].At
	}
	stands, err := c.Canaries.NoteFact(ctx, in.Tenant, in.Action, end)
	return stands.Look, settled(err)
}
