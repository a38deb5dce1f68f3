package opa

import (
	"context"
	"encoding/json"
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

// A program is a bundle, compiled: a compiled query for each question. It never
// changes, so that a decision is of one revision from its begin to its end.
type program struct {
	revision int64
	content  artifact.Digest
	shipped  bool // the rules are those that ship
	compiler *ast.Compiler
	store    storage.Store
	txn      storage.Transaction // the data never changes: one read for all decisions
	allow    map[string]ast.Body
	reasons  map[string]ast.Body
	known    recollection
}

// program compiles the rules once, and prepares each question over the same
// compiler and data. The data is kept as values of the evaluator: nothing is
// converted when it is read.
// Errors: [ErrCompile].
func (b Bundle) program(ctx context.Context) (*program, error) {
	compiler, err := b.compile()
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
		compiler: compiler, store: store, txn: txn, allow: map[string]ast.Body{}, reasons: map[string]ast.Body{},
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
	return p, nil
}

// decide asks one question. An answer that is no yes or no with its reasons is
// [ErrUndecided]. The rules that ship never allow with a reason against it,
// which is a property test; of other rules the reasons are asked then, too.
func (p *program) decide(ctx context.Context, question string, input ast.Value) (answer, error) {
	query, ok := p.allow[question]
	if !ok {
		return answer{}, fmt.Errorf("question %q: %w", question, ErrUndecided)
	}
	value, err := p.evaluate(ctx, query, input)
	if err != nil {
		return answer{}, err
	}
	allow, ok := value.(bool)
	if !ok {
		return answer{}, ErrUndecided
	}
	a := answer{Allow: &allow}
	if allow && p.shipped {
		return a, nil
	}
	if value, err = p.evaluate(ctx, p.reasons[question], input); err != nil {
		return answer{}, err
	}
	reasons, ok := value.([]any)
	if !ok {
		return answer{}, ErrUndecided
	}
	for _, r := range reasons {
		text, ok := r.(string)
		if !ok {
			return answer{}, ErrUndecided
		}
		a.Reasons = append(a.Reasons, text)
	}
	return a, nil
}

// evaluate runs a compiled query. It is not cut short: these rules end, since
// Rego has no recursion, and to wait for a cancellation would cost a goroutine
// for each decision of some microseconds.
func (p *program) evaluate(ctx context.Context, query ast.Body, input ast.Value) (any, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	var answers []*ast.Term
	err := topdown.NewQuery(query).WithCompiler(p.compiler).WithStore(p.store).WithTransaction(p.txn).WithInput(ast.NewTerm(input)).
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
	if truth, ok := answers[0].Value.(ast.Boolean); ok {
		return bool(truth), nil
	}
	value, err := ast.JSONWithOpt(answers[0].Value, ast.JSONOpt{SortSets: true})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUndecided, err)
	}
	return value, nil
}

// read takes a decision from the JSON of data.fabric.<question>.
func read(text []byte) (answer, error) {
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrUndecided, err)
	}
	return a, nil
}
