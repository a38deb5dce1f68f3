package modelpack

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Champion is the alias that names what an environment serves. Promotions move
// it, and nobody else. A challenger is what it is compared with.
const (
	Champion   = "champion"
	Challenger = "challenger"
)

// How long the statement of a move may be under way, and how far the clocks of
// who signs it and who takes it may differ.
const (
	maxMoveAge = time.Hour
	maxSkew    = 2 * time.Minute
)

// Why a move of an alias is refused.
var (
	ErrMove       = errors.New("not the statement of a move of this alias")
	ErrFresh      = errors.New("the statement is not of this time")
	ErrSuperseded = errors.New("the alias has moved since, or its sequence does not grow by one")
	ErrPromotion  = errors.New("only a promotion moves the champion")
)

var aliasName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// ValidAlias says whether text may name an alias.
func ValidAlias(text string) bool { return len(text) <= 63 && aliasName.MatchString(text) }

// A Move is the predicate that moves an alias of a model to a version, whose
// package is the statement's subject. Sequence counts the moves of the alias
// from 1, and Previous is the package that it named before, or absent: a
// statement that was signed once moves it once, and an older one never again.
type Move struct {
	Tenant      string          `json:"tenant"`
	Model       string          `json:"model"`
	Environment string          `json:"environment"`
	Alias       string          `json:"alias"`
	Sequence    int64           `json:"sequence"`
	Version     int             `json:"version"`
	Previous    artifact.Digest `json:"previous"`
	IssuedAt    time.Time       `json:"issuedAt"`
}

// A Head is where an alias stands; Sequence 0 is one that never was.
type Head struct {
	Sequence int64
	Version  int
	Package  artifact.Digest
}

// Next returns the move of an alias away from where it stands.
func (h Head) Next(tenant, model, environment, alias string, version int, at time.Time) Move {
	return Move{
		Tenant: tenant, Model: model, Environment: environment, Alias: alias,
		Sequence: h.Sequence + 1, Version: version, Previous: h.Package, IssuedAt: at.UTC().Truncate(time.Second),
	}
}

// ParseMove reads the predicate of a move.
// Errors: [ErrMove].
func ParseMove(predicate json.RawMessage) (Move, error) {
	var m Move
	if err := artifact.DecodeStrict(predicate, &m); err != nil {
		return m, fmt.Errorf("%w: %w", ErrMove, err)
	}
	if !ValidAlias(m.Alias) || m.Sequence < 1 || m.Version < 1 || m.Tenant == "" || m.Model == "" || m.Environment == "" || m.IssuedAt.IsZero() {
		return m, fmt.Errorf("%w: a field is missing or out of range", ErrMove)
	}
	return m, nil
}

// Fresh refuses a statement that was signed too long ago or is from the future.
// Errors: [ErrFresh].
func (m Move) Fresh(now time.Time) error {
	if m.IssuedAt.After(now.Add(maxSkew)) || m.IssuedAt.Before(now.Add(-maxMoveAge)) {
		return ErrFresh
	}
	return nil
}

// Follows refuses a move that does not begin where the alias stands.
// Errors: [ErrSuperseded].
func (m Move) Follows(h Head) error {
	if m.Sequence != h.Sequence+1 || m.Previous != h.Package {
		return ErrSuperseded
	}
	return nil
}
