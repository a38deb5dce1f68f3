// Package doctor runs checks of a deployment at once and says of each what it
// found and what mends it.
//
// Invariant: a check has an answer in bounded time, whatever it asks; what is
// not well comes with a command or a setting that mends it.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Status is how well something is.
type Status string

// Statuses. A warning is for whoever has the time; what fails does not work.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
	Skip Status = "skip" // it is not part of this deployment
)

// Patience is how long a check may take.
const Patience = 5 * time.Second

// ErrUnknown says that a check was named which there is none of.
var ErrUnknown = errors.New("there is no such check")

// A Finding is what a check found.
type Finding struct {
	ID       string `json:"id"`
	Status   Status `json:"status"`
	Detail   string `json:"detail"`
	Fix      string `json:"fix,omitempty"` // a command or a setting; of what is not well
	Duration int64  `json:"durationMs"`
}

// A Check looks at one thing.
type Check struct {
	ID   string
	Slow bool // on purpose, as opening a key file is: it is given five times the patience
	Do   func(ctx context.Context) Finding
}

// Well is the finding that nothing is to be done.
func Well(format string, args ...any) Finding {
	return Finding{Status: OK, Detail: fmt.Sprintf(format, args...)}
}

// Skipped is the finding that there is nothing to look at.
func Skipped(why string) Finding { return Finding{Status: Skip, Detail: why} }

// Warned is a finding that something may go wrong.
func Warned(fix, format string, args ...any) Finding {
	return Finding{Status: Warn, Fix: fix, Detail: fmt.Sprintf(format, args...)}
}

// Failed is a finding that something does not work.
func Failed(fix, format string, args ...any) Finding {
	return Finding{Status: Fail, Fix: fix, Detail: fmt.Sprintf(format, args...)}
}

// Select returns the checks that only names, all without it, but for those that
// skip names.
// Errors: [ErrUnknown].
func Select(checks []Check, only, skip []string) ([]Check, error) {
	for _, id := range slices.Concat(only, skip) {
		if !slices.ContainsFunc(checks, func(c Check) bool { return c.ID == id }) {
			return nil, fmt.Errorf("%q: %w; there are %s", id, ErrUnknown, strings.Join(IDs(checks), ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(checks), func(c Check) bool {
		return len(only) > 0 && !slices.Contains(only, c.ID) || slices.Contains(skip, c.ID)
	}), nil
}

// IDs names the checks.
func IDs(checks []Check) []string {
	ids := make([]string, len(checks))
	for i, c := range checks {
		ids[i] = c.ID
	}
	return ids
}

// Run does all checks at once, and returns what they found in their order. One
// that has no answer after the patience has failed, and is not waited for.
func Run(ctx context.Context, checks []Check, patience time.Duration) []Finding {
	out := make([]Finding, len(checks))
	var all sync.WaitGroup
	for i, c := range checks {
		all.Go(func() { out[i] = one(ctx, c, patience) })
	}
	all.Wait()
	return out
}

func one(ctx context.Context, c Check, patience time.Duration) Finding {
	if c.Slow {
		patience *= 5
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	answer := make(chan Finding, 1)
	go func() { answer <- c.Do(ctx) }()
	var f Finding
	select {
	case f = <-answer:
	case <-ctx.Done():
		f = Failed("see whether it is overloaded, or whether something on the way drops packets", "no answer within %s", patience)
	}
	f.ID, f.Duration = c.ID, time.Since(began).Milliseconds()
	return f
}

// Worst is the worst status that was found; a skipped check counts for nothing.
func Worst(findings []Finding) Status {
	worst := OK
	for _, f := range findings {
		switch {
		case f.Status == Fail:
			return Fail
		case f.Status == Warn:
			worst = Warn
		}
	}
	return worst
}
