package consent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Why a grant does not permit a use.
var (
	ErrNone       = errors.New("no grant allows it")
	ErrWaiting    = errors.New("the grant has not begun")
	ErrExpired    = errors.New("the grant has expired")
	ErrWithdrawn  = errors.New("the grant was withdrawn")
	ErrOldEpoch   = errors.New("the grant is of an older epoch than the last withdrawal")
	ErrGrantee    = errors.New("the grant is for another tenant")
	ErrWrongUse   = errors.New("the grant does not allow this action")
	ErrWrongFor   = errors.New("the grant is for another purpose")
	ErrUndeclared = errors.New("the grant asks for an obligation that the run does not declare")
	ErrRegion     = errors.New("the grant does not allow this region")
	ErrCohort     = errors.New("too few sites are summed together for the grant")
	ErrEpsilon    = errors.New("the round may tell more than the grant allows")
	ErrRounds     = errors.New("all rounds of the grant are used")
	ErrDerived    = errors.New("the grant allows no run that starts from what was learnt")
)

// A Refusal says which grant does not permit a use, why, and what to do.
type Refusal struct {
	Tenant  string
	Feature string
	Grant   string // id; empty when there is none
	Detail  string // what was asked for
	Err     error
}

func (r *Refusal) Error() string {
	text := fmt.Sprintf("feature %s of tenant %s: %v", r.Feature, r.Tenant, r.Err)
	if r.Detail != "" {
		text += " (" + r.Detail + ")"
	}
	return text + "; " + r.Remedy()
}
func (r *Refusal) Unwrap() error { return r.Err }

// Remedy says what to do about the refusal.
func (r *Refusal) Remedy() string {
	switch {
	case errors.Is(r.Err, ErrWrongFor), errors.Is(r.Err, ErrUndeclared):
		return "state params.purpose and params.meets, or ask " + r.Tenant + " for a grant that fits"
	case errors.Is(r.Err, ErrRegion), errors.Is(r.Err, ErrCohort):
		return "change who takes part, or ask " + r.Tenant + " for a wider grant"
	case errors.Is(r.Err, ErrEpsilon):
		return "train with more noise (params.privacy), or ask " + r.Tenant + " for a wider grant"
	case errors.Is(r.Err, ErrWaiting):
		return "wait for its beginning"
	}
	return "ask " + r.Tenant + " for a grant: fabric consent request"
}

// A Use is what a round does with a feature of one tenant.
type Use struct {
	Grantee string // owner of the model
	Action  string
	Purpose string   // term of the Data Use Ontology; empty is not stated
	Meets   []string // modifiers that the asker declares to obey
	Regions []string // of the tenant's sites, and where their sums are made
	Cohort  int      // fewest sites that one of those sums is over; 0: nobody of the tenant takes part
	Private bool     // Epsilon bounds what the round tells
	Epsilon float64  // at the run's delta
	Derived bool     // the run starts from what another one learnt from the feature
	Now     time.Time
}

// Permits returns nil if the grant allows the use by what it says itself. A
// site asks it offline, of a grant whose signature it has verified.
// Errors: [*Refusal].
func (g Grant) Permits(u Use) error {
	refuse := func(err error, detail string, args ...any) error {
		return &Refusal{Tenant: g.Tenant, Feature: g.Feature, Grant: g.ID, Detail: fmt.Sprintf(detail, args...), Err: err}
	}
	c := g.Constraints
	switch state := (Record{Grant: g}).At(u.Now); {
	case g.Grantee != u.Grantee:
		return refuse(ErrGrantee, "%s asks", u.Grantee)
	case state == Waiting:
		return refuse(ErrWaiting, "it begins %s", g.NotBefore.Format(time.RFC3339))
	case state == Expired:
		return refuse(ErrExpired, "at %s", g.ExpiresAt.Format(time.RFC3339))
	case !slices.Contains(g.Actions, u.Action):
		return refuse(ErrWrongUse, "%s is not among %s", u.Action, strings.Join(g.Actions, ", "))
	case !allowsPurpose(g.Purposes, u.Purpose):
		return refuse(ErrWrongFor, "asked for %s, granted for %s", stated(u.Purpose), strings.Join(g.Purposes, ", "))
	}
	if missing := undeclared(g.Purposes, u.Meets); missing != "" {
		return refuse(ErrUndeclared, "%s", missing)
	}
	for _, region := range u.Regions {
		if len(c.Regions) > 0 && !slices.Contains(c.Regions, region) {
			return refuse(ErrRegion, "%s is not among %s", region, strings.Join(c.Regions, ", "))
		}
	}
	switch {
	case u.Cohort > 0 && u.Cohort < c.MinCohort:
		return refuse(ErrCohort, "%d, not %d", u.Cohort, c.MinCohort)
	case c.MaxEpsilon > 0 && u.Action != ActionEvaluate && !u.Private:
		return refuse(ErrEpsilon, "the round has no bound on epsilon, the grant's is %.3g", c.MaxEpsilon)
	case c.MaxEpsilon > 0 && u.Private && !(u.Epsilon <= c.MaxEpsilon):
		return refuse(ErrEpsilon, "epsilon %.3g, above %.3g", u.Epsilon, c.MaxEpsilon)
	case c.NoDerivative && u.Derived:
		return refuse(ErrDerived, "grant %s", g.ID)
	}
	return nil
}

