package opa

import (
	"context"
	"errors"
)

// Value is what the evaluator works on: an input that nothing remembers.
func Value(input any) (any, error) { return newVocabulary().valueOf(input) }

// ErrNoMachine is a bundle that OPA's evaluator decides by.
var ErrNoMachine = errors.New("no machine runs it")

// Both returns two ways to decide by a bundle, of which neither remembers: the
// machine, and OPA's evaluator.
func Both(ctx context.Context, b Bundle) (machine, evaluator func(question string, input any) (Verdict, error), err error) {
	p, err := b.program(ctx)
	if err != nil {
		return nil, nil, err
	}
	ask := func(p *program) func(string, any) (Verdict, error) {
		return func(question string, input any) (Verdict, error) {
			value, err := p.words.valueOf(input)
			if err != nil {
				return Verdict{}, err
			}
			a, err := p.decide(ctx, question, value)
			if err == nil {
				err = a.check()
			}
			if err != nil {
				return Verdict{}, err
			}
			return Verdict{Allowed: *a.Allow, Reasons: a.Reasons}, nil
		}
	}
	if p.machine == nil {
		err = ErrNoMachine
	}
	return ask(p), ask(p.slow()), err
}

// Slow is a replay by OPA's evaluator.
func (r *Replay) Slow() *Replay { return &Replay{r.from.slow(), r.to.slow()} }

func (p *program) slow() *program {
	return &program{revision: p.revision, content: p.content, shipped: p.shipped, compiler: p.compiler, store: p.store, txn: p.txn, allow: p.allow, reasons: p.reasons, words: p.words}
}
