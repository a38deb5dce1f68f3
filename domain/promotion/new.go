package promotion

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/policy"
)

// Kinds of plan.
const (
	KindPromotion = "promotion"
	KindPolicy    = "policy"
	KindTuning    = "tuning"
)

// Environments.
const (
	Dev        = "dev"
	Staging    = "staging"
	Production = "production"
)

// RowsRequired is the number of held-out rows after which a version counts as
// known: with it, the 95 % interval of an accuracy is at most 5 points to
// either side, 1.96²·0.25/0.05² = 384.2.
const RowsRequired = 385

// tuningReach is the share of traffic that a changed training parameter is
// taken to touch: none is served by it until a promotion, which is assessed.
const tuningReach = 0.01

// Why a plan cannot be made.
var (
	ErrKind        = errors.New("kind must be promotion, policy or tuning, with what it changes set and nothing else")
	ErrEnvironment = errors.New("environment must be dev, staging or production")
	ErrRegions     = errors.New("regions must be distinct and among those that are served")
	ErrNoChange    = errors.New("it changes nothing")
	ErrSimulated   = errors.New("a simulated caller may not change production")
	ErrRevision    = errors.New("the revision must be the one after that in force")
	ErrBaseline    = errors.New("a canary is compared with what serves, and in some of the regions nothing does; leave it out there")
	ErrWayBack     = errors.New("a way back goes at once: a canary would keep what is to go")
	ErrUnproven    = errors.New("its scorecard does not pass in a critical dimension")
)

// A Desire is what is to be brought about. One of Version, Policy and Tuning is
// set, by Kind. Regions in rollout order; none: every region that is served.
type Desire struct {
	Kind        string
	Tenant      string
	ModelID     string // empty for a policy
	Environment string
	Regions     []string
	Version     *Version
	Canary      *canary.Design // absent: everybody at once
	AtOnce      bool           // which was asked for in so many words
	Policy      *policy.Document
	Guard       *Guard          // of a policy; absent: nothing is watched between regions
	Proposal    artifact.Digest // that a policy came from
	ExpiresAt   time.Time       // of the proposal
	Tuning      *Tuning
	Simulated   bool
}

// A World is what the planner saw. What does not concern the kind of plan
// stays zero, in Observed too.
type World struct {
	Observed  Observed
	Regions   []string        // that are served, in the order of the fabric
	Policy    policy.Document // in force; zero when there is none
	Evaluated int64           // held-out rows that the version was measured on
	Drilled   bool            // a rollback succeeded within the last 30 days
	Served    bool            // the version has served this environment before
	// Answers are those of the model and environment of late, by region: what of
	// its traffic a region has. Without any, all regions count the same.
	Answers map[string]int64
}

// NewPlan returns the plan that brings the desire about, with its diff and its
// risk. It decides nothing about permission.
// Errors: one of this package's, or a [*policy.DocumentError].
func NewPlan(d Desire, w World) (Plan, error) {
	regions, err := targets(d.Regions, w.Regions)
	if err != nil {
		return Plan{}, err
	}
	environ, err := environ(d.Environment)
	if err != nil {
		return Plan{}, err
	}
	if d.Simulated && d.Environment == Production {
		return Plan{}, ErrSimulated
	}
	p := Plan{
		Kind:        d.Kind,
		Tenant:      d.Tenant,
		ModelID:     d.ModelID,
		Environment: d.Environment,
		Regions:     regions,
		Observed:    w.Observed,
		Simulated:   d.Simulated,
	}
	f := Factors{Environ: environ, Reach: w.reach(regions), Reversal: ReversalUndrilled, Loosens: true}
	if w.Drilled {
		f.Reversal = ReversalDrilled
	}
	switch {
	case d.Kind == KindPromotion && d.Version != nil && d.Policy == nil && d.Tuning == nil:
		err = p.promote(d, w, &f)
	case d.Kind == KindPolicy && d.Policy != nil && d.Version == nil && d.Tuning == nil:
		err = p.govern(d, w, &f)
	case d.Kind == KindTuning && d.Tuning != nil && d.Version == nil && d.Policy == nil:
		err = p.tune(d, &f)
	default:
		err = ErrKind
	}
	if err != nil {
		return Plan{}, err
	}
	p.Risk = Assess(f)
	return p, nil
}

func (p *Plan) promote(d Desire, w World, f *Factors) error {
	v := *d.Version
	if v.Number == w.Observed.Champion && v.Package == w.Observed.Package {
		return ErrNoChange
	}
	p.Version, p.Rollback = &v, w.Served
	before := "-"
	if w.Observed.Champion > 0 {
		before = fmt.Sprintf("version %d (%s)", w.Observed.Champion, w.Observed.Package.Short())
	}
	p.Diff = []Change{{
		What: fmt.Sprintf("%s of %s in %s", d.Environment, d.ModelID, strings.Join(p.Regions, ", ")),
		From: before,
		To:   fmt.Sprintf("version %d (%s)", v.Number, v.Package.Short()),
	}}
	if err := p.stage(d, w); err != nil {
		return err
	}
	f.Class = ClassModel
	f.Uncertain = 1 - min(1, float64(w.Evaluated)/RowsRequired)
	f.Loosens = !w.Served
	return nil
}

