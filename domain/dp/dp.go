// Package dp bounds what a round tells about any one contributor: it clips,
// makes noise, and accounts for what was told.
//
// Invariant: no bound that this package returns is below the truth. Losses are
// rounded up, a float that cannot be decided is decided in exact arithmetic,
// and of two valid bounds the larger is charged. Noise comes from the bits it
// is given, and from nothing else: the same seed gives the same noise on every
// machine, with any number of threads.
package dp

import (
	"errors"
	"fmt"
)

// Why a privacy parameter is refused, or a question has no answer.
var (
	ErrParameter    = errors.New("it is not in its range")
	ErrNotFinite    = errors.New("value is not a finite number")
	ErrRange        = errors.New("value is too large for the grid of the noise")
	ErrNoAccountant = errors.New("no accountant covers these mechanisms together")
	ErrUnreachable  = errors.New("no noise meets this budget")
)

// A ParameterError says which parameter is at fault, and why.
type ParameterError struct {
	Name  string
	Value float64
	Err   error // ErrParameter
}

func (e *ParameterError) Error() string { return fmt.Sprintf("%s = %v: %v", e.Name, e.Value, e.Err) }
func (e *ParameterError) Unwrap() error { return e.Err }

// refuse returns a ParameterError for the first of the named values that does
// not hold, and nil if all do.
func refuse(name string, value float64, holds bool) error {
	if holds {
		return nil
	}
	return &ParameterError{Name: name, Value: value, Err: ErrParameter}
}
