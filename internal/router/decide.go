package router

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/domain/endpoint"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
)

// resolve returns what answers a caller's request for a model, or why nothing
// does. A model that does not exist and one that the caller may not call are
// told apart by nobody. The caller's own model comes before another tenant's.
func (p *plan) resolve(who caller, in *request) (*target, *problem) {
	all := p.models[modelKey{in.tenant, in.model}]
	owner := in.prefers.owner
	for i := 0; owner == "" && i < len(all); i++ {
		if all[i].Owner == in.tenant {
			owner = in.tenant
		}
	}
	if owner == "" && len(all) > 0 {
		if owner = all[0].Owner; owner != all[len(all)-1].Owner { // they are in the order of owners
			return nil, &problem{code: "ambiguous_model", status: http.StatusUnprocessableEntity, title: "Several tenants' models have this id",
				errors: []fieldError{{"/preferences/owner", "name the tenant whose model is meant"}}}
		}
	}
	barred := false
	for _, environment := range environments(who, in) {
		for _, t := range all {
			if t.Owner != owner || t.Environment != environment {
				continue
			}
			if who.simulated && environment == production && !t.simulated {
				barred = true
				continue
			}
			return t, nil
		}
	}
	return nil, unresolved(all, owner, barred, who, in)
}

// environments are those that may answer, the first one first: the one that is
// asked for, else production. A simulated caller never reaches what production
// reads: it is served by staging, then by dev, then by a production route that
// is itself simulated.
func environments(who caller, in *request) [3]string {
	switch {
	case in.prefers.environment != "":
		return [3]string{in.prefers.environment}
	case who.simulated:
		return [3]string{staging, dev, production}
	}
	return [3]string{production}
}

// unresolved says why no target of a model answers a caller.
func unresolved(all []*target, owner string, barred bool, who caller, in *request) *problem {
	if barred {
		return &problem{code: "simulation_refused", status: http.StatusForbidden, title: "A simulated caller may not do this",
			detail: fmt.Sprintf("Model %s serves production, which a caller without a token never reaches. Present a token, or promote a version to staging or dev.", in.model)}
	}
	var have []string
	for _, t := range all {
		if t.Owner == owner {
			have = append(have, t.Environment)
		}
	}
	if len(have) == 0 {
		return noRoute("No version of model %s has been promoted to an environment that tenant %s may call.", in.model, in.tenant)
	}
	asked := environments(who, in)
	wanted := slices.DeleteFunc(asked[:], func(environment string) bool { return environment == "" })
	return noRoute("No version of model %s has been promoted to %s for tenant %s; there is one in %s. Ask for it with preferences.environment.",
		in.model, strings.Join(wanted, " or "), in.tenant, strings.Join(slices.Compact(have), ", "))
}

// ask is what the request asks of the candidates.
func (r *Router) ask(t *target, in *request, s side) endpoint.Ask {
	a := endpoint.Ask{
		Among: s.among, Instead: s.instead, Now: r.now(), Near: r.opts.Region, Only: in.prefers.region, Kind: in.prefers.kind, MaxCostMicros: in.prefers.maxCost,
		LimitMillis: latencyLimit, Weights: t.Weights, Random: rand.Uint64(),
	}
	if in.prefers.region != "" {
		a.Near = in.prefers.region
	}
	if in.prefers.weights != (policy.Weights{}) {
		a.Weights = policy.Document{Weights: t.Weights, Leeway: t.Leeway}.Blend(in.prefers.weights)
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
	work := r.scratch.Get().(*endpoint.Work)
	i := t.pool.Pick(a, work)
	r.scratch.Put(work)
	return i
}

// excluded returns who is not permitted to answer a call, and why.
func (t *target) excluded(in *request) []routing.Exclusion {
	if t.Purposes == nil {
		return t.Excluded
	}
	return slices.Concat(t.Excluded, t.For(in.prefers.purpose))
}

// permitted refuses, before anything is sent, a request that no endpoint, or
// none in the region that the caller names, may answer. It names the rules.
func permitted(t *target, in *request) *problem {
	region := in.prefers.region
	inRegion := func(r string) bool { return region == "" || r == region }
	for i, may := 0, &t.sidesFor(in.prefers.purpose).champion; i < len(t.Permitted); i++ {
		if may.Has(i) && inRegion(t.nodes[i].Region) {
			return nil
		}
	}
	var rules []string
	known := false
	for _, x := range t.excluded(in) {
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
		if !a.Among.Has(i) {
			continue
		}
		rule := anywhere.Refuses(&t.candidates[i])
		if strings.HasPrefix(rule, "health/") || rule == "" {
			return &problem{code: "none_healthy", status: http.StatusServiceUnavailable, title: "No permitted endpoint can answer now",
				detail: fmt.Sprintf("%d endpoints may answer, none of them is ready.", a.Among.Len()) + barred(t), retry: 1}
		}
		if !slices.Contains(asked, rule) {
			asked = append(asked, rule)
		}
	}
	return &problem{code: "preferences_unmet", status: http.StatusUnprocessableEntity, title: "No permitted endpoint is what the caller prefers",
		detail: fmt.Sprintf("%d endpoints may answer; none fits %s.", a.Among.Len(), strings.Join(asked, ", "))}
}
