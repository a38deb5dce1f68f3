package api

import (
	"context"
	"fmt"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/lineage"
)

// Consents keeps grants, their withdrawals, requests for access, and versions
// of features. What crosses tenants does so on purpose and says it.
type Consents interface {
	// Grant records a grant of cmd.Tenant: id, epoch and, where it is absent, its
	// beginning are set by the adapter; a grant with a bundle comes complete and
	// is of the epoch that is now (ErrStale). ErrNotFound without the feature.
	// Leaf: consent.granted, "feature/<tenant>/<id>", digest of the grant.
	Grant(ctx context.Context, cmd Command, g consent.Grant, bundle artifact.Descriptor, reply Reply[consent.Record]) (Answer, error)
	// ListGrants returns the grants of the caller's tenant by id (the key), of one
	// feature or (empty) of all, and the tenant's consent epoch.
	ListGrants(ctx context.Context, caller Caller, feature string, page Page) ([]consent.Record, int64, error)
	// Preview returns what a withdrawal would reach now. It crosses tenants: the
	// rounds belong to those who hold the grants. ErrNotFound when none stands.
	Preview(ctx context.Context, caller Caller, feature string, grantees []string) (consent.Report, error)
	// WithdrawGrants ends the standing grants of a feature to the grantees (none:
	// all) with the start of the workflow that carries it on. ErrNotFound when
	// none stands. Leaf: consent.withdrawn.
	WithdrawGrants(ctx context.Context, cmd Command, feature string, grantees []string, reason string, reply Reply[Withdrawal]) (Answer, error)
	// Withdrawal returns one of the caller's tenant. ErrNotFound.
	Withdrawal(ctx context.Context, caller Caller, epoch int64) (Withdrawal, error)
	// Decide records what becomes of what was learnt; the same again is a
	// success, another one ErrConflict. ErrClosed when there is nothing to decide.
	// Leaf: consent.decided.
	Decide(ctx context.Context, cmd Command, epoch int64, decision, reason string, reply Reply[Withdrawal]) (Answer, error)

	// Cards returns features of every tenant whose id, description or tags hold
	// the words; the key is "tenant/id". It crosses tenants, and shows no more
	// than that they exist.
	Cards(ctx context.Context, caller Caller, words string, page Page) ([]Card, error)
	// RequestAccess asks the owner of a feature; while a request waits, the same
	// one again is that one. ErrNotFound without the feature. Leaf:
	// access.requested, of who asks.
	RequestAccess(ctx context.Context, cmd Command, in Access, reply Reply[Access]) (Answer, error)
	// AccessRequests returns what the caller's tenant asked for and is asked, the
	// newest first, at most 200.
	AccessRequests(ctx context.Context, caller Caller) ([]Access, error)
	// DecideAccess moves a request to a feature of the caller's tenant, and grants
	// or withdraws what follows. ErrClosed when its state has no such step.
	// Leaf: access.decided.
	DecideAccess(ctx context.Context, cmd Command, id string, event consent.AccessEvent, reason string, reply Reply[Access]) (Answer, error)

	// FeatureVersions returns every version of a feature of the caller's tenant,
	// the newest first. ErrNotFound.
	FeatureVersions(ctx context.Context, caller Caller, feature string) ([]catalog.Feature, error)
	// PromoteFeature puts a version into use. ErrNotFound; [*catalog.Breaks].
	// Leaf: feature.promoted.
	PromoteFeature(ctx context.Context, cmd Command, feature string, version int, reply Reply[catalog.Feature]) (Answer, error)

	// Lineage returns the facts of the rounds of a run of the caller's tenant, by
	// number. ErrNotFound.
	Lineage(ctx context.Context, caller Caller, run string) ([]lineage.Round, error)
}

// A Withdrawal is consent that was taken back, and what is known of its reach.
type Withdrawal struct {
	Tenant     string
	Epoch      int64
	Feature    string
	Grants     []string
	Grantees   []string
	Reason     string
	AskedAt    time.Time
	ReportedAt time.Time // zero before
	Report     artifact.Descriptor
	Markdown   artifact.Descriptor
	Bundle     artifact.Descriptor
	Undecided  bool // something had been learnt
	Decision   string
	DecidedBy  string
	DecidedFor string
	DecidedAt  time.Time
}

// A Taint is a withdrawal that reaches a version.
type Taint struct {
	Version  int
	Tenant   string // who withdrew
	Feature  string
	Epoch    int64
	Decision string // stop, retrain or retire; empty for none yet
	Round    string // run/number: one that learnt from it
}

// Words says it to people.
func (t Taint) Words() string {
	decided := "nobody has decided what becomes of it: fabric consent decide"
	if t.Decision != "" {
		decided = "decided: " + t.Decision
	}
	return fmt.Sprintf("round %s learnt from feature %s of %s, whose consent was withdrawn (epoch %d); %s", t.Round, t.Feature, t.Tenant, t.Epoch, decided)
}

// A Card says that a feature exists. Access is the caller's.
type Card struct {
	Tenant      string
	Feature     string
	Description string
	Tags        []string
	Access      string
}

// An Access is a request to use a feature of another tenant.
type Access struct {
	ID         string
	Owner      string
	Feature    string
	Requester  string
	Purpose    string
	Actions    []string
	Reason     string
	Days       int
	State      consent.AccessState
	GrantID    string
	DecidedFor string
	DecidedAt  time.Time
	CreatedAt  time.Time
}