func stated(purpose string) string {
	if purpose == "" {
		return "no stated purpose"
	}
	return purpose
}

// Permits returns nil if the grant allows the use, as far as its keeper knows
// more than it says itself. Errors: [*Refusal].
func (r Record) Permits(u Use) error {
	refuse := func(err error, detail string) error {
		return &Refusal{Tenant: r.Tenant, Feature: r.Feature, Grant: r.ID, Detail: detail, Err: err}
	}
	if r.Grantee != u.Grantee {
		return r.Grant.Permits(u)
	}
	if !r.WithdrawnAt.IsZero() {
		return refuse(ErrWithdrawn, "at "+r.WithdrawnAt.UTC().Format(time.RFC3339))
	}
	if m := r.Constraints.MaxRounds; m > 0 && r.Used >= m {
		return refuse(ErrRounds, fmt.Sprintf("%d of %d", r.Used, m))
	}
	return r.Grant.Permits(u)
}

// Choose returns the first of the records, by id, that permits every one of
// the actions, which is the one that a round is planned under. Where none does,
// it says what keeps the one that is nearest.
// Errors: [*Refusal].
func Choose(records []Record, tenant, feature string, u Use, actions ...string) (Record, error) {
	var nearest error = &Refusal{Tenant: tenant, Feature: feature, Err: ErrNone, Detail: u.Grantee + " asks"}
	far := -1
	for _, r := range Sorted(records) {
		if r.Tenant != tenant || r.Feature != feature || r.Grantee != u.Grantee {
			continue
		}
		var why error
		for _, a := range actions {
			u.Action = a
			if why = r.Permits(u); why != nil {
				break
			}
		}
		if why == nil {
			return r, nil
		}
		if d := distance(why); far < 0 || d < far {
			far, nearest = d, why
		}
	}
	return Record{}, nearest
}

// distance is how far a refusal is from a permission: what the asker can change
// is near.
func distance(err error) int {
	order := []error{
		ErrEpsilon, ErrCohort, ErrRegion, ErrDerived, ErrUndeclared, ErrWrongFor, ErrRounds, ErrWrongUse,
		ErrWaiting, ErrExpired, ErrWithdrawn, ErrOldEpoch,
	}
	at := slices.IndexFunc(order, func(known error) bool { return errors.Is(err, known) })
	if at < 0 {
		return len(order)
	}
	return at
}

// A Floor says that grants of a feature to a grantee count from an epoch on: it
// is what a withdrawal leaves, and it only rises.
type Floor struct {
	Feature string `json:"feature"`
	Grantee string `json:"grantee"`
	Epoch   int64  `json:"epoch"`
}

// Below says whether the floor ends the grant.
func (f Floor) Below(g Grant) bool {
	return f.Feature == g.Feature && f.Grantee == g.Grantee && g.Epoch < f.Epoch
}

// Raise returns the floors with more of them taken in, none lowered, by feature
// and grantee.
func Raise(floors, more []Floor) []Floor {
	out := slices.Clone(floors)
	for _, m := range more {
		at := slices.IndexFunc(out, func(f Floor) bool { return f.Feature == m.Feature && f.Grantee == m.Grantee })
		switch {
		case at < 0:
			out = append(out, m)
		default:
			out[at].Epoch = max(out[at].Epoch, m.Epoch)
		}
	}
	slices.SortFunc(out, func(a, b Floor) int {
		return strings.Compare(a.Feature+"/"+a.Grantee, b.Feature+"/"+b.Grantee)
	})
	return out
}

// MaxPack bounds the grants that one order hands to a site.
const MaxPack = 1000

// ErrPack says that what came with an order is no pack of grants.
var ErrPack = errors.New("not a list of signed grants")

// Pack returns the canonical form in which signed grants travel with an order:
// their bundles in the order given. The order names its digest.
func Pack(bundles []string) ([]byte, error) { return artifact.Canonical(bundles) }

// Unpack reads a pack. Errors: [ErrPack].
func Unpack(text []byte) ([]string, error) {
	var bundles []string
	if err := artifact.DecodeStrict(text, &bundles); err != nil || len(bundles) > MaxPack {
		return nil, ErrPack
	}
	return bundles, nil
}

// Read returns the grant of a verified statement. Errors: [ErrPack].
func Read(v artifact.Verified) (Grant, error) {
	var g Grant
	if err := artifact.DecodeStrict(v.Predicate, &g); err != nil {
		return g, fmt.Errorf("%w: %w", ErrPack, err)
	}
	return g, nil
}

// SubjectOf returns the digest of the grant that an unverified bundle holds, to
// ask a verifier whether the bundle is about exactly that. Errors: [ErrPack].
func SubjectOf(bundle []byte) (artifact.Digest, error) {
	envelope, err := artifact.ParseBundle(bundle)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrPack, err)
	}
	s, err := artifact.ParseStatement(envelope.Payload)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrPack, err)
	}
	var g Grant
	if err := artifact.DecodeStrict(s.Predicate, &g); err != nil {
		return "", fmt.Errorf("%w: %w", ErrPack, err)
	}
	_, digest, err := g.Encode()
	if err != nil || digest != s.Subject {
		return "", fmt.Errorf("%w: the statement is about something else than what it says", ErrPack)
	}
	return digest, nil
}
