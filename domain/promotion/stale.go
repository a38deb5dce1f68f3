package promotion

import (
	"errors"
	"fmt"
	"time"
)

// Why a plan that could be applied cannot be any more.
var (
	ErrStale   = errors.New("the world has moved since the plan was made")
	ErrExpired = errors.New("the proposal has expired: its evidence is too old to act on; the loop proposes anew, with new evidence, if its reason still holds")
)

// Fresh returns nil while a plan may begin.
// Errors: [ErrExpired].
func (p Plan) Fresh(now time.Time) error {
	if !p.ExpiresAt.IsZero() && now.After(p.ExpiresAt) {
		return ErrExpired
	}
	return nil
}

// A StaleError says what moved.
type StaleError struct {
	What string
	From string // when the plan was made
	To   string // now
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("%v: %s was %s and is %s", ErrStale, e.What, e.From, e.To)
}
func (e *StaleError) Unwrap() error { return ErrStale }

// Stale returns a [*StaleError] when what a plan observed no longer holds. The
// number of the snapshot alone is no reason: it also counts what others
// changed. A plan for another model or policy leaves this one's zero.
func Stale(observed, now Observed) error {
	switch {
	case observed.Champion != now.Champion:
		return &StaleError{"the version that serves", fmt.Sprint(observed.Champion), fmt.Sprint(now.Champion)}
	case observed.Package != now.Package:
		return &StaleError{"the package that serves", observed.Package.Short(), now.Package.Short()}
	case observed.Policy != now.Policy:
		return &StaleError{"the policy revision in force", fmt.Sprint(observed.Policy), fmt.Sprint(now.Policy)}
	case observed.State != now.State:
		return &StaleError{"what the tenant runs", observed.State.Short(), now.State.Short()}
	}
	return nil
}
