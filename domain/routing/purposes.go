package routing

import (
	"fmt"

	"github.com/atom-fabric/fabric/domain/policy"
)

// RulePurpose is the name of the reason that a policy's rule is for other
// purposes than the call's.
const RulePurpose = "policy/%d/%s/purpose"

// For returns who of the permitted is not permitted for a purpose.
func (g *Target) For(purpose string) []Exclusion {
	if barred, named := g.Purposes[purpose]; named {
		return barred
	}
	return g.Purposes[""]
}

// purposes adds what the rules say of purposes.
func (g *Target) purposes(t *Table, policies map[string]policy.Document) {
	named := []string{""}
	for _, doc := range policies {
		if rule, ok := doc.Rule(g.Caller, g.Model); ok {
			named = append(named, rule.Purposes...)
		}
	}
	if len(named) == 1 {
		return
	}
	g.Purposes = map[string][]Exclusion{}
	for _, purpose := range named {
		g.Purposes[purpose] = nil
		for _, permit := range g.Permitted {
			if rule, e := t.bars(g, permit, policies, purpose); rule != "" {
				g.Purposes[purpose] = append(g.Purposes[purpose], Exclusion{Endpoint: e.Name, Region: e.Region, Rule: rule})
			}
		}
	}
}

// bars returns the rule by which a permitted endpoint may not answer for a
// purpose, or "". Both policies are asked, as for the region.
func (t *Table) bars(g *Target, permit Permit, policies map[string]policy.Document, purpose string) (string, Endpoint) {
	e := t.Snapshot.Endpoints[permit.Endpoint]
	for _, at := range []string{t.Home, e.Region} {
		doc, ok := policies[at]
		if !ok {
			continue // a router without a region of its own
		}
		if rule, _ := doc.Rule(g.Caller, g.Model); !rule.Serves(purpose) {
			return fmt.Sprintf(RulePurpose, doc.Revision, rule.Name), e
		}
	}
	return "", e
}
