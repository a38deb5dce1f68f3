package activities

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/temporal"
)

// What ports say, so that activities can tell a final failure from a passing one.
var (
	ErrNotFound = errors.New("not found")
	ErrStale    = errors.New("the world has moved since it was planned")
	ErrRefused  = errors.New("refused")
)

// permanent marks err as one that would happen again: it is not retried, and
// reaches the workflow under kind, which is one of the contract's.
func permanent(kind string, err error) error {
	return temporal.NewNonRetryableApplicationError(err.Error(), kind, err)
}

// about says which round a failure belongs to.
func about(run string, number int, err error) error {
	return fmt.Errorf("round %s/%d: %w", run, number, err)
}
