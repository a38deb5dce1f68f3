package policy_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/policy"
)

func TestDefault(t *testing.T) {
	d := policy.Default()
	require.NoError(t, d.Validate())
	require.Equal(t, 20, d.Threshold)
	require.True(t, d.Permits("t1", "m1", "eu", policy.Neural))
	require.False(t, d.Permits("t1", "m1", "eu", policy.Quantum))
	require.False(t, policy.Document{}.Permits("t1", "m1", "eu", policy.Neural), "what is not permitted is refused")
}

func changed(change func(*policy.Document)) policy.Document {
	d := policy.Default()
	change(&d)
	return d
}

func TestValidate(t *testing.T) {
	rule := func(change func(*policy.Rule)) func(*policy.Document) {
		return func(d *policy.Document) { change(&d.Rules[0]) }
	}
	tests := []struct {
		name    string
		change  func(*policy.Document)
		pointer string
		want    error
	}{
		{"no revision", func(d *policy.Document) { d.Revision = 0 }, "/revision", policy.ErrRevision},
		{"no rule", func(d *policy.Document) { d.Rules = nil }, "/rules", policy.ErrRules},
		{"too many rules", func(d *policy.Document) { d.Rules = make([]policy.Rule, 101) }, "/rules", policy.ErrRules},
		{"a rule without a name", rule(func(r *policy.Rule) { r.Name = "" }), "/rules/0/name", policy.ErrName},
		{"a name twice", func(d *policy.Document) { d.Rules = append(d.Rules, d.Rules[0]) }, "/rules/1/name", policy.ErrName},
		{"a tenant that is no id", rule(func(r *policy.Rule) { r.Tenant = "T1" }), "/rules/0/tenant", policy.ErrID},
		{"a model that is no id", rule(func(r *policy.Rule) { r.Model = "m/1" }), "/rules/0/model", policy.ErrID},
		{"a model that begins with a dot", rule(func(r *policy.Rule) { r.Model = ".m" }), "/rules/0/model", policy.ErrID},
		{"a region that is no id", rule(func(r *policy.Rule) { r.Regions = []string{"eu", "e u"} }), "/rules/0/regions/1", policy.ErrID},
		{"an unknown kind", rule(func(r *policy.Rule) { r.Kinds = []string{"classic"} }), "/rules/0/kinds/0", policy.ErrKind},
		{"a weight below 0", func(d *policy.Document) { d.Weights.Cost = -1 }, "/weights/cost", policy.ErrWeight},
		{"a weight above 1000", func(d *policy.Document) { d.Weights.Locality = 1001 }, "/weights/locality", policy.ErrWeight},
		{"no weight at all", func(d *policy.Document) { d.Weights = policy.Weights{} }, "/weights", policy.ErrNoWeight},
		{"a threshold above 100", func(d *policy.Document) { d.Threshold = 101 }, "/threshold", policy.ErrThreshold},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := changed(tt.change).Validate()
			require.ErrorIs(t, err, tt.want)
			var where *policy.DocumentError
			require.ErrorAs(t, err, &where)
			require.Equal(t, tt.pointer, where.Pointer)
		})
	}
	nowhere := changed(rule(func(r *policy.Rule) { r.Regions, r.Kinds = nil, nil }))
	require.NoError(t, nowhere.Validate(), "a rule may permit nothing")
}

func TestFirstRuleThatMatchesDecides(t *testing.T) {
	d := changed(func(d *policy.Document) {
		d.Rules = []policy.Rule{
			{Name: "t1-at-home", Tenant: "t1", Model: policy.Any, Regions: []string{"eu"}, Kinds: []string{policy.Neural}},
			{Name: "m1-nowhere", Tenant: policy.Any, Model: "m1"},
			{Name: "rest", Tenant: policy.Any, Model: policy.Any, Regions: []string{policy.Any}, Kinds: []string{policy.Neural, policy.Quantum}},
		}
	})
	require.NoError(t, d.Validate())
	require.True(t, d.Permits("t1", "m1", "eu", policy.Neural))
	require.False(t, d.Permits("t1", "m2", "us", policy.Neural))
	require.False(t, d.Permits("t2", "m1", "us", policy.Neural))
	require.True(t, d.Permits("t2", "m2", "us", policy.Quantum))
}

