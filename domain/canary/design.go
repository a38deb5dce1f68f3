package canary

import (
	"errors"
	"fmt"
	"slices"
)

// Whole is every answer of a region, in basis points.
const Whole = 10_000

// Half is the share from which a risky rollout is asked about again.
const Half = 5_000

// Limits of a design. MaxLooks bounds what a rollout writes.
const (
	MaxShares  = 10
	MaxSteps   = 60
	MaxLooks   = 50 // of one step
	MinSeconds = 1
	MaxSeconds = 7 * 24 * 3600
)

// Metrics of an answer. Less is better, in all of them.
const (
	Errors  = "errors"  // share of the answers that failed
	Latency = "latency" // mean time of an answer
)

// Scales of a margin.
const (
	Absolute = "absolute" // in units of the metric: a share of answers
	Relative = "relative" // of what the version that serves has
)

// Why a design is refused.
var (
	ErrShares    = errors.New("shares must rise, and end with all of the traffic")
	ErrTimes     = errors.New("bake, look and deadline must be from 1 second to 7 days, a look no longer than the bake, the bake no longer than the deadline, and at most 50 looks a step")
	ErrSamples   = errors.New("answers must be 30 or more, and no more than what is planned")
	ErrAlpha     = errors.New("alpha must be from 0.01 % to 20 %")
	ErrGuardrail = errors.New("guardrails are errors and latency, each once, with a margin above 0; that of the latency is relative")
	ErrSteps     = errors.New("a rollout has from 1 to 60 steps")
	ErrLineage   = errors.New("the lineage is missing: without it nobody stays on one side")
)

// A Guardrail is how much worse a version may be in one metric.
type Guardrail struct {
	Metric   string `json:"metric"`
	Scale    string `json:"scale"`
	MarginBP int64  `json:"marginBP"` // 100 is 1 percentage point, or 1 % of the baseline
}

// A Design is what was fixed before the first look. It is part of a plan, so
// that who approves the plan approves the margins.
type Design struct {
	Lineage         string      `json:"lineage"`  // keeps a caller on its side, through every pause
	SharesBP        []int       `json:"sharesBP"` // of a region's answers, rising, the last one 10000
	BakeSeconds     int         `json:"bakeSeconds"`
	LookSeconds     int         `json:"lookSeconds"`
	DeadlineSeconds int         `json:"deadlineSeconds"` // for a step; then a person decides
	Required        int64       `json:"required"`        // answers on either side before a step may pass
	Planned         int64       `json:"planned"`         // answers of both sides at which the test is sharpest
	AlphaBP         int64       `json:"alphaBP"`         // of a false alarm in the whole rollout
	Guardrails      []Guardrail `json:"guardrails"`
	Shadow          *Shadow     `json:"shadow,omitempty"` // absent: the first share is the first step
}

// Default returns the design of a rollout in production for which nothing else
// was asked: 1, 5, 25, 50, 100 %, half an hour each and 500 answers on either
// side; 2 percentage points more errors and a latency 20 % longer fail it.
func Default(lineage string) Design {
	return Design{
		Lineage:         lineage,
		SharesBP:        []int{100, 500, 2500, 5000, Whole},
		BakeSeconds:     30 * 60,
		LookSeconds:     5 * 60,
		DeadlineSeconds: 4 * 3600,
		Required:        500,
		Planned:         2000,
		AlphaBP:         500,
		Guardrails: []Guardrail{
			{Metric: Errors, Scale: Absolute, MarginBP: 200},
			{Metric: Latency, Scale: Relative, MarginBP: 2000},
		},
	}
}

