package routing

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/domain/policy"
)

// Why a snapshot cannot be used.
var (
	ErrVersion   = errors.New("version must be 1 or more")
	ErrTwice     = errors.New("occurs twice")
	ErrURL       = errors.New("not an http or https URL without credentials, query and fragment")
	ErrNoPackage = errors.New("no package of that version")
	ErrNoPolicy  = errors.New("no policy document of that revision")
)

// A SnapshotError says which part of a snapshot is at fault, and why.
type SnapshotError struct {
	Part string // e.g. "endpoint eu-1"
	Err  error
}

func (e *SnapshotError) Error() string { return fmt.Sprintf("snapshot: %s: %v", e.Part, e.Err) }
func (e *SnapshotError) Unwrap() error { return e.Err }

// Names of the reasons, other than a policy's rules, for which an endpoint may
// not answer. A rule of a policy is named "policy/<revision>/<rule>".
const (
	RuleRoute    = "route/regions"     // the route does not serve in that region
	RulePackage  = "package/regions"   // the package is not loaded in that region
	RuleNoPolicy = "policy/none"       // a region without a policy permits nothing
	RuleNoRule   = "policy/%d/no-rule" // no rule of the revision matches: refused
	RuleClosed   = "policy/%d/closed"  // the revision closes the endpoint's region
)

// A Table is a snapshot, compiled: for every caller, model and environment the
// endpoints that may answer. It is never changed, so readers need no lock.
type Table struct {
	Snapshot Snapshot
	Home     string // the region that decides for its own requests, may be ""
	// Governing is the home region's policy, by which endpoints are weighed and
	// calls are counted. A router without a region goes by the newest.
	Governing policy.Document

	targets map[targetKey]*Target
	models  map[callerModel][]Ref // by ascending owner and environment
}

// A Target is a model in an environment, for one caller.
type Target struct {
	Caller      string
	Owner       string
	Model       string
	Environment string
	Wire        string // name of the model in the Open Inference Protocol
	Policy      int64  // revision that the weights are from
	Weights     policy.Weights
	Leeway      int            // of a caller in the weights
	Shares      []policy.Share // of regions; all three of the same revision
	Legs        []Leg          // the champions', then the canary's
	Permitted   []Permit       // by ascending index of the endpoint; on the champions' legs
	Excluded    []Exclusion    // the others, in the same order
	Trial       *Trial         // nil: no canary runs where the caller is answered
	// Purposes says, for each purpose that a rule for the caller and the model
	// names and for "", which is every other and none, who of Permitted is not
	// permitted for it. nil: no such rule names one.
	Purposes map[string][]Exclusion
}

// A Trial is the canary of a target.
type Trial struct {
	Lineage string
	Share   int // basis points
	Mirror  int // basis points of the requests, see [Canary]
	Leg     int // its own, into Target.Legs
	// Permitted are the endpoints for a call on the canary's side. They are those
	// of the target, on the canary's leg where their region runs it.
	Permitted []Permit

	lottery Lottery
}

// Bucket returns in which of the 10,000 buckets a caller is, see [Lottery.Bucket].
func (t *Trial) Bucket(tenant, callerKey string) int { return t.lottery.Bucket(tenant, callerKey) }

// Takes says whether a call is on the canary's side. The caller key is what the
// tenant tells its own callers apart by.
func (t *Trial) Takes(tenant, callerKey string) bool {
	return t.Bucket(tenant, callerKey) < t.Share
}

// Mirrors says whether a request is in the sample of which the canary gets a
// copy. The hash is that of the callers, of the decision's id: whoever has the
// record can say the same, and one caller of many calls is no more of the sample
// than of the requests.
func (t *Trial) Mirrors(tenant, decision string) bool {
	return t.Mirror > 0 && t.Bucket(tenant, decision) < t.Mirror
}

// A Leg is the version that some regions serve. While a version moves region
// by region there are two, and while one is tried it has a leg of its own.
type Leg struct {
	Route   Route
	Package Package
}

// A Permit is an endpoint that may answer, with the leg that it is on.
type Permit struct {
	Endpoint int // index into Snapshot.Endpoints
	Leg      int
}

// An Exclusion names the rule that keeps an endpoint from answering.
type Exclusion struct {
	Endpoint string `json:"endpoint"`
	Region   string `json:"region"`
	Rule     string `json:"rule"`
}

// A Ref names what a caller may use. It is simulated if every leg is.
type Ref struct {
	Owner       string
	Environment string
	Simulated   bool
}

type callerModel struct{ caller, model string }

type targetKey struct {
	callerModel
	owner, environment string
}

// WireName returns the name that a runtime knows a model by.
func WireName(tenant, model string) string { return tenant + "." + model }

