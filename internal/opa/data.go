package opa

import (
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
)

// data lays a document out for the rules: data.fabric of the bundle. The rules
// of routing, of which the first that matches decides, become a table by tenant
// and model, so that an answer does not take longer with the number of rules.
func data(d policy.Document) map[string]any {
	limits := d.Bounds()
	closed := map[string]any{}
	for _, s := range d.Shares {
		if s.Weight == 0 {
			closed[s.Region] = true
		}
	}
	return map[string]any{"fabric": map[string]any{
		"revision":   d.Revision,
		"routes":     routes(d),
		"closed":     closed,
		"threshold":  d.Threshold,
		"barTrainer": d.Balloting().BarTrainer,
		"limits": map[string]any{
			"maxEpsilonMilli": limits.MaxEpsilonMilli, "minCohort": limits.MinCohort, "maxDeadlineSeconds": limits.MaxDeadlineSeconds,
			"maxClipMilli": limits.MaxClipMilli, "maxRetries": limits.MaxRetries,
		},
	}}
}

// routes is exact: two calls that no rule tells apart are decided alike, so a
// row for every tenant that a rule names and one for all others is enough, and
// likewise for models.
func routes(d policy.Document) map[string]any {
	tenants, models := []string{policy.Any}, []string{policy.Any}
	for _, r := range d.Rules {
		tenants, models = append(tenants, r.Tenant), append(models, r.Model)
	}
	table := map[string]any{}
	for _, tenant := range distinct(tenants) {
		row := map[string]any{}
		for _, model := range distinct(models) {
			// A name that is * here is any other: only rules that say * match it.
			if rule, ok := d.Rule(tenant, model); ok {
				row[model] = cell(rule)
			}
		}
		table[tenant] = row
	}
	return table
}

func cell(r policy.Rule) map[string]any {
	at := map[string]any{}
	for _, region := range r.Regions {
		kinds := map[string]any{}
		for _, kind := range r.Kinds {
			kinds[kind] = true
		}
		at[region] = kinds
	}
	return map[string]any{"rule": r.Name, "at": at}
}

func distinct(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// Data returns what a document is laid out as for the rules.
func Data(d policy.Document) ([]byte, error) { return artifact.Canonical(data(d)) }
