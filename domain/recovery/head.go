package recovery

import (
	"errors"
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Why a chain of points is not to be trusted.
var (
	ErrOlder = errors.New("a newer point was seen before")
	ErrFork  = errors.New("another point was seen under this sequence")
	ErrChain = errors.New("it does not name the point before it")
)

// A Statement is what is signed about a point: the predicate of
// recovery-point/v1, whose subject is the point's digest.
type Statement struct {
	Tenant   string          `json:"tenant"`
	Sequence int64           `json:"sequence"`
	Previous artifact.Digest `json:"previous"`
	Snapshot int64           `json:"snapshot"`
	Items    int             `json:"items"`
}

// Statement returns what is signed about the point.
func (p Point) Statement() Statement {
	return Statement{Tenant: p.Tenant, Sequence: p.Sequence, Previous: p.Previous, Snapshot: p.Snapshot, Items: p.Items()}
}

// A Head is the newest point of a tenant, as somebody has seen it.
type Head struct {
	Sequence int64           `json:"sequence"`
	Digest   artifact.Digest `json:"digest"`
}

// Allows returns nil if now may be shown as the newest point to somebody who
// has seen h: the same point or a later one. That later ones lead back to h is
// for [Follows] to say, point by point.
// Errors: [ErrOlder], [ErrFork].
func (h Head) Allows(now Head) error {
	switch {
	case now.Sequence < h.Sequence:
		return fmt.Errorf("%d, and %d is shown as the newest: %w", h.Sequence, now.Sequence, ErrOlder)
	case now.Sequence == h.Sequence && now.Digest != h.Digest:
		return fmt.Errorf("%d: %w", h.Sequence, ErrFork)
	}
	return nil
}

// Follows returns nil if the point is the next after before.
// Errors: [ErrChain].
func (p Point) Follows(before Head) error {
	if p.Sequence != before.Sequence+1 || p.Previous != before.Digest {
		return fmt.Errorf("recovery point %d after %d: %w", p.Sequence, before.Sequence, ErrChain)
	}
	return nil
}