func TestLoosens(t *testing.T) {
	closed := policy.Rule{Name: "t1-closed", Tenant: "t1", Model: policy.Any}
	tests := []struct {
		name   string
		change func(*policy.Document)
		why    string
	}{
		{"other weights take nothing away", func(d *policy.Document) { d.Weights.Cost = 900 }, ""},
		{"a lower threshold takes nothing away", func(d *policy.Document) { d.Threshold = 10 }, ""},
		{"a higher threshold does", func(d *policy.Document) { d.Threshold = 30 }, "the approval threshold rises from 20 to 30"},
		{"another kind does", func(d *policy.Document) { d.Rules[0].Kinds = []string{policy.Neural, policy.Quantum} },
			"tenant any other, model any other: quantum runtimes in any other become permitted"},
		{"fewer regions do not", func(d *policy.Document) { d.Rules[0].Regions = []string{"eu"} }, ""},
		{"a rule in front that closes does not", func(d *policy.Document) { d.Rules = append([]policy.Rule{closed}, d.Rules...) }, ""},
		{"a rule behind that opens what never reaches it does not", func(d *policy.Document) {
			d.Rules = append(d.Rules, policy.Rule{Name: "late", Tenant: "t1", Model: policy.Any, Regions: []string{policy.Any}, Kinds: []string{policy.Quantum}})
		}, ""},
		{"another name does not", func(d *policy.Document) { d.Rules[0].Name = "everybody" }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			why, loosens := policy.Loosens(policy.Default(), changed(tt.change))
			require.Equal(t, tt.why, why)
			require.Equal(t, tt.why != "", loosens)
		})
	}
	opened := changed(func(d *policy.Document) { d.Rules = append([]policy.Rule{closed}, d.Rules...) })
	why, loosens := policy.Loosens(opened, policy.Default())
	require.True(t, loosens, "taking a closing rule away opens")
	require.Equal(t, "tenant t1, model any other: neural runtimes in any other become permitted", why)
}

// Loosens finds a call that becomes permitted exactly when there is one, tried
// with names that the documents do not know, too.
func TestLoosensIsExact(t *testing.T) {
	tenants, models, regions := []string{"t1", "t2", "t3"}, []string{"m1", "m2", "m3"}, []string{"eu", "us", "apac"}
	document := func(t *rapid.T, name string) policy.Document {
		d := policy.Default()
		d.Rules = nil
		for i := range rapid.IntRange(1, 4).Draw(t, name) {
			d.Rules = append(d.Rules, policy.Rule{
				Name:    fmt.Sprintf("r%d", i),
				Tenant:  rapid.SampledFrom([]string{"*", "t1", "t2"}).Draw(t, "tenant"),
				Model:   rapid.SampledFrom([]string{"*", "m1", "m2"}).Draw(t, "model"),
				Regions: rapid.SampledFrom([][]string{nil, {"*"}, {"eu"}, {"eu", "us"}}).Draw(t, "regions"),
				Kinds:   rapid.SampledFrom([][]string{nil, {"neural"}, {"quantum"}, {"neural", "quantum"}}).Draw(t, "kinds"),
			})
		}
		return d
	}
	rapid.Check(t, func(t *rapid.T) {
		from, to := document(t, "from"), document(t, "to")
		opened := false
		for _, tenant := range tenants {
			for _, model := range models {
				for _, region := range regions {
					for _, kind := range []string{"neural", "quantum"} {
						opened = opened || to.Permits(tenant, model, region, kind) && !from.Permits(tenant, model, region, kind)
					}
				}
			}
		}
		if why, got := policy.Loosens(from, to); got != opened {
			t.Fatalf("loosens %t (%s), want %t\nfrom %+v\nto %+v", got, why, opened, from.Rules, to.Rules)
		}
	})
}

func TestDiff(t *testing.T) {
	from := policy.Default()
	to := changed(func(d *policy.Document) {
		d.Rules[0].Regions = []string{"eu"}
		d.Rules = slices.Insert(d.Rules, 0, policy.Rule{Name: "t1-closed", Tenant: "t1", Model: policy.Any})
		d.Weights.Cost = 300
		d.Threshold = 10
	})
	require.Equal(t, []policy.Change{
		{What: "rule t1-closed", From: "-", To: "tenant t1, model *: nowhere"},
		{What: "rule default", From: "tenant *, model *: in * by neural", To: "tenant *, model *: in eu by neural"},
		{What: "weight of cost", From: "200", To: "300"},
		{What: "approval threshold", From: "20", To: "10"},
	}, policy.Diff(from, to))
	require.Empty(t, policy.Diff(from, policy.Default()))
	require.Equal(t, []policy.Change{{What: "rule default", From: "tenant *, model *: in * by neural", To: "-"}},
		policy.Diff(from, changed(func(d *policy.Document) { d.Rules = nil })))
	swapped := changed(func(d *policy.Document) { d.Rules = []policy.Rule{to.Rules[1], to.Rules[0]} })
	swapped.Weights, swapped.Threshold = to.Weights, to.Threshold
	require.Equal(t, []policy.Change{{What: "order of rules", From: "t1-closed, default", To: "default, t1-closed"}}, policy.Diff(to, swapped))
}
