package opa

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/compile"
	"github.com/open-policy-agent/opa/v1/ir"

	"github.com/atom-fabric/fabric/domain/policy"
)

// errBeyond says that rules use what a machine does not run. OPA's own evaluator
// decides by them then, which runs everything.
var errBeyond = errors.New("the rules use what a machine does not run")

// A machine runs the plan that OPA's planner makes of rules: the same plan that
// a WebAssembly build of them runs. A decision is a few dozen plain steps then,
// without the search, bindings and queries that OPA's evaluator spends most of
// its time on. Tests hold it to that evaluator on every question.
type machine struct {
	data    *ast.Term
	funcs   []function
	entries map[string]int // of funcs, by question and member
	nothing *ast.Term      // kept for a function that is undefined
	runs    sync.Pool      // of *execution
}

// A function is a rule of the plan, or a function of the rules.
type function struct {
	params []int // the locals that take the arguments
	width  int   // locals in all
	blocks []block
	once   bool // of input and data alone: one answer in an execution
}

// An execution is one decision. What a rule answered is kept as long as it
// lasts: its reasons are found beside its yes or no.
type execution struct {
	*machine
	locals []*ast.Term // of the calls in progress, one after the other
	frames []*frame    // of them, and spare ones
	depth  int         // how many are in progress
	known  []*ast.Term // answers of functions, by index
	failed error       // why there can be no answer
	built  *ast.Term   // what a built-in function gave to take
	take   func(*ast.Term) error
}

// begin starts a decision, which end finishes.
func (m *machine) begin() *execution {
	if x, ok := m.runs.Get().(*execution); ok {
		return x
	}
	x := &execution{machine: m, locals: make([]*ast.Term, 0, 256), known: make([]*ast.Term, len(m.funcs))}
	x.take = func(got *ast.Term) error { x.built = got; return nil }
	return x
}

// end forgets the decision.
func (x *execution) end() {
	clear(x.known)
	clear(x.locals[:cap(x.locals)])
	x.locals, x.failed, x.built = x.locals[:0], nil, nil
	x.runs.Put(x)
}

// ask returns what data.fabric.<question>.<member> is of an input.
// Errors: [ErrUndecided].
func (x *execution) ask(question, member string, input *ast.Term) (ast.Value, error) {
	at, ok := x.entries[question+"."+member]
	if !ok {
		return nil, ErrUndecided
	}
	answer := x.call(at, input, x.data)
	switch {
	case x.failed != nil:
		return nil, fmt.Errorf("%w: %w", ErrUndecided, x.failed)
	case answer == nil:
		return nil, ErrUndecided
	}
	return answer.Value, nil
}

// call runs a function. Nil is undefined, or a failure.
func (x *execution) call(at int, args ...*ast.Term) *ast.Term {
	f := &x.funcs[at]
	if f.once {
		if known := x.known[at]; known == x.nothing {
			return nil
		} else if known != nil {
			return known
		}
	}
	base := len(x.locals)
	fr := x.frame(x.reserve(f.width))
	for i, p := range f.params {
		fr.locals[p] = args[i]
	}
	for _, b := range f.blocks {
		if j := b.run(fr); j == returned || j == failed {
			break
		}
	}
	answer := fr.answer
	x.depth--
	x.locals = x.locals[:base]
	switch {
	case x.failed != nil:
		return nil
	case f.once && answer == nil:
		x.known[at] = x.nothing
	case f.once:
		x.known[at] = answer
	}
	return answer
}

// reserve takes room for n terms, which the caller gives back by cutting locals.
// Where more room is needed, calls in progress keep what they have.
func (x *execution) reserve(n int) []*ast.Term {
	base := len(x.locals)
	x.locals = slices.Grow(x.locals, n)[:base+n]
	room := x.locals[base : base+n : base+n]
	clear(room)
	return room
}

// frame begins a call.
func (x *execution) frame(locals []*ast.Term) *frame {
	if x.depth == len(x.frames) {
		x.frames = append(x.frames, &frame{execution: x})
	}
	fr := x.frames[x.depth]
	x.depth++
	fr.locals, fr.answer = locals, nil
	return fr
}

// newMachine plans the rules, and makes the plan's steps ready to run over data.
// Errors: [errBeyond].
func newMachine(ctx context.Context, modules map[string]*ast.Module, data ast.Value) (*machine, error) {
	planned, err := plan(ctx, modules)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBeyond, err)
	}
	return lower(planned, data)
}

// plan has OPA plan what the questions need.
func plan(ctx context.Context, modules map[string]*ast.Module) (*ir.Policy, error) {
	b := &bundle.Bundle{Data: map[string]any{}}
	b.SetRegoVersion(ast.RegoV1)
	b.Manifest.Init()
	for name, module := range modules {
		b.Modules = append(b.Modules, bundle.ModuleFile{URL: name, Path: name, Parsed: module})
	}
	slices.SortFunc(b.Modules, func(a, b bundle.ModuleFile) int { return strings.Compare(a.URL, b.URL) })
	var entries []string
	for _, question := range policy.Questions() {
		entries = append(entries, "fabric/"+question+"/allow", "fabric/"+question+"/reasons")
	}
	c := compile.New().WithTarget(compile.TargetPlan).WithRegoVersion(ast.RegoV1).WithBundle(b).WithEntrypoints(entries...)
	if err := c.Build(ctx); err != nil {
		return nil, err
	}
	plans := c.Bundle().PlanModules
	if len(plans) != 1 {
		return nil, fmt.Errorf("%d plans", len(plans))
	}
	var out ir.Policy
	return &out, json.Unmarshal(plans[0].Raw, &out)
}
