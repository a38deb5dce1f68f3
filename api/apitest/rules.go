package apitest

import (
	"context"
	"encoding/json"

	"github.com/atom-fabric/fabric/domain/policy"
)

type rules struct{ *Fabric }

// Admit refuses with what the test gave as [Fabric.Against].
func (r rules) Admit(context.Context, policy.Admission) (bool, []string, error) {
	leave, err := r.enter()
	defer leave()
	return len(r.Against) == 0, r.Against, err
}

// Admission is Admit as a decision.
func (r rules) Admission(ctx context.Context, d policy.Decision, run policy.Admission) (policy.Decision, error) {
	allowed, reasons, err := r.Admit(ctx, run)
	if err != nil {
		return d, err
	}
	input, err := json.Marshal(run)
	if err != nil {
		return d, err
	}
	d.Question, d.Input, d.Allowed, d.Reasons = policy.AskAdmission, input, allowed, reasons
	return d, nil
}
