// Package promotion plans a change of what production runs and says how risky
// it is.
//
// Invariant: a plan is immutable and is applied by its digest only. What it
// observed must still hold when it is applied, else it is stale and refused.
package promotion

import (
	"encoding/json"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
)

// A Plan is everything that an apply will do. One of Version, Policy, Tuning
// and Restore is set, by Kind.
type Plan struct {
	Kind        string           `json:"kind"` // "promotion", "policy", "tuning", "restore"
	Tenant      string           `json:"tenant"`
	ModelID     string           `json:"modelId,omitempty"`
	Environment string           `json:"environment"` // "dev", "staging", "production"
	Regions     []string         `json:"regions"`     // in rollout order
	Observed    Observed         `json:"observed"`
	Version     *Version         `json:"version,omitempty"`
	Canary      *canary.Design   `json:"canary,omitempty"`   // of a version; absent: everybody at once
	Policy      *json.RawMessage `json:"policy,omitempty"`   // a policy.Document
	Guard       *Guard           `json:"guard,omitempty"`    // of a policy; absent: nothing is watched between regions
	Proposal    artifact.Digest  `json:"proposal,omitempty"` // predicate of the policy loop's statement that it came from
	Tuning      *Tuning          `json:"tuning,omitempty"`
	Restore     *Restore         `json:"restore,omitempty"`
	Diff        []Change         `json:"diff"` // for people: what changes
	Risk        Risk             `json:"risk"`
	Simulated   bool             `json:"simulated"`
	ExpiresAt   time.Time        `json:"expiresAt,omitzero"` // of the proposal that it came from: it does not begin later
	Rollback    bool             `json:"rollback,omitempty"` // the version has served this environment before
}

// Observed is the world that the plan was made in.
type Observed struct {
	Snapshot int64           `json:"snapshot"`          // version of the data plane's snapshot
	Champion int             `json:"champion"`          // version number that serves now, 0 for none
	Package  artifact.Digest `json:"package,omitempty"` // of it
	Policy   int64           `json:"policy"`            // policy revision in force
	State    artifact.Digest `json:"state,omitempty"`   // of everything that a restore replaces
	Served   []int           `json:"served,omitempty"`  // by each of the plan's regions: a version number, 0 for none
}

// Version is the model version that a promotion serves.
type Version struct {
	Number     int             `json:"number"`
	Repository string          `json:"repository"`
	Package    artifact.Digest `json:"package"`
	Weights    artifact.Digest `json:"weights"`
	Bundle     artifact.Digest `json:"bundle"`
}

// Tuning is one changed training parameter, as decimal text, and the others
// that change with it.
type Tuning struct {
	Parameter string   `json:"parameter"`
	From      string   `json:"from"`
	To        string   `json:"to"`
	Also      []Change `json:"also,omitempty"`
}

// All returns every parameter that changes, by its name.
func (t Tuning) All() []Change {
	return append([]Change{{What: t.Parameter, From: t.From, To: t.To}}, t.Also...)
}

// A Change is one line of the diff.
type Change struct {
	What string `json:"what"`
	From string `json:"from"`
	To   string `json:"to"`
}
