package routing_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
)

func doc(revision int64, rules ...policy.Rule) policy.Document {
	return policy.Document{Revision: revision, Rules: rules, Weights: policy.Default().Weights, Threshold: 20}
}

func rule(name, tenant, model string, regions ...string) policy.Rule {
	return policy.Rule{Name: name, Tenant: tenant, Model: model, Regions: regions, Kinds: []string{policy.Neural}}
}

// world is three regions that run one policy, an endpoint each, and a model of
// the consortium that clinic may call everywhere.
func world(policies ...policy.Document) routing.Snapshot {
	regions := []string{"apac", "eu", "us"}
	s := routing.Snapshot{Version: 7, Policies: policies}
	for i, region := range regions {
		s.Regions = append(s.Regions, routing.Region{Name: region, Policy: policies[min(i, len(policies)-1)].Revision})
		s.Endpoints = append(s.Endpoints, routing.Endpoint{Name: region + "-1", Region: region, Kind: policy.Neural, URL: "http://127.0.0.1:9101"})
	}
	s.Packages = []routing.Package{{Tenant: "consortium", Model: "tumour", Version: 3, Regions: regions}}
	s.Routes = []routing.Route{{Tenant: "consortium", Model: "tumour", Environment: "production", Version: 3, Regions: regions, Callers: []string{"clinic"}}}
	return s
}

func TestPermitted(t *testing.T) {
	anywhere := rule("anywhere", "*", "*", "*")
	tests := []struct {
		name     string
		snapshot routing.Snapshot
		home     string
		caller   string
		want     []string
		why      map[string]string
	}{
		{"everywhere when the policy says so", world(doc(1, anywhere)), "eu", "clinic", []string{"apac", "eu", "us"}, nil},
		{"the owner is a caller", world(doc(1, anywhere)), "eu", "consortium", []string{"apac", "eu", "us"}, nil},
		{"the first rule that matches decides", world(doc(1, rule("stay", "clinic", "*", "eu"), anywhere)), "eu", "clinic",
			[]string{"eu"}, map[string]string{"apac": "policy/1/stay", "us": "policy/1/stay"}},
		{"a rule of another tenant does not", world(doc(1, rule("stay", "other", "*", "eu"), anywhere)), "eu", "clinic", []string{"apac", "eu", "us"}, nil},
		{"a rule of another model does not", world(doc(1, rule("stay", "*", "lung", "eu"), anywhere)), "eu", "clinic", []string{"apac", "eu", "us"}, nil},
		{"a rule without regions permits none", world(doc(1, rule("barred", "clinic", "tumour"), anywhere)), "eu", "clinic",
			nil, map[string]string{"apac": "policy/1/barred", "eu": "policy/1/barred", "us": "policy/1/barred"}},
		{"no rule permits none", world(doc(1, rule("stay", "other", "*", "*"))), "eu", "clinic",
			nil, map[string]string{"apac": "policy/1/no-rule", "eu": "policy/1/no-rule", "us": "policy/1/no-rule"}},
		{"each region by its own policy too", world(doc(2, rule("shut", "other", "*", "*")), doc(1, anywhere)), "eu", "clinic",
			[]string{"eu", "us"}, map[string]string{"apac": "policy/2/no-rule"}},
		{"the home region's policy bars what the other's permits", world(doc(1, anywhere), doc(2, rule("home", "*", "*", "eu")), doc(3, anywhere)), "eu", "clinic",
			[]string{"eu"}, map[string]string{"apac": "policy/2/home", "us": "policy/2/home"}},
		{"an unknown home permits nothing", world(doc(1, anywhere)), "mars", "clinic",
			nil, map[string]string{"apac": "policy/none", "eu": "policy/none", "us": "policy/none"}},
		{"no home asks the endpoint's region only", world(doc(1, rule("stay", "*", "*", "us"))), "", "clinic",
			[]string{"us"}, map[string]string{"apac": "policy/1/stay", "eu": "policy/1/stay"}},
		{"only where the route serves", func() routing.Snapshot {
			s := world(doc(1, anywhere))
			s.Routes[0].Regions = []string{"us"}
			return s
		}(), "eu", "clinic", []string{"us"}, map[string]string{"apac": "route/regions", "eu": "route/regions"}},
		{"only where the package is", func() routing.Snapshot {
			s := world(doc(1, anywhere))
			s.Packages[0].Regions = []string{"us"}
			return s
		}(), "eu", "clinic", []string{"us"}, map[string]string{"apac": "package/regions", "eu": "package/regions"}},
		{"only the permitted kind", func() routing.Snapshot {
			s := world(doc(1, anywhere))
			s.Endpoints[2].Kind = policy.Quantum
			return s
		}(), "eu", "clinic", []string{"apac", "eu"}, map[string]string{"us": "policy/1/anywhere"}},
		{"not an endpoint of a region without policy", func() routing.Snapshot {
			s := world(doc(1, anywhere))
			s.Endpoints[2].Region = "mars"
			s.Routes[0].Regions, s.Packages[0].Regions = append(s.Routes[0].Regions, "mars"), append(s.Packages[0].Regions, "mars")
			return s
		}(), "eu", "clinic", []string{"apac", "eu"}, map[string]string{"mars": "policy/none"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table, err := routing.Compile(tt.snapshot, tt.home)
			require.NoError(t, err)
			target := table.Target(tt.caller, "consortium", "tumour", "production")
			require.NotNil(t, target)
			var permitted []string
			for _, p := range target.Permitted {
				permitted = append(permitted, tt.snapshot.Endpoints[p.Endpoint].Region)
			}
			require.Equal(t, tt.want, permitted)
			var why map[string]string
			for _, x := range target.Excluded {
				if why == nil {
					why = map[string]string{}
				}
				why[x.Region] = x.Rule
			}
			require.Equal(t, tt.why, why)
		})
	}
}

