package policy

import (
	"fmt"
	"slices"
	"strings"
)

// A Change is one line of a diff, for people.
type Change struct {
	What string
	From string
	To   string
}

// Diff returns what differs, rules by name in the new order and then those
// that are gone. Absent is "-".
func Diff(from, to Document) []Change {
	var changes []Change
	add := func(what, a, b string) {
		if a != b {
			changes = append(changes, Change{what, a, b})
		}
	}
	for _, r := range to.Rules {
		add("rule "+r.Name, describe(from.named(r.Name)), describe(r, true))
	}
	for _, r := range from.Rules {
		if _, kept := to.named(r.Name); !kept {
			add("rule "+r.Name, describe(r, true), "-")
		}
	}
	add("order of rules", from.order(to), to.order(from))
	add("weight of latency", fmt.Sprint(from.Weights.Latency), fmt.Sprint(to.Weights.Latency))
	add("weight of cost", fmt.Sprint(from.Weights.Cost), fmt.Sprint(to.Weights.Cost))
	add("weight of fabric score", fmt.Sprint(from.Weights.Fabric), fmt.Sprint(to.Weights.Fabric))
	add("weight of locality", fmt.Sprint(from.Weights.Locality), fmt.Sprint(to.Weights.Locality))
	add("leeway of callers in the weights", fmt.Sprint(from.Leeway), fmt.Sprint(to.Leeway))
	add("approval threshold", fmt.Sprint(from.Threshold), fmt.Sprint(to.Threshold))
	add("rules of approval", fmt.Sprintf("%+v", from.Balloting()), fmt.Sprintf("%+v", to.Balloting()))
	was, is := from.limits(), to.limits()
	for i, line := range is {
		add(line.What, was[i].To, line.To)
	}
	for _, line := range quotas(from, to) {
		add(line.What, line.From, line.To)
	}
	return changes
}

// Loosens says whether the new document takes protection away, and the first
// such thing in words: it permits a call that the old one refuses, or raises
// the threshold from which people must agree, or makes a rule of approvals, a
// limit of runs or a quota of calls laxer.
//
// It is exact. Two calls that no rule tells apart are decided alike, so it is
// enough to try every tenant, model, region and purpose that a rule names, and
// one of each that none does.
func Loosens(from, to Document) (string, bool) {
	if to.Threshold > from.Threshold {
		return fmt.Sprintf("the approval threshold rises from %d to %d", from.Threshold, to.Threshold), true
	}
	if !to.Balloting().Stricter(from.Balloting()).Equal(to.Balloting()) {
		return "a rule of approvals becomes laxer", true
	}
	if why, looser := from.Bounds().looser(to.Bounds()); looser {
		return why, true
	}
	if why, wider := raised(from, to); wider {
		return why, true
	}
	tenants, models, regions := universe(from, to)
	purposes := purposesOf(from, to)
	for _, tenant := range tenants {
		for _, model := range models {
			before, had := from.Rule(tenant, model)
			after, has := to.Rule(tenant, model)
			if !has {
				continue
			}
			for _, region := range regions {
				for _, kind := range []string{Neural, Quantum} {
					if !to.Open(region) || !after.Permits(region, kind) {
						continue
					}
					was := had && from.Open(region) && before.Permits(region, kind)
					if !was {
						return fmt.Sprintf("tenant %s, model %s: %s runtimes in %s become permitted", tenant, model, kind, region), true
					}
					for _, purpose := range purposes {
						if after.Serves(purpose) && !before.Serves(purpose) {
							return fmt.Sprintf("tenant %s, model %s: calls for %s become permitted in %s", tenant, model, purpose, region), true
						}
					}
				}
			}
		}
	}
	return "", false
}

// universe returns every name in either document, and "any other", which no
// rule names because an id holds no space.
func universe(docs ...Document) (tenants, models, regions []string) {
	const other = "any other"
	for _, d := range docs {
		for _, r := range d.Rules {
			tenants, models, regions = append(tenants, r.Tenant), append(models, r.Model), append(regions, r.Regions...)
		}
		for _, s := range d.Shares {
			regions = append(regions, s.Region)
		}
	}
	distinct := func(names []string) []string {
		names = slices.DeleteFunc(names, func(s string) bool { return s == Any })
		slices.Sort(names)
		return append(slices.Compact(names), other)
	}
	return distinct(tenants), distinct(models), distinct(regions)
}

func (d Document) named(name string) (Rule, bool) {
	i := slices.IndexFunc(d.Rules, func(r Rule) bool { return r.Name == name })
	if i < 0 {
		return Rule{}, false
	}
	return d.Rules[i], true
}

// order lists the rules that both documents have, in d's order.
func (d Document) order(o Document) string {
	var names []string
	for _, r := range d.Rules {
		if _, both := o.named(r.Name); both {
			names = append(names, r.Name)
		}
	}
	return strings.Join(names, ", ")
}

func describe(r Rule, ok bool) string {
	if !ok {
		return "-"
	}
	where := "nowhere"
	if len(r.Regions) > 0 && len(r.Kinds) > 0 {
		where = "in " + strings.Join(r.Regions, ", ") + " by " + strings.Join(r.Kinds, ", ")
	}
	if len(r.Purposes) > 0 {
		where += " for " + strings.Join(r.Purposes, ", ")
	}
	return fmt.Sprintf("tenant %s, model %s: %s", r.Tenant, r.Model, where)
}

// Equal says whether both rules say the same in the same words.
func (r Rule) Equal(o Rule) bool {
	return r.Name == o.Name && r.Tenant == o.Tenant && r.Model == o.Model &&
		slices.Equal(r.Regions, o.Regions) && slices.Equal(r.Kinds, o.Kinds) && slices.Equal(r.Purposes, o.Purposes)
}
