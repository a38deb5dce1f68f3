package contract

import (
	"encoding/json"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// PointInput asks for a recovery point of what a tenant runs now.
type PointInput struct {
	Subject
	Action string `json:"action"` // "snap-<uuid>"
	Actor  string `json:"actor"`
	Reason string `json:"reason,omitempty"`
}

// A Point is a recovery point that was put together and is not signed yet.
type Point struct {
	Sequence  int64               `json:"sequence"`
	Point     artifact.Descriptor `json:"point"`     // blob of a [recovery.Point]
	Predicate artifact.Descriptor `json:"predicate"` // blob of what is signed about it
}

// RecordPointInput makes a signed point the newest of its tenant.
type RecordPointInput struct {
	PointInput
	Point  Point               `json:"point"`
	Bundle artifact.Descriptor `json:"bundle"`
}

// PointResult is the point that an action took.
type PointResult struct {
	Action   string          `json:"action"`
	Sequence int64           `json:"sequence"`
	Digest   artifact.Digest `json:"digest"`
}

// RestoreInput starts a restore; the plan's Restore names the point.
type RestoreInput struct {
	Subject
	Action    string              `json:"action"` // "restore-<uuid>"
	Requester string              `json:"requester"`
	Plan      artifact.Descriptor `json:"plan"`
}

// RestoreResult is how a restore ended.
type RestoreResult struct {
	Action   string      `json:"action"`
	Outcome  string      `json:"outcome"`
	Cause    string      `json:"cause,omitempty"`
	Sequence int64       `json:"sequence"`
	Snapshot SnapshotRef `json:"snapshot"`
	Evidence []Evidence  `json:"evidence"`
}

// VerifyPointInput asks whether a recovery point may be gone back to: signed,
// in the chain, and every item as its digest says.
type VerifyPointInput struct {
	Subject
	Point    artifact.Digest `json:"point"`
	Sequence int64           `json:"sequence"`
}

// VerifiedPoint is what the regions must hold for it.
type VerifiedPoint struct {
	Items int        `json:"items"`
	Holds []HeldPart `json:"holds"`
}

// A HeldPart is a version that regions must hold.
type HeldPart struct {
	ModelID string          `json:"modelId"`
	Version int             `json:"version"`
	Package artifact.Digest `json:"package"`
	Regions []string        `json:"regions"`
}

// RecoverInput publishes one phase of a restore: PhaseLoad, PhaseSwitch or
// PhaseBack. An action publishes a phase once.
type RecoverInput struct {
	Subject
	Action string          `json:"action"`
	Phase  string          `json:"phase"`
	Plan   promotion.Plan  `json:"plan"`
	Grant  promotion.Grant `json:"grant,omitzero"`
}

// Recovered is what was published, and what each region must run then.
type Recovered struct {
	Snapshot SnapshotRef   `json:"snapshot"`
	Regions  []RegionWant  `json:"regions"`
	Policies []GovernedDoc `json:"policies,omitempty"` // new revisions, for the index of record
	Models   []ChampionAt  `json:"models,omitempty"`   // what serves now
	Aliases  []AliasAt     `json:"aliases,omitempty"`  // where the point's aliases stood
}

// A RegionWant is what a region's runtime must report.
type RegionWant struct {
	Region   string          `json:"region"`
	Policy   artifact.Digest `json:"policy"`
	Packages []PackageWant   `json:"packages"`
	Routes   []RouteWant     `json:"routes"`
}

// A PackageWant is a package that must be loaded.
type PackageWant struct {
	Key     string          `json:"key"` // "tenant/model/version"
	Package artifact.Digest `json:"package"`
}

// A RouteWant is a route's version; 0 when there must be no route.
type RouteWant struct {
	Key     string `json:"key"` // "tenant/model/environment"
	Version int    `json:"version"`
}

// A GovernedDoc is a policy document under the revision that it now has.
type GovernedDoc struct {
	Revision int64           `json:"revision"`
	Document json.RawMessage `json:"document"`
}

// A ChampionAt is the version that serves an environment.
type ChampionAt struct {
	ModelID     string `json:"modelId"`
	Environment string `json:"environment"`
	Version     int    `json:"version"`
}

// An AliasAt is an alias of a model.
type AliasAt struct {
	ModelID     string          `json:"modelId"`
	Environment string          `json:"environment"`
	Alias       string          `json:"alias"`
	Version     int             `json:"version"`
	Package     artifact.Digest `json:"package"`
}

// AwaitRecoveredInput waits until a region's runtime reports what it should.
type AwaitRecoveredInput struct {
	Subject
	Phase   string     `json:"phase"`
	Want    RegionWant `json:"want"`
	Version int64      `json:"version"` // snapshot version to have reached
	Seconds int        `json:"seconds"`
}
