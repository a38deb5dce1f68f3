package opa

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/infra/opa"
)

// embedded prepares the rules that ship.
func embedded(ctx context.Context) (func(context.Context, policy.Admission) (answer, error), error) {
	modules, err := rules.Modules()
	if err != nil {
		return nil, err
	}
	options := []func(*rego.Rego){rego.Query("data.fabric.admission")}
	for name, source := range modules {
		options = append(options, rego.Module(name, source))
	}
	query, err := rego.New(options...).PrepareForEval(ctx)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, run policy.Admission) (answer, error) {
		results, err := query.Eval(ctx, rego.EvalInput(run))
		switch {
		case ctx.Err() != nil:
			return answer{}, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		case err != nil:
			return answer{}, fmt.Errorf("%w: %w", ErrUndecided, err)
		case len(results) != 1 || len(results[0].Expressions) != 1:
			return answer{}, ErrUndecided
		}
		// The same way into the same type as the remote's answer takes.
		text, err := json.Marshal(results[0].Expressions[0].Value)
		if err != nil {
			return answer{}, fmt.Errorf("%w: %w", ErrUndecided, err)
		}
		return read(text)
	}, nil
}

// read takes a decision from the JSON of data.fabric.admission.
func read(text []byte) (answer, error) {
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrUndecided, err)
	}
	return a, nil
}