// Compile returns the table of a snapshot for a router in home. A snapshot with
// a fault is refused whole: half of one was never signed.
//
// An endpoint is permitted if its own region's policy and the home region's
// both permit it. Between the two of a rollout, region by region, that is the
// stricter of the old and the new.
// Errors: [*SnapshotError].
func Compile(s Snapshot, home string) (*Table, error) {
	if s.Version < 1 {
		return nil, &SnapshotError{"version", ErrVersion}
	}
	policies, err := policiesByRegion(s)
	if err != nil {
		return nil, err
	}
	if err := checkEndpoints(s.Endpoints); err != nil {
		return nil, err
	}
	packages, err := packagesByVersion(s.Packages)
	if err != nil {
		return nil, err
	}
	t := &Table{Snapshot: s, Home: home, targets: map[targetKey]*Target{}, models: map[callerModel][]Ref{}}
	if home, homed := policies[home]; homed {
		t.Governing = home
	} else {
		for _, doc := range policies {
			if doc.Revision > t.Governing.Revision {
				t.Governing = doc
			}
		}
	}
	for _, route := range s.Routes {
		pkg, ok := packages[packageKey{route.Tenant, route.Model, route.Version}]
		if !ok {
			return nil, &SnapshotError{fmt.Sprintf("route %s/%s/%s to version %d", route.Tenant, route.Model, route.Environment, route.Version), ErrNoPackage}
		}
		if err := t.add(Leg{route, pkg}); err != nil {
			return nil, err
		}
	}
	if err := s.checkCanaries(); err != nil {
		return nil, err
	}
	for key, target := range t.targets {
		t.compile(target, policies)
		target.purposes(t, policies)
		target.try(s, packages)
		simulated := !slices.ContainsFunc(target.Legs, func(l Leg) bool { return !l.Route.Simulated })
		t.models[key.callerModel] = append(t.models[key.callerModel], Ref{key.owner, key.environment, simulated})
	}
	for _, refs := range t.models {
		slices.SortFunc(refs, func(a, b Ref) int {
			return cmp.Or(strings.Compare(a.Owner, b.Owner), strings.Compare(a.Environment, b.Environment))
		})
	}
	return t, nil
}

// add puts a leg into the targets of its callers.
func (t *Table) add(leg Leg) error {
	r := leg.Route
	for _, caller := range slices.Compact(slices.Sorted(slices.Values(append([]string{r.Tenant}, r.Callers...)))) {
		key := targetKey{callerModel{caller, r.Model}, r.Tenant, r.Environment}
		target := t.targets[key]
		if target == nil {
			target = &Target{Caller: caller, Owner: r.Tenant, Model: r.Model, Environment: r.Environment, Wire: WireName(r.Tenant, r.Model)}
			t.targets[key] = target
		}
		for _, other := range target.Legs {
			if slices.ContainsFunc(r.Regions, func(region string) bool { return slices.Contains(other.Route.Regions, region) }) {
				return &SnapshotError{fmt.Sprintf("route %s/%s/%s in a region", r.Tenant, r.Model, r.Environment), ErrTwice}
			}
		}
		target.Legs = append(target.Legs, leg)
	}
	return nil
}

// Target returns what answers a caller, or nil.
func (t *Table) Target(caller, owner, model, environment string) *Target {
	return t.targets[targetKey{callerModel{caller, model}, owner, environment}]
}

// Routes returns the routes of a model that a caller may use, by owner and
// environment. The result is shared: do not change it.
func (t *Table) Routes(caller, model string) []Ref { return t.models[callerModel{caller, model}] }

// Targets returns every target, by owner, model, environment and caller.
func (t *Table) Targets() []*Target {
	out := make([]*Target, 0, len(t.targets))
	for _, target := range t.targets {
		out = append(out, target)
	}
	slices.SortFunc(out, func(a, b *Target) int {
		return cmp.Or(strings.Compare(a.Owner, b.Owner), strings.Compare(a.Model, b.Model),
			strings.Compare(a.Environment, b.Environment), strings.Compare(a.Caller, b.Caller))
	})
	return out
}

// compile decides once what would else be decided on every request.
func (t *Table) compile(g *Target, policies map[string]policy.Document) {
	g.Policy, g.Weights, g.Leeway, g.Shares = t.Governing.Revision, t.Governing.Weights, t.Governing.Leeway, t.Governing.Shares
	for i, e := range t.Snapshot.Endpoints {
		leg := slices.IndexFunc(g.Legs, func(l Leg) bool { return slices.Contains(l.Route.Regions, e.Region) })
		rule := ""
		switch {
		case leg < 0:
			rule = RuleRoute
		case !slices.Contains(g.Legs[leg].Package.Regions, e.Region):
			rule = RulePackage
		case t.Home != "":
			rule = refusal(policies, t.Home, g.Caller, g.Model, e)
		}
		if rule == "" {
			rule = refusal(policies, e.Region, g.Caller, g.Model, e)
		}
		if rule == "" {
			g.Permitted = append(g.Permitted, Permit{Endpoint: i, Leg: leg})
		} else {
			g.Excluded = append(g.Excluded, Exclusion{Endpoint: e.Name, Region: e.Region, Rule: rule})
		}
	}
}