func TestOnlyCallersFindARoute(t *testing.T) {
	table, err := routing.Compile(world(policy.Default()), "eu")
	require.NoError(t, err)
	require.Nil(t, table.Target("stranger", "consortium", "tumour", "production"))
	require.Nil(t, table.Target("clinic", "consortium", "tumour", "staging"))
	require.Empty(t, table.Routes("stranger", "tumour"))
	require.Equal(t, []routing.Ref{{Owner: "consortium", Environment: "production"}}, table.Routes("clinic", "tumour"))
	require.Len(t, table.Targets(), 2)
}

// While a version moves region by region, each region answers with its own.
func TestEachRegionHasItsVersion(t *testing.T) {
	s := world(policy.Default())
	s.Packages = append(s.Packages, routing.Package{Tenant: "consortium", Model: "tumour", Version: 4, Regions: []string{"eu", "us"}})
	next := s.Routes[0]
	s.Routes[0].Regions = []string{"apac", "us"}
	next.Version, next.Regions, next.Callers = 4, []string{"eu"}, nil
	s.Routes = append(s.Routes, next)
	versions := func(caller string) map[string]int {
		table, err := routing.Compile(s, "eu")
		require.NoError(t, err)
		target := table.Target(caller, "consortium", "tumour", "production")
		out := map[string]int{}
		for _, p := range target.Permitted {
			out[s.Endpoints[p.Endpoint].Region] = target.Legs[p.Leg].Package.Version
		}
		return out
	}
	require.Equal(t, map[string]int{"apac": 3, "eu": 4, "us": 3}, versions("consortium"))
	require.Equal(t, map[string]int{"apac": 3, "us": 3}, versions("clinic"), "it may not call the new one")
}

func TestCompileRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*routing.Snapshot)
		want   error
	}{
		{"version 0", func(s *routing.Snapshot) { s.Version = 0 }, routing.ErrVersion},
		{"a route without its package", func(s *routing.Snapshot) { s.Routes[0].Version = 4 }, routing.ErrNoPackage},
		{"a route twice", func(s *routing.Snapshot) { s.Routes = append(s.Routes, s.Routes[0]) }, routing.ErrTwice},
		{"an endpoint twice", func(s *routing.Snapshot) { s.Endpoints[1].Name = "apac-1" }, routing.ErrTwice},
		{"a package twice", func(s *routing.Snapshot) { s.Packages = append(s.Packages, s.Packages[0]) }, routing.ErrTwice},
		{"a region twice", func(s *routing.Snapshot) { s.Regions[1].Name = "apac" }, routing.ErrTwice},
		{"a policy twice", func(s *routing.Snapshot) { s.Policies = append(s.Policies, s.Policies[0]) }, routing.ErrTwice},
		{"a region's policy missing", func(s *routing.Snapshot) { s.Regions[0].Policy = 9 }, routing.ErrNoPolicy},
		{"a policy that is none", func(s *routing.Snapshot) { s.Policies[0].Weights = policy.Weights{} }, policy.ErrNoWeight},
		{"a file as URL", func(s *routing.Snapshot) { s.Endpoints[0].URL = "file:///etc/passwd" }, routing.ErrURL},
		{"a URL with credentials", func(s *routing.Snapshot) { s.Endpoints[0].URL = "http://u:p@h" }, routing.ErrURL},
		{"a URL with a query", func(s *routing.Snapshot) { s.Endpoints[0].URL = "http://h/?a=b" }, routing.ErrURL},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := world(policy.Default())
			tt.change(&s)
			_, err := routing.Compile(s, "eu")
			require.ErrorIs(t, err, tt.want)
			var at *routing.SnapshotError
			require.ErrorAs(t, err, &at)
		})
	}
}

