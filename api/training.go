package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
)

// Training is the callers' half of the federated trainer, I.1.2.
type Training struct {
	b         *Border
	catalog   Catalog
	runs      Runs
	sites     Sites
	workflows Workflows
	rules     Rules
	verdicts  Verdicts
	snapshots Snapshots
	budgets   Budgets
	consents  Consents
	spent     spending
}

// NewTraining returns the service.
func NewTraining(b *Border, p Ports) *Training {
	return &Training{b: b, catalog: p.Catalog, runs: p.Runs, sites: p.Sites, workflows: p.Workflows, rules: p.Rules, verdicts: p.Verdicts, snapshots: p.Snapshots, budgets: p.Budgets, consents: p.Consents}
}

// Mount implements [Service].
func (s *Training) Mount(r gin.IRouter) {
	s.b.mount(r, "startRun", s.start)
	s.b.mount(r, "getRun", s.get)
	s.b.mount(r, "listRuns", s.list)
	s.b.mount(r, "getRunProgress", s.progress)
	s.b.mount(r, "stopRun", s.stop)
	s.b.mount(r, "pauseRun", s.pause)
	s.b.mount(r, "resumeRun", s.resume)
	s.b.mount(r, "getRunLineage", s.lineage)
}

// start accepts a run only if it could begin now: its parameters hold
// together, every feature may be used and affords all rounds, and enough sites
// are enrolled. The round checks all of it again when it is planned.
func (s *Training) start(c *gin.Context, k call) error {
	var in v1.RunRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	if err := keepable(k.Tenant, in.ModelID); err != nil {
		return err
	}
	ctx := c.Request.Context()
	params := paramsOf(in.Params)
	if params.Production {
		switch {
		case k.Simulated:
			return simulationRefused.because("a simulated caller cannot ask for a production round")
		case !s.b.opts.SigningKey:
			return noSigningKey.because("a production round needs a signed manifest: set COSIGN_KEY_PATH or VAULT_ADDR, or leave production out")
		}
	}
	tenants := slices.Sorted(slices.Values(in.Tenants))
	params, have, err := s.consented(ctx, k.Tenant, tenants, params)
	if err != nil {
		return err
	}
	if params, err = params.Validate(); err != nil {
		return paramProblem(err)
	}
	if err := s.b.uploadable(params); err != nil {
		return err
	}
	fleet, err := s.enrolled(ctx, in.Tenants, params)
	if err != nil {
		return err
	}
	if err := s.admitted(ctx, k, policy.Admission{
		Tenant: k.Tenant, Tenants: tenants, Model: in.ModelID, Requested: params.Features,
		Features: policy.Consents(have), Cohort: round.CohortOf(fleet),
		Production: params.Production, Signing: s.b.opts.SigningKey, Simulation: k.Simulated, Demands: demands(params),
	}); err != nil {
		return err
	}
	run := Run{
		ID: "run-" + s.b.opts.NewID(), Tenant: k.Tenant, ModelID: in.ModelID, Tenants: tenants, Params: params,
		Requester: k.Subject, Status: "accepted", CreatedAt: s.b.now(), Simulated: k.Simulated, TraceID: k.TraceID,
	}
	if err := s.affordable(ctx, run, fleet); err != nil {
		return err
	}
	input := contract.RunInput{
		Subject: contract.Subject{Tenant: run.Tenant, ModelID: run.ModelID, TraceID: run.TraceID},
		Run:     run.ID, Tenants: run.Tenants, Params: run.Params,
	}
	if err := s.originate(ctx, k.Caller, in.From, &input); err != nil {
		return err
	}
	start := Start{
		Workflow:   contract.TrainingRun.Name,
		ID:         contract.RunID(run.ID),
		Queue:      contract.QueueControl,
		Input:      input,
		Summary:    fmt.Sprintf("train %s of %s: %d rounds over %s", run.ModelID, run.Tenant, params.Rounds, some(tenants)),
		Attributes: Attributes{Tenant: run.Tenant, Model: run.ModelID, Stage: "accepted"},
	}
	answer, err := s.runs.StartRun(ctx, k.command, run, start, replying(http.StatusAccepted, k.accepted))
	return s.b.done(c, answer, err)
}

// admitted asks the rules engine, which may be the operator's own and stricter
// than we are. An engine that does not answer admits nothing.
func (s *Training) admitted(ctx context.Context, k call, run policy.Admission) error {
	decided, err := s.rules.Admission(ctx, policy.Decision{
		ID: s.b.opts.NewID(), At: s.b.now(), TraceID: k.TraceID, Tenant: k.Tenant, Region: alone(run.Cohort), Purpose: "train", Simulated: k.Simulated,
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
func (s *Training) consented(ctx context.Context, grantee string, tenants []string, p round.Params) (round.Params, []catalog.Feature, error) {
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
func (s *Training) enrolled(ctx context.Context, tenants []string, p round.Params) ([]site.Site, error) {
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
func (s *Training) unquarantined(ctx context.Context, sites []site.Site) ([]site.Site, error) {
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

// some names the first few.
func some(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}

func (s *Training) get(c *gin.Context, k call) error {
	run, err := s.runs.Run(c.Request.Context(), k.Caller, c.Param("id"))
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, runView(run))
}

func (s *Training) list(c *gin.Context, k call) error {
	p, err := page(c)
	if err != nil {
		return err
	}
	runs, err := s.runs.Runs(c.Request.Context(), k.Caller, RunFilter{Status: c.Query("status"), Model: c.Query("model")}, p)
	if err != nil {
		return err
	}
	runs, next := paged(p, runs, func(r Run) string { return r.ID })
	return s.b.send(c, http.StatusOK, v1.RunPage{Items: views(runs, runView), Next: next, Simulated: k.Simulated})
}

// accepted is what a command on a run answers with.
func (k call) accepted(run Run) any {
	return v1.RunAccepted{
		ID:         run.ID,
		StatusURL:  k.link("/train/status/" + run.ID),
		WorkflowID: contract.RunID(run.ID),
		TraceID:    run.TraceID,
		Simulated:  k.Simulated,
	}
}

// link returns a path that works for the same caller without further thought:
// a simulated one names its tenant.
func (k call) link(path string) string {
	if k.Simulated {
		return path + "?tenant=" + k.Tenant
	}
	return path
}
