package policy_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/policy"
)

func bounding(quotas ...policy.Quota) policy.Document {
	d := policy.Default()
	d.Quotas = quotas
	return d
}

func TestAQuotaIsOfItsTenantElseOfAny(t *testing.T) {
	d := bounding(policy.Quota{Tenant: "*", PerDay: 1}, policy.Quota{Tenant: "lab", PerSecond: 2})
	require.NoError(t, d.Validate())
	require.Equal(t, policy.Quota{Tenant: "lab", PerSecond: 2}, d.Quota("lab"))
	require.Equal(t, int64(1), d.Quota("clinic").PerDay)
	require.Zero(t, policy.Default().Quota("clinic").PerDay)
	require.Equal(t, 2, d.Quota("lab").AtOnce())
	text, err := policy.Default().Encode()
	require.NoError(t, err)
	require.NotContains(t, string(text), "quotas", "documents without one keep their bytes")
}

func TestLoosensKnowsQuotas(t *testing.T) {
	q := func(perSecond, burst int, hour, day int64) policy.Quota {
		return policy.Quota{Tenant: "lab", PerSecond: perSecond, Burst: burst, PerHour: hour, PerDay: day}
	}
	anybody := func(perDay int64) policy.Quota { return policy.Quota{Tenant: "*", PerDay: perDay} }
	tests := []struct {
		name     string
		from, to policy.Document
		want     string // "" for no
	}{
		{"the same", bounding(q(1, 2, 3, 4)), bounding(q(1, 2, 3, 4)), ""},
		{"a first bound", bounding(), bounding(q(1, 2, 3, 4)), ""},
		{"a lower one", bounding(q(5, 6, 7, 8)), bounding(q(1, 2, 3, 4)), ""},
		{"a higher rate", bounding(q(5, 6, 7, 8)), bounding(q(6, 6, 7, 8)), "tenant lab: the bound of calls a second rises from 5 to 6"},
		{"a higher burst", bounding(q(5, 6, 7, 8)), bounding(q(5, 7, 7, 8)), "tenant lab: the bound of calls at once rises from 6 to 7"},
		{"a burst where there was a second's worth", bounding(q(5, 0, 0, 0)), bounding(q(5, 6, 0, 0)), "tenant lab: the bound of calls at once rises from 5 to 6"},
		{"more an hour", bounding(q(5, 6, 7, 8)), bounding(q(5, 6, 8, 8)), "tenant lab: the bound of calls an hour rises from 7 to 8"},
		{"no day", bounding(q(5, 6, 7, 8)), bounding(q(5, 6, 7, 0)), "tenant lab: the bound of calls a day rises from 8 to none"},
		{"none any more", bounding(q(5, 6, 7, 8)), bounding(), "tenant lab: the bound of calls a second rises from 5 to none"},
		{"an exception for one tenant", bounding(anybody(9)), bounding(anybody(9), policy.Quota{Tenant: "vip"}), "tenant vip: the bound of calls a day rises from 9 to none"},
		{"an exception that is stricter", bounding(anybody(9)), bounding(anybody(9), policy.Quota{Tenant: "lab", PerDay: 8}), ""},
		{"an exception that goes", bounding(anybody(9), policy.Quota{Tenant: "lab", PerDay: 8}), bounding(anybody(9)), "tenant lab: the bound of calls a day rises from 8 to 9"},
		{"the others'", bounding(anybody(9)), bounding(anybody(10)), "tenant any other: the bound of calls a day rises from 9 to 10"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			why, loosens := policy.Loosens(tt.from, tt.to)
			require.Equal(t, tt.want, why)
			require.Equal(t, tt.want != "", loosens)
		})
	}
	changes := policy.Diff(bounding(), bounding(q(5, 0, 0, 8)))
	require.Equal(t, []policy.Change{{What: "calls of tenant lab", From: "none a second, none at once, none an hour, none a day", To: "5 a second, 5 at once, none an hour, 8 a day"}}, changes)
}

func TestQuotasThatAreWrong(t *testing.T) {
	for name, quotas := range map[string][]policy.Quota{
		"no tenant":            {{PerSecond: 1}},
		"no id":                {{Tenant: "Lab", PerSecond: 1}},
		"a tenant twice":       {{Tenant: "lab", PerSecond: 1}, {Tenant: "lab", PerDay: 1}},
		"a burst without rate": {{Tenant: "lab", Burst: 1}},
		"a negative rate":      {{Tenant: "lab", PerSecond: -1}},
		"a negative hour":      {{Tenant: "lab", PerHour: -1}},
		"too much":             {{Tenant: "lab", PerSecond: 1_000_001}},
		"too many":             make([]policy.Quota, 1001),
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, bounding(quotas...).Validate(), policy.ErrQuota)
		})
	}
}
