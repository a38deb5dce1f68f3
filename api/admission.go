package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
	"github.com/atom-fabric/fabric/domain/tuning"
)

// An Admission says whether a run could begin now. A caller's run and a trial
// of a study are asked the same: the trial by a worker, with [Admission.Admit].
type Admission struct {
	opts      Options
	catalog   Catalog
	sites     Sites
	rules     Rules
	verdicts  Verdicts
	snapshots Snapshots
	budgets   Budgets
}

// NewAdmission returns it. Of the options it reads MaxUpload, SigningKey, Now
// and NewID.
func NewAdmission(opts Options, p Ports) *Admission {
	if opts.MaxUpload == 0 {
		opts.MaxUpload = defaultUpload
	}
	return &Admission{opts: opts, catalog: p.Catalog, sites: p.Sites, rules: p.Rules, verdicts: p.Verdicts, snapshots: p.Snapshots, budgets: p.Budgets}
}

// runWanted is a run that somebody would like.
type runWanted struct {
	ID        string // the cost of a secured round depends on its length
	Tenant    string
	TraceID   string
	Simulated bool
	ModelID   string
	Tenants   []string
	Params    round.Params
}

// admissible returns the parameters of a run complete if it could begin now: they
// hold together, every feature may be used and affords all rounds, enough sites
// are enrolled, and the rules have nothing against it.
func (s *Admission) admissible(ctx context.Context, w runWanted) (round.Params, error) {
	if w.Params.Production {
		switch {
		case w.Simulated:
			return round.Params{}, simulationRefused.because("a simulated caller cannot ask for a production round")
		case !s.opts.SigningKey:
			return round.Params{}, noSigningKey.because("a production round needs a signed manifest: set COSIGN_KEY_PATH or VAULT_ADDR, or leave production out")
		}
	}
	tenants := sorted(w.Tenants)
	params, have, err := s.consented(ctx, w.Tenant, tenants, w.Params)
	if err != nil {
		return params, err
	}
	if params, err = params.Validate(); err != nil {
		return params, paramProblem(err)
	}
	if err := uploadable(params, s.opts.MaxUpload); err != nil {
		return params, err
	}
	fleet, err := s.enrolled(ctx, w.Tenants, params)
	if err != nil {
		return params, err
	}
	if err := s.admitted(ctx, w, policy.Admission{
		Tenant: w.Tenant, Tenants: tenants, Model: w.ModelID, Requested: params.Features,
		Features: policy.Consents(have), Cohort: round.CohortOf(fleet),
		Production: params.Production, Signing: s.opts.SigningKey, Simulation: w.Simulated, Demands: demands(params),
	}); err != nil {
		return params, err
	}
	return params, s.affordable(ctx, Run{ID: w.ID, Tenant: w.Tenant, ModelID: w.ModelID, Tenants: tenants, Params: params}, fleet)
}

func sorted(names []string) []string { return slices.Sorted(slices.Values(names)) }

// Admit asks for the run of a trial what POST /train/round asks. A refusal is a
// [*tuning.Refusal]: parameters and rules are about the point that is tried,
// what else is refused no other point would mend.
func (s *Admission) Admit(ctx context.Context, in contract.RunInput, simulated bool) (round.Params, error) {
	params, err := s.admissible(ctx, runWanted{
		ID: "run-" + s.opts.NewID(), Tenant: in.Tenant, TraceID: in.TraceID, Simulated: simulated, ModelID: in.ModelID, Tenants: in.Tenants, Params: in.Params,
	})
	var p *Problem
	if !errors.As(err, &p) {
		return params, err
	}
	refusal := &tuning.Refusal{Reason: p.words()}
	switch p.Kind {
	case badParams, notAdmitted:
	case budgetExhausted:
		refusal.Status = tuning.StudyExhausted
	case noConsent, noSites, simulationRefused, noSigningKey:
		refusal.Status = tuning.StudyFailed
	default:
		return params, err
	}
	return params, refusal
}

// words are what the problem says to people: its detail, or else its title and
// what is wrong where.
func (p *Problem) words() string {
	if p.Detail != "" {
		return p.Detail
	}
	said := []string{p.Title}
	for _, item := range p.Items {
		said = append(said, strings.TrimPrefix(item.Pointer, "/params/")+" "+item.Detail)
	}
	return strings.Join(said, ": ")
}

// admitted asks the rules engine, which may be the operator's own and stricter
// than we are. An engine that does not answer admits nothing.
func (s *Admission) admitted(ctx context.Context, w runWanted, run policy.Admission) error {
	decided, err := s.rules.Admission(ctx, policy.Decision{
		ID: s.opts.NewID(), At: s.opts.Now().UTC().Truncate(time.Microsecond), TraceID: w.TraceID, Tenant: w.Tenant, Region: alone(run.Cohort), Purpose: "train", Simulated: w.Simulated,
	}, run)
	if err != nil {
		return fmt.Errorf("%w: rules engine: %w", ErrUnavailable, err)
	}
	// A decision that is not logged could not be replayed: without its row, no run.
	if err := s.verdicts.Record(ctx, decided); err != nil {
		return err
	}
	if !decided.Allowed {
		return notAdmitted.because("the rules refuse the run, it was not started: " + strings.Join(decided.Reasons, "; "))
	}
	return nil
}

// alone is the region of a run that has only one.
func alone(cohort []round.Cohort) string {
	region := ""
	for _, c := range cohort {
		if region != "" && region != c.Region {
			return ""
		}
		region = c.Region
	}
	return region
}

