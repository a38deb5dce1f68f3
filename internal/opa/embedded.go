package opa

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/infra/opa"
)

// A program is a bundle, compiled: a machine that runs its rules, and a compiled
// query for each question, for OPA's evaluator where a machine does not run them.
// It never changes, so that a decision is of one revision from its begin to its
// end.
type program struct {
	revision int64
	content  artifact.Digest
	shipped  bool // the rules are those that ship
	compiler *ast.Compiler
	store    storage.Store
	txn      storage.Transaction // the data never changes: one read for all decisions
	allow    map[string]ast.Body
	reasons  map[string]ast.Body
	machine  *machine // nil where the rules are beyond it
	words    vocabulary
	known    recollection
}

// program compiles the rules once, and prepares each question over the same
// compiler and data. The data is kept as values of the evaluator: nothing is
// converted when it is read.
// Errors: [ErrCompile].
func (b Bundle) program(ctx context.Context) (*program, error) {
	compiler, modules, err := b.compile()
	if err != nil {
		return nil, err
	}
	content, err := b.Content()
	if err != nil {
		return nil, err
	}
	text, err := Data(b.Document)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := json.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	store := inmem.NewFromObjectWithOpts(tree, inmem.OptReturnASTValuesOnRead(true))
	shipped, err := rules.Modules()
	if err != nil {
		return nil, err
	}
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return nil, err
	}
	p := &program{
		revision: b.Document.Revision, content: content, shipped: maps.Equal(shipped, b.Modules),
		compiler: compiler, store: store, txn: txn, allow: map[string]ast.Body{}, reasons: map[string]ast.Body{}, words: newVocabulary(),
	}
	for _, question := range policy.Questions() {
		for member, into := range map[string]map[string]ast.Body{"allow": p.allow, "reasons": p.reasons} {
			body, err := ast.ParseBody("data.fabric." + question + "." + member + " = answer")
			if err != nil {
				return nil, fmt.Errorf("%w: question %s: %w", ErrCompile, question, err)
			}
			if into[question], err = compiler.QueryCompiler().Compile(body); err != nil {
				return nil, fmt.Errorf("%w: question %s: %w", ErrCompile, question, err)
			}
		}
	}
	whole, err := store.Read(ctx, txn, storage.Path{})
	if err != nil {
		return nil, err
	}
	data, ok := whole.(ast.Value)
	if !ok {
		return nil, fmt.Errorf("%w: the data is %T", ErrCompile, whole)
	}
	if p.machine, err = newMachine(ctx, modules, data); err != nil && !errors.Is(err, errBeyond) {
		return nil, err
	}
	return p, nil
}

// decide asks one question. An answer that is no yes or no with its reasons is
// [ErrUndecided]. The rules that ship never allow with a reason against it,
// which is a property test; of other rules the reasons are asked then, too.
func (p *program) decide(ctx context.Context, question string, input ast.Value) (answer, error) {
	if _, ok := p.allow[question]; !ok {
		return answer{}, fmt.Errorf("question %q: %w", question, ErrUndecided)
	}
	if ctx.Err() != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	term := ast.NewTerm(input)
	if p.machine == nil {
		return p.answer(
			func() (ast.Value, error) { return p.evaluate(ctx, p.allow[question], term) },
			func() (ast.Value, error) { return p.evaluate(ctx, p.reasons[question], term) })
	}
	x := p.machine.begin()
	defer x.end()
	return p.answer(
		func() (ast.Value, error) { return x.ask(question, "allow", term) },
		func() (ast.Value, error) { return x.ask(question, "reasons", term) })
}

// answer reads the two members of a decision, the second where it has a say.
func (p *program) answer(allow, reasons func() (ast.Value, error)) (answer, error) {
	value, err := allow()
	if err != nil {
		return answer{}, err
	}
	truth, ok := value.(ast.Boolean)
	if !ok {
		return answer{}, ErrUndecided
	}
	a := answer{Allow: (*bool)(&truth)}
	if bool(truth) && p.shipped {
		return a, nil
	}
	if value, err = reasons(); err != nil {
		return answer{}, err
	}
	var all []*ast.Term
	switch said := value.(type) {
	case ast.Set:
		all = said.Slice() // in order
	case *ast.Array:
		said.Foreach(func(t *ast.Term) { all = append(all, t) })
	default:
		return answer{}, ErrUndecided
	}
	for _, t := range all {
		text, ok := t.Value.(ast.String)
		if !ok {
			return answer{}, ErrUndecided
		}
		a.Reasons = append(a.Reasons, string(text))
	}
	return a, nil
}

// evaluate runs a compiled query with OPA's evaluator. It is not cut short: these
// rules end, since Rego has no recursion, and to wait for a cancellation would
// cost a goroutine for each decision of some microseconds.
func (p *program) evaluate(ctx context.Context, query ast.Body, input *ast.Term) (ast.Value, error) {
	var answers []*ast.Term
	err := topdown.NewQuery(query).WithCompiler(p.compiler).WithStore(p.store).WithTransaction(p.txn).WithInput(input).
		Iter(ctx, func(r topdown.QueryResult) error {
			answers = append(answers, r["answer"])
			return nil
		})
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUndecided, err)
	case len(answers) != 1 || answers[0] == nil:
		return nil, ErrUndecided
	}
	return answers[0].Value, nil
}

// read takes a decision from the JSON of data.fabric.<question>.
func read(text []byte) (answer, error) {
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrUndecided, err)
	}
	return a, nil
}
