package opa

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"sync"

	"github.com/atom-fabric/fabric/domain/policy"
)

// A Replay decides logged decisions again, under two bundles.
type Replay struct{ from, to *program }

// NewReplay compiles both bundles.
// Errors: [ErrCompile].
func NewReplay(ctx context.Context, from, to Bundle) (*Replay, error) {
	before, err := from.program(ctx)
	if err != nil {
		return nil, err
	}
	after, err := to.program(ctx)
	if err != nil {
		return nil, err
	}
	return &Replay{before, after}, nil
}

// Run replays decisions until the source says that there are no more, on every
// processor, and returns the table. source is called by one goroutine at a time
// and returns batches; their order does not matter.
// Errors: those of source; that of ctx.
func (r *Replay) Run(ctx context.Context, source func(context.Context) ([]policy.Decision, error)) (policy.Impact, error) {
	batches := make(chan []policy.Decision)
	tallies := make([]policy.Tally, runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for i := range tallies {
		all.Go(func() {
			seen := memory{}
			for batch := range batches {
				for _, d := range batch {
					from, to := seen.recall(d, func() (policy.Outcome, policy.Outcome) { return r.one(ctx, d) })
					tallies[i].Add(d, from, to)
				}
			}
		})
	}
	err := feed(ctx, source, batches)
	close(batches)
	all.Wait()
	if err == nil {
		err = ctx.Err() // a decision that was cut short is none
	}
	if err != nil {
		return policy.Impact{}, err
	}
	var whole policy.Tally
	for i := range tallies {
		whole.Join(&tallies[i])
	}
	return whole.Impact(), nil
}

// A memory holds what was decided on an input: rules see nothing but their
// input, and a log asks the same over and over.
type memory map[string][2]policy.Outcome

// remembered bounds a memory; what is more is decided again each time.
const remembered = 1 << 15

func (m memory) recall(d policy.Decision, decide func() (from, to policy.Outcome)) (from, to policy.Outcome) {
	key := d.Question + "\x00" + string(d.Input)
	if both, ok := m[key]; ok {
		return both[0], both[1]
	}
	from, to = decide()
	if len(m) < remembered {
		m[key] = [2]policy.Outcome{from, to}
	}
	return from, to
}

func feed(ctx context.Context, source func(context.Context) ([]policy.Decision, error), batches chan<- []policy.Decision) error {
	for {
		batch, err := source(ctx)
		if err != nil {
			return err
		}
		if len(batch) == 0 {
			return nil
		}
		select {
		case batches <- batch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// one decides a decision again. What it asked is read once for both.
func (r *Replay) one(ctx context.Context, d policy.Decision) (from, to policy.Outcome) {
	input, err := r.from.words.valueOf(d.Input)
	if err != nil {
		return policy.Outcome{Undecided: true}, policy.Outcome{Undecided: true}
	}
	outcome := func(p *program) policy.Outcome {
		a, err := p.decide(ctx, d.Question, input)
		if err == nil {
			err = a.check()
		}
		if err != nil {
			return policy.Outcome{Undecided: true, Reasons: []string{reason(err)}}
		}
		return policy.Outcome{Allowed: *a.Allow, Reasons: a.Reasons}
	}
	return outcome(r.from), outcome(r.to)
}

// reason is why a policy gave no answer, in words that hold nothing of the input.
func reason(err error) string {
	for _, why := range []error{ErrUnavailable, ErrUndecided} {
		if errors.Is(err, why) {
			return why.Error()
		}
	}
	return ErrUndecided.Error()
}

// Log is what a decision of this engine is logged as: its input masked, see
// [policy.Mask]. d says who asked, where and why; keep are texts that stay.
func (v Verdict) Log(d policy.Decision, input any, keep ...string) (policy.Decision, error) {
	text, err := json.Marshal(input)
	if err != nil {
		return policy.Decision{}, err
	}
	if d.Input, d.Masked, err = policy.Mask(d.Question, d.ID, text, keep...); err != nil {
		return policy.Decision{}, err
	}
	d.Revision, d.Bundle, d.Allowed, d.Reasons = v.Revision, v.Content, v.Allowed, v.Reasons
	return d, nil
}

// A Replayer replays over the rules that ship: [activities.Replayer] and
// [api.Replayer].
type Replayer struct{}

// Replay replays what source gives under two documents.
// Errors: [ErrCompile]; those of Run.
func (Replayer) Replay(ctx context.Context, from, to policy.Document, source func(context.Context) ([]policy.Decision, error)) (policy.Impact, error) {
	before, err := Shipped(from)
	if err != nil {
		return policy.Impact{}, err
	}
	after, err := Shipped(to)
	if err != nil {
		return policy.Impact{}, err
	}
	replay, err := NewReplay(ctx, before, after)
	if err != nil {
		return policy.Impact{}, err
	}
	return replay.Run(ctx, source)
}

// Pack returns the bundle of the rules that ship over a document.
func (Replayer) Pack(document policy.Document) ([]byte, error) {
	b, err := Shipped(document)
	if err != nil {
		return nil, err
	}
	return b.Pack()
}
