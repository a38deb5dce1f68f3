package promotion

import (
	"fmt"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// Action returns the plan as what approvers decide on. digest is that of the
// plan's canonical bytes: it is what a vote binds.
func (p Plan) Action(id string, digest artifact.Digest) approval.Action {
	return approval.Action{
		ID:          id,
		Kind:        p.Kind,
		Tenant:      p.Tenant,
		Summary:     p.Summary(),
		Environment: p.Environment,
		Plan:        digest,
		Risk:        p.Risk.Score,
		Reasons:     p.Risk.reasons(2),
		Loosens:     p.Risk.Loosens,
		Rollback:    p.Rollback,
	}
}

// Summary returns the plan in one line.
func (p Plan) Summary() string {
	if len(p.Diff) == 0 {
		return p.Kind + " in " + p.Environment
	}
	first := fmt.Sprintf("%s: %s -> %s", p.Diff[0].What, p.Diff[0].From, p.Diff[0].To)
	if more := len(p.Diff) - 1; more > 0 {
		return fmt.Sprintf("%s, and %d more", first, more)
	}
	return first
}
