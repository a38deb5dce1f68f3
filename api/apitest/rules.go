package apitest

import (
	"context"

	"github.com/atom-fabric/fabric/domain/policy"
)

type rules struct{ *Fabric }

// Admit refuses with what the test gave as [Fabric.Against].
func (r rules) Admit(context.Context, policy.Admission) (bool, []string, error) {
	leave, err := r.enter()
	defer leave()
	return len(r.Against) == 0, r.Against, err
}
