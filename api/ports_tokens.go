package api

import (
	"context"
	"time"
)

// MaxRevocations bounds what a tenant has in force at once: each router holds
// them all. Beyond it one takes back everything that was issued until now.
const MaxRevocations = 1000

// Revocations keeps the tokens that are not accepted any more.
type Revocations interface {
	// Revoke writes a revocation of the caller's tenant. ErrConflict when
	// [MaxRevocations] are in force. Leaf: token.revoked, "revocation/<tenant>/<id>".
	Revoke(ctx context.Context, cmd Command, r Revocation, reply Reply[Revocation]) (Answer, error)
	// Revocations returns those of the caller's tenant, newest first; the key is
	// the id, which sorts by time (page.After: ids below it).
	Revocations(ctx context.Context, caller Caller, page Page) ([]Revocation, error)
}

// A Revocation takes tokens back before they expire: the one named Token, those
// of Subject, or, with neither, all of the tenant.
type Revocation struct {
	ID        string
	Tenant    string
	Token     string    // claim jti
	Subject   string    // claim sub
	Before    time.Time // issued in this second or earlier
	Until     time.Time // by then the last of them has expired by itself
	Actor     string
	Reason    string
	RevokedAt time.Time
}