func TestAdmits(t *testing.T) {
	d := doc(1, rule("a", "barred", "*", "us"), rule("b", "clinic", "tumour", "eu"), rule("c", "*", "lung", "apac"))
	require.True(t, routing.Admits(d, "tumour", "eu", policy.Neural), "for clinic")
	require.False(t, routing.Admits(d, "tumour", "apac", policy.Neural))
	require.True(t, routing.Admits(d, "lung", "apac", policy.Neural), "for anybody")
	require.True(t, routing.Admits(d, "anything", "us", policy.Neural), "for barred")
	require.False(t, routing.Admits(d, "anything", "us", policy.Quantum))
}

// Over random snapshots a caller never gets an endpoint of a region that the
// policy of that region, or of the router's, bars it from. The expectation is
// worked out rule by rule here, apart from the code under test.
func TestABarredRegionIsNeverPermitted(t *testing.T) {
	regions := []string{"apac", "eu", "us"}
	tenants := []string{"clinic", "consortium", "lab"}
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.Custom(func(t *rapid.T) policy.Rule {
			return policy.Rule{
				Tenant:  rapid.SampledFrom(append(tenants, "*")).Draw(t, "tenant"),
				Model:   rapid.SampledFrom([]string{"tumour", "lung", "*"}).Draw(t, "model"),
				Regions: rapid.SliceOfDistinct(rapid.SampledFrom(append(regions, "*")), rapid.ID[string]).Draw(t, "regions"),
				Kinds:   rapid.SliceOfDistinct(rapid.SampledFrom([]string{policy.Neural, policy.Quantum}), rapid.ID[string]).Draw(t, "kinds"),
			}
		})
		documents := make([]policy.Document, 3)
		for i := range documents {
			documents[i] = doc(int64(i+1), rapid.SliceOfN(rules, 1, 6).Draw(t, "rules")...)
			for j := range documents[i].Rules {
				documents[i].Rules[j].Name = string(rune('a' + j))
			}
		}
		s := world(documents...)
		for i := range s.Endpoints {
			s.Endpoints[i].Kind = rapid.SampledFrom([]string{policy.Neural, policy.Quantum}).Draw(t, "kind")
		}
		s.Routes[0].Callers = tenants
		home := rapid.SampledFrom(regions).Draw(t, "home")
		table, err := routing.Compile(s, home)
		if err != nil {
			t.Fatal(err)
		}
		for _, caller := range tenants {
			target := table.Target(caller, "consortium", "tumour", "production")
			if len(target.Permitted)+len(target.Excluded) != len(s.Endpoints) {
				t.Fatal("an endpoint is neither permitted nor excluded")
			}
			for i, e := range s.Endpoints {
				want := true
				for _, at := range []string{home, e.Region} {
					verdict := false
					for _, r := range documents[slices.Index(regions, at)].Rules {
						if (r.Tenant == caller || r.Tenant == "*") && (r.Model == "tumour" || r.Model == "*") {
							verdict = (slices.Contains(r.Regions, e.Region) || slices.Contains(r.Regions, "*")) && slices.Contains(r.Kinds, e.Kind)
							break
						}
					}
					want = want && verdict
				}
				if got := slices.Contains(target.Permitted, routing.Permit{Endpoint: i}); got != want {
					t.Fatalf("%s in %s from %s: permitted %v, want %v", caller, e.Region, home, got, want)
				}
			}
		}
	})
}
