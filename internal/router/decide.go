package router

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/domain/endpoint"
	"github.com/atom-fabric/fabric/domain/routing"
)

// resolve returns what answers a caller's request for a model, or why nothing
// does. A model that does not exist and one that the caller may not call are
// told apart by nobody.
func (p *plan) resolve(who caller, in request) (*target, *problem) {
	refs := p.table.Routes(in.tenant, in.model)
	if in.prefers.owner != "" {
		refs = slices.DeleteFunc(slices.Clone(refs), func(r routing.Ref) bool { return r.Owner != in.prefers.owner })
	} else if refs = own(refs, in.tenant); owners(refs) > 1 {
		return nil, &problem{code: "ambiguous_model", status: http.StatusUnprocessableEntity, title: "Several tenants' models have this id",
			errors: []fieldError{{"/preferences/owner", "name the tenant whose model is meant"}}}
	}
	if len(refs) == 0 {
		return nil, noRoute("No version of model %s has been promoted to an environment that tenant %s may call.", in.model, in.tenant)
	}
	ref, problem := choose(refs, who, in)
	if problem != nil {
		return nil, problem
	}
	return p.targets[p.table.Target(in.tenant, ref.Owner, in.model, ref.Environment)], nil
}

// own keeps the tenant's own model, if it has one of that id.
func own(refs []routing.Ref, tenant string) []routing.Ref {
	mine := slices.DeleteFunc(slices.Clone(refs), func(r routing.Ref) bool { return r.Owner != tenant })
	if len(mine) > 0 {
		return mine
	}
	return refs
}

func owners(refs []routing.Ref) int {
	seen := map[string]bool{}
	for _, r := range refs {
		seen[r.Owner] = true
	}
	return len(seen)
}

// choose picks the environment: the one that is asked for, else production. A
// simulated caller never reaches what production reads: it is served by
// staging, then by dev, then by a production route that is itself simulated.
func choose(refs []routing.Ref, who caller, in request) (routing.Ref, *problem) {
	wanted := []string{production}
	switch {
	case in.prefers.environment != "":
		wanted = []string{in.prefers.environment}
	case who.simulated:
		wanted = []string{staging, dev, production}
	}
	barred := false
	for _, environment := range wanted {
		for _, ref := range refs {
			if ref.Environment != environment {
				continue
			}
			if who.simulated && environment == production && !ref.Simulated {
				barred = true
				continue
			}
			return ref, nil
		}
	}
	if barred {
		return routing.Ref{}, &problem{code: "simulation_refused", status: http.StatusForbidden, title: "A simulated caller may not do this",
			detail: fmt.Sprintf("Model %s serves production, which a caller without a token never reaches. Present a token, or promote a version to staging or dev.", in.model)}
	}
	var have []string
	for _, ref := range refs {
		have = append(have, ref.Environment)
	}
	return routing.Ref{}, noRoute("No version of model %s has been promoted to %s for tenant %s; there is one in %s. Ask for it with preferences.environment.",
		in.model, strings.Join(wanted, " or "), in.tenant, strings.Join(slices.Compact(have), ", "))
}

// ask is what the request asks of the candidates.
func (r *Router) ask(t *target, in request) endpoint.Ask {
	a := endpoint.Ask{
		Now: r.now(), Near: r.opts.Region, Only: in.prefers.region, Kind: in.prefers.kind, MaxCostMicros: in.prefers.maxCost,
		LimitMillis: latencyLimit, Weights: t.Weights, Random: rand.Uint64(),
	}
	if in.prefers.region != "" {
		a.Near = in.prefers.region
	}
	if in.prefers.maxLatency > 0 {
		a.LimitMillis = float64(in.prefers.maxLatency.Milliseconds())
	}
	return a
}

// pick returns the index of the candidate that answers, or -1. A region that
// the caller prefers comes first; if nobody there can answer, another permitted
// region does.
func (r *Router) pick(t *target, a *endpoint.Ask) int {
	totals := r.scratch.Get().(*[]float64)
	defer r.scratch.Put(totals)
	if cap(*totals) < len(t.candidates) {
		*totals = make([]float64, len(t.candidates))
	}
	i := endpoint.Choose(t.candidates, a, (*totals)[:len(t.candidates)])
	if a.Only != "" && (i < 0 || t.candidates[i].Live.Ejected(a.Now)) {
		anywhere := *a
		anywhere.Only = ""
		i = endpoint.Choose(t.candidates, &anywhere, (*totals)[:len(t.candidates)])
	}
	return i
}

