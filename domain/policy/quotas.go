package policy

import (
	"fmt"
	"slices"
)

// A Quota bounds how often a tenant's calls of models are answered. Every router
// of a region counts for itself. A field of zero bounds nothing.
type Quota struct {
	Tenant    string `json:"tenant"`              // "*": each tenant that no quota names, by itself
	PerSecond int    `json:"perSecond,omitempty"` // calls, on average
	Burst     int    `json:"burst,omitempty"`     // calls at once; 0: as many as in a second
	PerHour   int64  `json:"perHour,omitempty"`   // calls in an hour of UTC
	PerDay    int64  `json:"perDay,omitempty"`    // calls in a day of UTC
}

// Most of what quotas may hold.
const (
	MaxQuotas    = 1000
	MaxPerSecond = 1_000_000
	MaxCalls     = 1 << 40
)

// ErrQuota says what is wrong with a quota.
var ErrQuota = fmt.Errorf("must be at most %d quotas of distinct tenants, with bounds of 0 or more: %d a second or at once, and a burst only with a rate", MaxQuotas, MaxPerSecond)

// Quota returns what bounds a tenant's calls; the zero value bounds nothing.
func (d Document) Quota(tenant string) Quota {
	rest := Quota{Tenant: tenant}
	for _, q := range d.Quotas {
		switch q.Tenant {
		case tenant:
			return q
		case Any:
			rest = q
		}
	}
	return rest
}

// AtOnce is how many calls may come at once, 0 for any number.
func (q Quota) AtOnce() int {
	if q.Burst > 0 {
		return q.Burst
	}
	return q.PerSecond
}

// exceeds names the first bound that is wider than the same of another quota.
func (q Quota) exceeds(was Quota) (string, bool) {
	for _, bound := range []struct {
		name    string
		was, is int64
	}{
		{"calls a second", int64(was.PerSecond), int64(q.PerSecond)}, {"calls at once", int64(was.AtOnce()), int64(q.AtOnce())},
		{"calls an hour", was.PerHour, q.PerHour}, {"calls a day", was.PerDay, q.PerDay},
	} {
		if bound.was > 0 && (bound.is == 0 || bound.is > bound.was) {
			return fmt.Sprintf("the bound of %s rises from %d to %s", bound.name, bound.was, orNone(bound.is)), true
		}
	}
	return "", false
}

// raised names the first tenant whose calls to bounds less than from.
func raised(from, to Document) (string, bool) {
	for _, tenant := range quotaTenants(from, to) {
		if why, wider := to.Quota(tenant).exceeds(from.Quota(tenant)); wider {
			return fmt.Sprintf("tenant %s: %s", tenant, why), true
		}
	}
	return "", false
}

// quotaTenants returns every tenant that a quota names, and "any other".
func quotaTenants(docs ...Document) []string {
	var all []string
	for _, d := range docs {
		for _, q := range d.Quotas {
			if q.Tenant != Any {
				all = append(all, q.Tenant)
			}
		}
	}
	slices.Sort(all)
	return append(slices.Compact(all), "any other")
}

// quotas are the lines of a diff.
func quotas(from, to Document) []Change {
	var lines []Change
	for _, tenant := range quotaTenants(from, to) {
		lines = append(lines, Change{"calls of tenant " + tenant, from.Quota(tenant).text(), to.Quota(tenant).text()})
	}
	return lines
}

func (q Quota) text() string {
	return fmt.Sprintf("%s a second, %s at once, %s an hour, %s a day",
		orNone(int64(q.PerSecond)), orNone(int64(q.AtOnce())), orNone(q.PerHour), orNone(q.PerDay))
}

func (d Document) validateQuotas() error {
	if len(d.Quotas) > MaxQuotas {
		return &DocumentError{"/quotas", ErrQuota}
	}
	seen := map[string]bool{}
	for i, q := range d.Quotas {
		wrong := q.Tenant != Any && !isID(q.Tenant) || seen[q.Tenant] || q.Burst > 0 && q.PerSecond == 0
		for _, n := range []struct{ value, most int64 }{
			{int64(q.PerSecond), MaxPerSecond}, {int64(q.Burst), MaxPerSecond}, {q.PerHour, MaxCalls}, {q.PerDay, MaxCalls},
		} {
			wrong = wrong || n.value < 0 || n.value > n.most
		}
		if wrong {
			return &DocumentError{fmt.Sprintf("/quotas/%d", i), ErrQuota}
		}
		seen[q.Tenant] = true
	}
	return nil
}