// stage puts the canary into the plan. What is fixed there before the first
// answer is what approvers agree to.
func (p *Plan) stage(d Desire, w World) error {
	if d.Canary == nil {
		if d.AtOnce && d.Environment == Production && w.Observed.Champion > 0 && !w.Served {
			p.Diff = append(p.Diff, Change{What: "canary", From: "the default", To: "none: everybody gets it at once"})
		}
		return nil
	}
	if err := d.Canary.Validate(len(p.Regions)); err != nil {
		return err
	}
	switch {
	case w.Served:
		return ErrWayBack
	case len(w.Observed.Served) != len(p.Regions) || slices.Contains(w.Observed.Served, 0) || slices.Contains(w.Observed.Served, p.Version.Number):
		return ErrBaseline
	}
	design := *d.Canary
	p.Canary = &design
	var shares []string
	for _, s := range design.SharesBP {
		shares = append(shares, percent(s))
	}
	if shadow := design.Shadow; shadow != nil {
		p.Diff = append(p.Diff, Change{
			What: "shadow, before anybody is answered by it", From: "-",
			To: fmt.Sprintf("a copy of %s %% of the requests, answers discarded; %d copies and %d s before each region is over", percent(shadow.ShareBP), shadow.Required, design.BakeSeconds),
		})
	}
	p.Diff = append(p.Diff, Change{
		What: "canary, region by region", From: "-",
		To: fmt.Sprintf("%s %%, %s; %d answers on either side and %d s before each step is over", strings.Join(shares, ", "), margins(design), design.Required, design.BakeSeconds),
	})
	return nil
}

// percent writes basis points for people.
func percent(bp int) string { return strconv.FormatFloat(float64(bp)/100, 'f', -1, 64) }

// margins returns what a canary may be worse by, for people.
func margins(d canary.Design) string {
	var all []string
	for _, g := range d.Guardrails {
		unit := "percentage points"
		if g.Scale == canary.Relative {
			unit = "% of the baseline"
		}
		all = append(all, fmt.Sprintf("%s up by no more than %s %s", g.Metric, strconv.FormatFloat(float64(g.MarginBP)/100, 'f', -1, 64), unit))
	}
	return strings.Join(all, " and ")
}

// reach is the share of all answers that the regions give. Where nobody has
// asked yet, one region is as much as another; and a region of little traffic
// never makes a plan look smaller than its share of the regions, because it may
// not stay so: of both shares the larger one counts.
func (w World) reach(regions []string) float64 {
	even := share(len(regions), len(w.Regions))
	var part, all int64
	for _, r := range w.Regions {
		all += w.Answers[r]
		if slices.Contains(regions, r) {
			part += w.Answers[r]
		}
	}
	if all == 0 {
		return even
	}
	return max(even, float64(part)/float64(all))
}

// Quietest returns the regions by rising traffic, those of equal traffic in
// their order: where a rollout begins, it reaches the least.
func (w World) Quietest(regions []string) []string {
	sorted := slices.Clone(regions)
	slices.SortStableFunc(sorted, func(a, b string) int { return cmp.Compare(w.Answers[a], w.Answers[b]) })
	return sorted
}

func (p *Plan) govern(d Desire, w World, f *Factors) error {
	if err := d.Policy.Validate(); err != nil {
		return err
	}
	if d.Policy.Revision != w.Observed.Policy+1 {
		return ErrRevision
	}
	diff := policy.Diff(w.Policy, *d.Policy)
	if len(diff) == 0 {
		return ErrNoChange
	}
	for _, c := range diff {
		p.Diff = append(p.Diff, Change(c))
	}
	p.Proposal, p.ExpiresAt = d.Proposal, d.ExpiresAt
	if d.Guard != nil {
		if err := d.Guard.Check(); err != nil {
			return err
		}
		guard := *d.Guard
		p.Guard = &guard
		p.Diff = append(p.Diff, Change{What: "watched, region by region", From: "-", To: guard.String()})
	}
	raw, err := d.Policy.Encode()
	if err != nil {
		return err
	}
	message := json.RawMessage(raw)
	p.Policy = &message

	why, loosens := policy.Loosens(w.Policy, *d.Policy)
	f.Class, f.Loosens = ClassModel, loosens
	if w.Policy.Bounds().MaxEpsilonMilli != d.Policy.Bounds().MaxEpsilonMilli || w.Policy.Bounds().MaxClipMilli != d.Policy.Bounds().MaxClipMilli {
		f.Class = ClassPrivacy
	} else if !slices.EqualFunc(w.Policy.Rules, d.Policy.Rules, policy.Rule.Equal) {
		f.Class = ClassAccess
	}
	if loosens {
		f.Reversal = ReversalBoundary
		p.Diff = append(p.Diff, Change{What: "protection", From: "-", To: "less: " + why})
	}
	return nil
}

func (p *Plan) tune(d Desire, f *Factors) error {
	t := *d.Tuning
	for _, one := range t.All() {
		if one.From == one.To {
			return ErrNoChange
		}
		p.Diff = append(p.Diff, Change{What: one.What + " of " + d.ModelID, From: one.From, To: one.To})
	}
	p.Tuning = &t
	f.Reach, f.Reversal, f.Class, f.Uncertain = tuningReach, ReversalNone, ClassModel, .5
	return nil
}

// targets returns the wanted regions, or all of them.
func targets(want, served []string) ([]string, error) {
	if len(want) == 0 {
		want = served
	}
	for i, r := range want {
		if !slices.Contains(served, r) || slices.Contains(want[:i], r) {
			return nil, fmt.Errorf("%q: %w", r, ErrRegions)
		}
	}
	if len(want) == 0 {
		return nil, ErrRegions
	}
	return slices.Clone(want), nil
}

func environ(name string) (float64, error) {
	switch name {
	case Dev:
		return EnvironDev, nil
	case Staging:
		return EnvironStaging, nil
	case Production:
		return EnvironProduction, nil
	}
	return 0, ErrEnvironment
}

func share(part, whole int) float64 { return float64(part) / float64(whole) }
