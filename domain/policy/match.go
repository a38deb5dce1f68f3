package policy

import "slices"

// Any matches every tenant, model or region in a rule.
const Any = "*"

// Kinds of runtime.
const (
	Neural  = "neural"
	Quantum = "quantum"
)

// DefaultThreshold is the risk from which a production change that takes no
// protection away needs approvers too.
const DefaultThreshold = 20

// Default returns the first revision: every tenant may be answered in every
// region, by neural runtimes only.
func Default() Document {
	return Document{
		Revision:  1,
		Rules:     []Rule{{Name: "default", Tenant: Any, Model: Any, Regions: []string{Any}, Kinds: []string{Neural}}},
		Weights:   Weights{Latency: 400, Cost: 200, Fabric: 200, Locality: 200},
		Threshold: DefaultThreshold,
	}
}

// Rule returns the rule that decides for a tenant and a model: the first that
// matches. Without one, nothing is permitted.
func (d Document) Rule(tenant, model string) (Rule, bool) {
	for _, r := range d.Rules {
		if r.Matches(tenant, model) {
			return r, true
		}
	}
	return Rule{}, false
}

// Permits says whether a tenant's call of a model may be answered in a region
// by a kind of runtime.
func (d Document) Permits(tenant, model, region, kind string) bool {
	r, ok := d.Rule(tenant, model)
	return ok && r.Permits(region, kind) && d.Open(region)
}

// Matches says whether the rule decides for a tenant and a model.
func (r Rule) Matches(tenant, model string) bool {
	return (r.Tenant == Any || r.Tenant == tenant) && (r.Model == Any || r.Model == model)
}

// Permits says whether the rule permits a region and a kind.
func (r Rule) Permits(region, kind string) bool {
	return (slices.Contains(r.Regions, region) || slices.Contains(r.Regions, Any)) && slices.Contains(r.Kinds, kind)
}
