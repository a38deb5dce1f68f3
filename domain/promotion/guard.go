package promotion

import (
	"errors"
	"fmt"
	"slices"

	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/feedback"
)

// A Guard is what a policy rollout is watched by in each region before the next
// one, fixed in the plan: one that is worse by more than its margin goes back by
// itself.
type Guard struct {
	Metric          string `json:"metric"`          // of the telemetry; higher is worse
	MarginBP        int64  `json:"marginBP"`        // of a share in points, of values in parts of the baseline
	BakeSeconds     int    `json:"bakeSeconds"`     // at least so long
	LookSeconds     int    `json:"lookSeconds"`     // between two looks
	DeadlineSeconds int    `json:"deadlineSeconds"` // then it halts, if nobody can say
	HaltSeconds     int    `json:"haltSeconds"`     // and goes back after so long, if nobody has said
	AlphaBP         int64  `json:"alphaBP"`         // of a false alarm in the whole rollout
}

// ErrGuard says that a guard cannot be meant.
var ErrGuard = errors.New("a guard needs a metric of the policy loop, a margin above 0, and times that rise from look to bake to deadline")

// DefaultGuard watches the share of failed calls for half an hour in each
// region: two points more of them are too many.
func DefaultGuard() Guard {
	return Guard{Metric: "route_failed", MarginBP: 200, BakeSeconds: 1800, LookSeconds: 60, DeadlineSeconds: 7200, HaltSeconds: 86400, AlphaBP: 500}
}

// Check returns [ErrGuard] for a guard that cannot be meant.
func (g Guard) Check() error {
	switch {
	case !slices.Contains(feedback.Metrics(), g.Metric), g.MarginBP < 1, g.AlphaBP < 1, g.AlphaBP > 2000:
	case g.LookSeconds < 1, g.BakeSeconds < g.LookSeconds, g.DeadlineSeconds < g.BakeSeconds, g.HaltSeconds < 1, g.DeadlineSeconds > 7*24*3600, g.HaltSeconds > 7*24*3600:
	case g.DeadlineSeconds/g.LookSeconds > 500:
	default:
		return nil
	}
	return ErrGuard
}

// Next returns what to do after a look that was taken so many seconds after the
// region was found active.
func (g Guard) Next(v canary.Verdict, waited int) canary.Move {
	switch {
	case v == canary.Fail:
		return canary.Back
	case v == canary.Pass && waited >= g.BakeSeconds:
		return canary.Advance
	case v == canary.Pass || waited < g.DeadlineSeconds:
		return canary.Wait
	}
	return canary.Hold
}

func (g Guard) String() string {
	return fmt.Sprintf("%s worse by no more than %d hundredths of a percent, for %d s in each region", g.Metric, g.MarginBP, g.BakeSeconds)
}