// Validate returns nil for a design that can be carried out in so many regions.
// Errors: one of this package's.
func (d Design) Validate(regions int) error {
	if d.Lineage == "" {
		return ErrLineage
	}
	last := 0
	for _, s := range d.SharesBP {
		if s <= last {
			return ErrShares
		}
		last = s
	}
	if last != Whole || len(d.SharesBP) > MaxShares {
		return ErrShares
	}
	if n := d.rungs() * regions; n < 1 || n > MaxSteps {
		return ErrSteps
	}
	for _, s := range []int{d.BakeSeconds, d.LookSeconds, d.DeadlineSeconds} {
		if s < MinSeconds || s > MaxSeconds {
			return ErrTimes
		}
	}
	if d.LookSeconds > d.BakeSeconds || d.BakeSeconds > d.DeadlineSeconds || d.Looks() > MaxLooks {
		return ErrTimes
	}
	if d.Required < Fewest || d.Planned < 2*d.Required {
		return ErrSamples
	}
	if err := d.shadowed(); err != nil {
		return err
	}
	if d.AlphaBP < 1 || d.AlphaBP > 2000 {
		return ErrAlpha
	}
	var seen []string
	for _, g := range d.Guardrails {
		if err := g.validate(); err != nil || slices.Contains(seen, g.Metric) {
			return ErrGuardrail
		}
		seen = append(seen, g.Metric)
	}
	if len(seen) == 0 {
		return ErrGuardrail
	}
	return nil
}

func (g Guardrail) validate() error {
	known := g.Metric == Errors && (g.Scale == Absolute || g.Scale == Relative) || g.Metric == Latency && g.Scale == Relative
	if !known || g.MarginBP < 1 || g.MarginBP > 10*Whole {
		return ErrGuardrail
	}
	return nil
}

// Looks is how many looks a step may take until its deadline.
func (d Design) Looks() int { return (d.DeadlineSeconds + d.LookSeconds - 1) / d.LookSeconds }

// A Step gives a version a share of a region's answers; in a shadow, none of
// them, and copies of a share of the requests.
type Step struct {
	Number   int    `json:"number"` // from 1
	Region   string `json:"region"`
	ShareBP  int    `json:"shareBP"`
	MirrorBP int    `json:"mirrorBP,omitempty"`
}

// Full reports whether the step leaves nothing to compare with.
func (s Step) Full() bool { return s.ShareBP >= Whole }

// String returns the step for people, as "25 % of eu" or "shadow of 10 % of eu".
func (s Step) String() string {
	share, what := s.ShareBP, ""
	if s.Shadow() {
		share, what = s.MirrorBP, "shadow of "
	}
	if share%100 == 0 {
		return fmt.Sprintf("%s%d %% of %s", what, share/100, s.Region)
	}
	return fmt.Sprintf("%s%d.%02d %% of %s", what, share/100, share%100, s.Region)
}

// Steps returns the ladder: every share in one region, then in the next, in the
// order given: that of the least traffic first. One region at a time is tried,
// so that the others, and in it those on the other side, tell a bad version
// from a bad hour. A shadow is over in every region before the first share is
// given in any: a version that fails in one has answered nobody anywhere.
func (d Design) Steps(regions []string) []Step {
	steps := make([]Step, 0, d.rungs()*len(regions))
	if d.Shadow != nil {
		for _, region := range regions {
			steps = append(steps, Step{Number: len(steps) + 1, Region: region, MirrorBP: d.Shadow.ShareBP})
		}
	}
	for _, region := range regions {
		for _, share := range d.SharesBP {
			steps = append(steps, Step{Number: len(steps) + 1, Region: region, ShareBP: share})
		}
	}
	return steps
}

// Judged is how many steps of the ladder are judged: those that leave something
// to compare with.
func (d Design) Judged(regions int) int {
	n := 0
	for _, s := range d.Steps(make([]string, regions)) {
		if !s.Full() {
			n++
		}
	}
	return n
}

// A Move is what a rollout does after a look.
type Move string

// Moves.
const (
	Wait    Move = "wait"    // look again
	Advance Move = "advance" // the next step
	Hold    Move = "hold"    // keep the share, and let a person decide
	Back    Move = "back"    // to what served before
)

// Next returns what to do after a look that was taken so many seconds into its
// step. A failure never waits; a pass waits for the bake; anything else waits
// for the deadline, and then for a person.
func (d Design) Next(v Verdict, waited int) Move {
	switch {
	case v == Fail:
		return Back
	case v == Pass && waited >= d.BakeSeconds:
		return Advance
	case v != Pass && waited >= d.DeadlineSeconds:
		return Hold
	}
	return Wait
}
