package promotion

import (
	"errors"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// KindRestore is the kind of a plan that goes back to a recovery point.
const KindRestore = "restore"

// ErrPoint says that a restore names no recovery point.
var ErrPoint = errors.New("it names no recovery point")

// Restore is the recovery point that a plan goes back to.
type Restore struct {
	Sequence int64           `json:"sequence"`
	Point    artifact.Digest `json:"point"`
	Head     int64           `json:"head"` // sequence of the newest point then
}

// A Return is what a restore would change.
type Return struct {
	Tenant    string
	Restore   Restore
	Regions   []string // all of the fabric's, in its order
	Observed  Observed
	Changes   []Change
	Policies  bool // a region's policy changes
	Loosens   bool // and takes protection away
	Simulated bool
}

// NewRestore returns the plan that goes back to a recovery point. Going back to
// the newest one counts as a rollback, as long as it takes no protection away:
// it needs one person at most. An older one undoes what was approved since, and
// needs whoever its risk asks for. It reaches everything of the tenant in every
// environment, so it is planned as a change of production.
// Errors: [ErrPoint]; [ErrNoChange]; [ErrRegions]; [ErrSimulated].
func NewRestore(r Return) (Plan, error) {
	switch {
	case r.Restore.Sequence < 1 || r.Restore.Sequence > r.Restore.Head || r.Restore.Point == "":
		return Plan{}, ErrPoint
	case len(r.Regions) == 0:
		return Plan{}, ErrRegions
	case len(r.Changes) == 0:
		return Plan{}, ErrNoChange
	case r.Simulated:
		return Plan{}, ErrSimulated
	}
	newest := r.Restore.Sequence == r.Restore.Head
	f := Factors{Environ: EnvironProduction, Reach: 1, Reversal: ReversalUndrilled, Class: ClassModel, Loosens: r.Loosens || !newest}
	if r.Policies {
		f.Class = ClassAccess
	}
	if r.Loosens {
		f.Reversal = ReversalBoundary
	}
	restore := r.Restore
	return Plan{
		Kind:        KindRestore,
		Tenant:      r.Tenant,
		Environment: Production,
		Regions:     slices.Clone(r.Regions),
		Observed:    r.Observed,
		Restore:     &restore,
		Diff:        slices.Clone(r.Changes),
		Risk:        Assess(f),
		Rollback:    newest && !r.Loosens,
	}, nil
}