// permitted refuses, before anything is sent, a request that no endpoint, or
// none in the region that the caller names, may answer. It names the rules.
func permitted(t *target, region string) *problem {
	inRegion := func(r string) bool { return region == "" || r == region }
	if slices.ContainsFunc(t.candidates, func(c endpoint.Candidate) bool { return inRegion(c.Region) }) {
		return nil
	}
	var rules []string
	known := false
	for _, x := range t.Excluded {
		if !inRegion(x.Region) {
			continue
		}
		known = true
		if strings.HasPrefix(x.Rule, "policy/") && !slices.Contains(rules, x.Rule) {
			rules = append(rules, x.Rule)
		}
	}
	where := "in any region"
	if region != "" {
		where = "in region " + region
	}
	switch {
	case len(rules) > 0:
		return &problem{code: "not_permitted", status: http.StatusForbidden, title: "The policy does not permit it",
			detail: fmt.Sprintf("Tenant %s may not be answered by model %s %s, by rule %s.", t.Caller, t.Model, where, strings.Join(rules, ", "))}
	case known && region != "":
		return noRoute("Model %s is not served in region %s.", t.Model, region)
	case region != "":
		return badField("/preferences/region", "no endpoint is in this region")
	}
	return &problem{code: "none_healthy", status: http.StatusServiceUnavailable, title: "No permitted endpoint can answer now",
		detail: fmt.Sprintf("No endpoint serves model %s.", t.Model), retry: 5}
}

// unfit says why no candidate answers: for its health, which passes, or for
// what the caller asks, which does not.
func unfit(t *target, a *endpoint.Ask) *problem {
	anywhere := *a
	anywhere.Only = ""
	var asked []string
	for i := range t.candidates {
		rule := anywhere.Refuses(&t.candidates[i])
		if strings.HasPrefix(rule, "health/") || rule == "" {
			return &problem{code: "none_healthy", status: http.StatusServiceUnavailable, title: "No permitted endpoint can answer now",
				detail: fmt.Sprintf("%d endpoints may answer, none of them is ready.", len(t.candidates)), retry: 1}
		}
		if !slices.Contains(asked, rule) {
			asked = append(asked, rule)
		}
	}
	return &problem{code: "preferences_unmet", status: http.StatusUnprocessableEntity, title: "No permitted endpoint is what the caller prefers",
		detail: fmt.Sprintf("%d endpoints may answer; none fits %s.", len(t.candidates), strings.Join(asked, ", "))}
}

// A decision is what the caller learns of why it was answered from there.
type decision struct {
	ID          string              `json:"id"`
	Reason      string              `json:"reason"`
	Environment string              `json:"environment"`
	Policy      int64               `json:"policy"`
	Considered  int                 `json:"considered"`
	Attempts    int                 `json:"attempts"`
	Excluded    []routing.Exclusion `json:"excluded"`
	Scores      []scored            `json:"scores,omitempty"` // on request
}

type scored struct {
	Endpoint string `json:"endpoint"`
	Region   string `json:"region"`
	endpoint.Scores
}

// maxExcluded bounds what an answer lists; with explain it lists all.
const maxExcluded = 16

// explain says why, at the time of the decision: live scores differ a moment
// later.
func explain(t *target, a *endpoint.Ask, in request) decision {
	d := decision{Environment: t.Environment, Policy: t.Policy, Considered: len(t.candidates), Excluded: t.Excluded}
	if !in.prefers.explain {
		if d.Excluded = d.Excluded[:min(len(d.Excluded), maxExcluded)]; d.Excluded == nil {
			d.Excluded = []routing.Exclusion{}
		}
		return d
	}
	d.Excluded = append([]routing.Exclusion{}, t.Excluded...)
	anywhere := *a
	anywhere.Only = ""
	for i := range t.candidates {
		c := &t.candidates[i]
		if rule := anywhere.Refuses(c); rule != "" {
			d.Excluded = append(d.Excluded, routing.Exclusion{Endpoint: c.Name, Region: c.Region, Rule: rule})
			continue
		}
		if c.Live.Ejected(a.Now) {
			d.Excluded = append(d.Excluded, routing.Exclusion{Endpoint: c.Name, Region: c.Region, Rule: "health/set-aside"})
		}
		d.Scores = append(d.Scores, scored{c.Name, c.Region, a.Score(c)})
	}
	slices.SortStableFunc(d.Scores, func(x, y scored) int {
		switch {
		case x.Total > y.Total:
			return -1
		case x.Total < y.Total:
			return 1
		}
		return 0
	})
	return d
}

// reason says in words what decided.
func reason(t *target, a *endpoint.Ask, chosen, attempt int) string {
	c := &t.candidates[chosen]
	switch {
	case attempt > 1:
		return fmt.Sprintf("%s answered after another endpoint failed", c.Name)
	case len(t.candidates) == 1:
		return "the only permitted endpoint"
	case a.Only != "" && c.Region == a.Only:
		return "the best permitted endpoint of the preferred region"
	case a.Only != "":
		return fmt.Sprintf("nobody in %s can answer now; the best permitted endpoint elsewhere", a.Only)
	}
	return fmt.Sprintf("the best of %d permitted endpoints by latency, cost, fabric score and locality", len(t.candidates))
}