// demands are what the limits of the policy bound, rounded up: a run is not to
// slip below a limit by less than a thousandth.
func demands(p round.Params) policy.Demands {
	d := policy.Demands{DeadlineSeconds: p.DeadlineSeconds, Retries: p.Extensions}
	if p.Privacy.On() {
		d.EpsilonMilli, d.ClipMilli = milli(p.Privacy.MaxEpsilon), milli(p.Privacy.ClipNorm)
		if p.Privacy.MaxEpsilon == 0 {
			d.EpsilonMilli = unbounded // it leaves epsilon to the budgets
		}
	}
	return d
}

// unbounded is more than any limit allows.
const unbounded = 1 << 53

func milli(x float64) int64 { return int64(min(math.Ceil(1000*x), unbounded)) }

// consented fills in the features and the number of columns when they were
// left out, and refuses features that the caller may not use. It returns what
// is known of them as well.
func (s *Admission) consented(ctx context.Context, grantee string, tenants []string, p round.Params) (round.Params, []catalog.Feature, error) {
	have, err := s.catalog.ConsentedFeatures(ctx, grantee, tenants, p.Features)
	if err != nil {
		return p, nil, err
	}
	purposes := catalog.Purposes() // a run takes statistics, trains and evaluates
	if len(p.Features) == 0 {
		if p.Features = catalog.Common(have, grantee, tenants, purposes...); len(p.Features) == 0 {
			return p, nil, noConsent.because("no feature is registered by every tenant with consent that you may use; " +
				"register one with POST /features/register, consented, with you among the grantees")
		}
	}
	asked := p.Features
	p.Features = slices.Sorted(slices.Values(asked))
	if refusals := catalog.Refusals(have, grantee, tenants, p.Features, purposes...); len(refusals) > 0 {
		problem := noConsent.because(fmt.Sprintf("%d of the features asked for may not be used; the run was not started", len(refusals)))
		for _, refusal := range refusals {
			i := slices.Index(asked, refusal.Feature)
			problem.Items = append(problem.Items, v1.ProblemItem{Pointer: fmt.Sprintf("/params/features/%d", i), Detail: refusal.Error()})
		}
		return p, nil, problem
	}
	if p.Model.Inputs == 0 {
		for _, id := range p.Features {
			i := slices.IndexFunc(have, func(f catalog.Feature) bool { return f.Tenant == tenants[0] && f.ID == id })
			p.Model.Inputs += catalog.Columns(have[i].Schema)
		}
	}
	return p, have, nil
}

// enrolled returns the sites of the tenants, and refuses a run that its quorum
// could never be reached in.
func (s *Admission) enrolled(ctx context.Context, tenants []string, p round.Params) ([]site.Site, error) {
	sites, err := s.sites.ActiveSites(ctx, tenants)
	if err != nil {
		return nil, err
	}
	if sites, err = s.unquarantined(ctx, sites); err != nil {
		return nil, err
	}
	regions := map[string]bool{}
	for _, one := range sites {
		regions[one.Region] = true
	}
	if p.Secure.Mode == round.SecureOn && len(sites) < round.MinBucket {
		return nil, noSites.because(fmt.Sprintf(
			"%d sites are enrolled, and secure aggregation hides nobody among fewer than %d. Enrol more, or set params.secure.mode to auto where that is allowed",
			len(sites), round.MinBucket))
	}
	if len(sites) >= p.Quorum && len(regions) >= p.QuorumRegions {
		return sites, nil
	}
	problem := noSites.because(fmt.Sprintf(
		"%d sites in %d regions are enrolled; the quorum is %d in %d. Enrol a site of each tenant: fabric-site run --tenant <tenant>, with FEDERATION_TOKEN",
		len(sites), len(regions), p.Quorum, p.QuorumRegions))
	for i, tenant := range tenants {
		if !slices.ContainsFunc(sites, func(one site.Site) bool { return one.Tenant == tenant }) {
			problem.Items = append(problem.Items, v1.ProblemItem{Pointer: fmt.Sprintf("/tenants/%d", i), Detail: "tenant " + tenant + " has no enrolled site"})
		}
	}
	return nil, problem
}

// unquarantined returns the sites that the policy in force does not keep out of
// every run.
func (s *Admission) unquarantined(ctx context.Context, sites []site.Site) ([]site.Site, error) {
	world, err := s.snapshots.Latest(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(world.Regions))
	for i, r := range world.Regions {
		names[i] = r.Name
	}
	document := inForce(world, names)
	return slices.DeleteFunc(sites, func(one site.Site) bool { return document.Isolates(one.Tenant, one.ID) }), nil
}

// paramProblem names the parameter as the request spells it.
func paramProblem(err error) error {
	var param *round.ParamError
	if !errors.As(err, &param) {
		return err
	}
	return badParams.at("/params/"+snake(param.Param), param.Err.Error())
}

// snake turns model.learningRate into model/learning_rate, and sampleBP into
// sample_bp.
func snake(name string) string {
	var b strings.Builder
	inWord := false
	for _, r := range name {
		upper := r >= 'A' && r <= 'Z'
		switch {
		case r == '.':
			b.WriteByte('/')
		case upper && inWord:
			b.WriteByte('_')
			fallthrough
		case upper:
			b.WriteRune(r - 'A' + 'a')
		default:
			b.WriteRune(r)
		}
		inWord = !upper && r != '.'
	}
	return b.String()
}
