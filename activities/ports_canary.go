package activities

import (
	"context"

	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// Grants keeps what may be written.
type Grants interface {
	// Mint writes a grant once for its action and returns the one that stands, in
	// one transaction with the check that the action has started with this plan
	// and, where people had to agree, that its ballot's approval has begun over
	// exactly this plan. ErrRefused when it has not. Leaf: <kind>.granted,
	// "<kind>/<action>", plan digest, grant id.
	Mint(ctx context.Context, grant promotion.Grant) (promotion.Grant, error)
	// Granted returns nil for a grant that Mint has returned, else ErrRefused.
	Granted(ctx context.Context, grant promotion.Grant) error
}

// Canaries keeps what rollouts saw and did.
type Canaries interface {
	// NoteFact writes a fact of a rollout, once by its number, and returns the one
	// that stands. Leaf, but for a look: canary.<kind>, "promotion/<action>".
	NoteFact(ctx context.Context, tenant, action string, fact canary.Fact) (canary.Fact, error)
	// Facts returns the facts of a rollout by number.
	Facts(ctx context.Context, tenant, action string) ([]canary.Fact, error)
}

// Cards says what the scorecard of a version is worth to its promotion.
type Cards interface {
	// Unproven returns why the newest scorecard of a version does not let it be
	// promoted, or "" when it does, or when the version has none.
	Unproven(ctx context.Context, tenant, model string, version int) (string, error)
}
