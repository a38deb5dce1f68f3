package script

import (
	"context"

	"go.temporal.io/sdk/worker"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/round"
)

// SecuredParams are [Params] of a run that hides what its sites send.
func SecuredParams(n int) round.Params {
	p := Params(n)
	p.Secure = round.Secure{Mode: round.SecureOn, Ring: 32, Range: 8, MaxExamples: 1 << 16, StageSeconds: 30, CorruptBP: 1000, DroppedBP: 1000}
	return p
}

// OneGroup is the cohort of the demo when it is secured: five sites of three
// small regions, summed in the first of them.
func OneGroup() []round.Cohort { return []round.Cohort{{Region: "apac", Sites: 5}} }

// A Step is how an activity of a secured group ends: who was refused in it, how
// many answered the stage that it opened (0: everybody), or why it is the last.
type Step struct {
	Dropped []string
	Answers int
	Cause   string
}

// bindSecured registers what leads a group through secure aggregation. Steps
// are by "AdvanceStage/group/closed stage", "CommitSurvivors/group" and
// "AggregateMasked/group".
func (w *World) bindSecured(r worker.ActivityRegistry) {
	contract.AdvanceStage.Bind(r, func(_ context.Context, in contract.AdvanceInput) (contract.Advanced, error) {
		detail := in.Region + "/" + string(in.Stage)
		err := w.call("AdvanceStage", detail)
		w.mu.Lock()
		w.advances = append(w.advances, in)
		w.mu.Unlock()
		step := w.Steps["AdvanceStage/"+detail]
		out := contract.Advanced{StageRef: in.StageRef, Refused: len(step.Dropped), Dropped: step.Dropped, Cause: step.Cause}
		out.Stage, _ = in.Stage.Following()
		if out.Cause == "" {
			out.Sites, out.Need = w.counted(in.Region).Accepted, 3
			out.Counts = round.Counts{Selected: out.Sites, Accepted: out.Sites}
			if step.Answers > 0 {
				out.Counts.Accepted = step.Answers
			}
		}
		return out, err
	})
	contract.CommitSurvivors.Bind(r, func(_ context.Context, in contract.StageRef) (contract.Survivors, error) {
		step := w.Steps["CommitSurvivors/"+in.Region]
		out := contract.Survivors{Refused: len(step.Dropped), Dropped: step.Dropped, Cause: step.Cause}
		if out.Cause == "" {
			out.Set, out.Sites = Blob("survivors of "+in.Region), w.counted(in.Region).Accepted
		}
		return out, w.call("CommitSurvivors", in.Region)
	})
	contract.AggregateMasked.Bind(r, func(_ context.Context, in contract.StageRef) (contract.RegionResult, error) {
		step := w.Steps["AggregateMasked/"+in.Region]
		out := contract.RegionResult{Region: in.Region, Counts: w.counted(in.Region), Dropped: step.Dropped, Cause: step.Cause}
		out.Counts.Rejected = 0 // the workflow knows who was refused on the way
		if out.Cause == "" {
			out.Partial, out.Weight = Blob("unmasked sum of "+in.Region), 90_000
			out.Metrics = round.Metrics{Examples: 90, Evaluated: 20, Correct: 19, LossMicros: 2_000_000}
		}
		return out, w.call("AggregateMasked", in.Region)
	})
}

// Advances returns what was advanced, in order.
func (w *World) Advances() []contract.AdvanceInput {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]contract.AdvanceInput{}, w.advances...)
}
