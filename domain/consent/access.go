package consent

import (
	"errors"
	"fmt"
)

// An AccessState is where a request for access is in its life.
type AccessState string

// The states. Provisioned is approved with a grant in force.
const (
	Pending     AccessState = "PENDING"
	Approved    AccessState = "APPROVED"
	Provisioned AccessState = "PROVISIONED"
	Rejected    AccessState = "REJECTED"
	Revoked     AccessState = "REVOKED"
)

// An AccessEvent moves a request.
type AccessEvent string

// The events.
const (
	Approve   AccessEvent = "approve"
	Provision AccessEvent = "provision"
	Reject    AccessEvent = "reject"
	Revoke    AccessEvent = "revoke" // by the owner or, before that, by who asked
)

// ErrStep says that a request cannot go from its state by this event.
var ErrStep = errors.New("the request is not in a state for this")

// MaxDays bounds how long access can be asked for.
const MaxDays = 3650

// After returns the state after an event. Errors: [ErrStep].
func (s AccessState) After(e AccessEvent) (AccessState, error) {
	switch {
	case s == Pending && e == Approve:
		return Approved, nil
	case s == Pending && e == Reject:
		return Rejected, nil
	case s == Approved && e == Provision:
		return Provisioned, nil
	case (s == Pending || s == Approved || s == Provisioned) && e == Revoke:
		return Revoked, nil
	}
	return s, fmt.Errorf("%w: %s is %s", ErrStep, e, s)
}
