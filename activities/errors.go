package activities

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/temporal"

	"github.com/atom-fabric/fabric/contract"
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

// within says what a failure happened in, and nil of nil. A final one stays
// final: Temporal looks at the outermost error only, so a wrapped one would be
// retried for ever.
func within(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	var failure *temporal.ApplicationError
	if errors.As(err, &failure) && failure.NonRetryable() {
		return temporal.NewNonRetryableApplicationError(what+": "+failure.Message(), failure.Type(), failure.Unwrap())
	}
	return fmt.Errorf("%s: %w", what, err)
}

// about says which round a failure belongs to.
func about(run string, number int, err error) error {
	return within(err, "round %s/%d", run, number)
}

// settled makes final what the rows have settled: a row that is not there was
// never written with the transaction that started this work, and what they
// refuse they refuse again. A database that is away is neither.
func settled(err error) error {
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrRefused):
		return permanent(contract.BadPlan, err)
	case errors.Is(err, ErrStale):
		return permanent(contract.StalePlan, err)
	}
	return err
}

// final says whether err would happen again.
func final(err error) bool {
	var failure *temporal.ApplicationError
	return errors.As(err, &failure) && failure.NonRetryable()
}