// try adds the canary of the target's model, if there is one where the caller
// is answered. Policies do not tell versions apart, so the endpoints stay.
func (g *Target) try(s Snapshot, packages map[packageKey]Package) {
	c, ok := s.Challenger(g.Owner, g.Model, g.Environment)
	if !ok {
		return
	}
	route := Route{Tenant: c.Tenant, Model: c.Model, Environment: c.Environment, Version: c.Version, Simulated: c.Simulated}
	for _, leg := range g.Legs {
		for _, region := range leg.Route.Regions {
			if slices.Contains(c.Regions, region) {
				route.Regions, route.Callers = append(route.Regions, region), leg.Route.Callers
			}
		}
	}
	if len(route.Regions) == 0 {
		return
	}
	slices.Sort(route.Regions)
	trial := &Trial{Lineage: c.Lineage, Share: c.Share, Mirror: c.Mirror, Leg: len(g.Legs), Permitted: slices.Clone(g.Permitted), lottery: Draw(c.Lineage)}
	g.Legs = append(g.Legs, Leg{route, packages[packageKey{c.Tenant, c.Model, c.Version}]})
	for i, permit := range trial.Permitted {
		if slices.Contains(route.Regions, s.Endpoints[permit.Endpoint].Region) {
			trial.Permitted[i].Leg = trial.Leg
		}
	}
	g.Trial = trial
}

// refusal returns the name of the rule by which the policy of region at keeps
// the endpoint from answering, or "".
func refusal(policies map[string]policy.Document, at, caller, model string, e Endpoint) string {
	doc, ok := policies[at]
	if !ok {
		return RuleNoPolicy
	}
	rule, ok := doc.Rule(caller, model)
	if !ok {
		return fmt.Sprintf(RuleNoRule, doc.Revision)
	}
	if !rule.Permits(e.Region, e.Kind) {
		return fmt.Sprintf("policy/%d/%s", doc.Revision, rule.Name)
	}
	if !doc.Open(e.Region) {
		return fmt.Sprintf(RuleClosed, doc.Revision)
	}
	return ""
}

// Admits reports whether the policy of a region lets any tenant at all be
// answered there by a model on a kind of runtime: what a runtime asks before it
// loads a package. The tenants that may differ are those that a rule names; all
// others are alike.
func Admits(doc policy.Document, model, region, kind string) bool {
	if doc.Permits("", model, region, kind) {
		return true
	}
	return slices.ContainsFunc(doc.Rules, func(r policy.Rule) bool {
		return r.Tenant != policy.Any && doc.Permits(r.Tenant, model, region, kind)
	})
}

// PolicyOf returns what a region runs, with the document.
func (s Snapshot) PolicyOf(region string) (Region, policy.Document, bool) {
	for _, r := range s.Regions {
		if r.Name != region {
			continue
		}
		for _, doc := range s.Policies {
			if doc.Revision == r.Policy {
				return r, doc, true
			}
		}
	}
	return Region{}, policy.Document{}, false
}

func policiesByRegion(s Snapshot) (map[string]policy.Document, error) {
	revisions := map[int64]bool{}
	for _, doc := range s.Policies {
		if revisions[doc.Revision] {
			return nil, &SnapshotError{fmt.Sprintf("policy %d", doc.Revision), ErrTwice}
		}
		revisions[doc.Revision] = true
		if err := doc.Validate(); err != nil {
			return nil, &SnapshotError{fmt.Sprintf("policy %d", doc.Revision), err}
		}
	}
	out := map[string]policy.Document{}
	for _, r := range s.Regions {
		if _, twice := out[r.Name]; twice {
			return nil, &SnapshotError{"region " + r.Name, ErrTwice}
		}
		_, doc, ok := s.PolicyOf(r.Name)
		if !ok {
			return nil, &SnapshotError{fmt.Sprintf("region %s: policy %d", r.Name, r.Policy), ErrNoPolicy}
		}
		out[r.Name] = doc
	}
	return out, nil
}

func checkEndpoints(endpoints []Endpoint) error {
	names := map[string]bool{}
	for _, e := range endpoints {
		if names[e.Name] {
			return &SnapshotError{"endpoint " + e.Name, ErrTwice}
		}
		names[e.Name] = true
		at, err := url.Parse(e.URL)
		if err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" || at.User != nil || at.RawQuery != "" || at.Fragment != "" {
			return &SnapshotError{"endpoint " + e.Name, ErrURL}
		}
	}
	return nil
}

type packageKey struct {
	tenant, model string
	version       int
}

func packagesByVersion(packages []Package) (map[packageKey]Package, error) {
	out := map[packageKey]Package{}
	for _, p := range packages {
		key := packageKey{p.Tenant, p.Model, p.Version}
		if _, twice := out[key]; twice {
			return nil, &SnapshotError{fmt.Sprintf("package %s/%s/%d", p.Tenant, p.Model, p.Version), ErrTwice}
		}
		out[key] = p
	}
	return out, nil
}
