package promotion

import (
	"errors"
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// ErrGrant says that a write has no grant for what it would write.
var ErrGrant = errors.New("no grant: only an approved plan may be written")

// A Grant is the permission to carry out one plan of one action. The control
// plane mints it when everybody who had to agree has agreed to the plan's
// digest, and keeps it: whatever writes looks it up, so one that was made up is
// none. It permits the way back too, which is part of the plan.
type Grant struct {
	ID     artifact.Digest `json:"id"` // of the others
	Tenant string          `json:"tenant"`
	Kind   string          `json:"kind"`
	Action string          `json:"action"`
	Plan   artifact.Digest `json:"plan"`
	Need   int             `json:"need"`            // people who had to agree
	Nonce  artifact.Digest `json:"nonce,omitempty"` // of the ballot's nonce, where there was one
}

// NewGrant returns the grant with its id.
// Errors: [ErrGrant] when it is for nothing.
func NewGrant(g Grant) (Grant, error) {
	g.ID = ""
	if g.Tenant == "" || g.Kind == "" || g.Action == "" || g.Plan == "" || (g.Need > 0) != (g.Nonce != "") {
		return Grant{}, fmt.Errorf("%w: it is incomplete", ErrGrant)
	}
	text, err := artifact.Canonical(g)
	if err != nil {
		return Grant{}, err
	}
	g.ID = artifact.DigestOf(text)
	return g, nil
}

// Permits returns nil when the grant is whole and for this plan of this action.
// A plan travels decoded, and is compared by its canonical bytes: those that
// were approved.
// Errors: [ErrGrant].
func (g Grant) Permits(tenant, action string, plan Plan) error {
	again, err := NewGrant(g)
	if err != nil || again.ID != g.ID {
		return fmt.Errorf("%w: it was changed", ErrGrant)
	}
	text, err := artifact.Canonical(plan)
	if err != nil {
		return fmt.Errorf("%w: the plan has no canonical form", ErrGrant)
	}
	if g.Tenant != tenant || plan.Tenant != tenant || g.Action != action || g.Kind != plan.Kind || g.Plan != artifact.DigestOf(text) {
		return fmt.Errorf("%w: it is for another plan", ErrGrant)
	}
	return nil
}
