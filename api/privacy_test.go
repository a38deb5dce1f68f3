package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/privacy"
)

func TestOwnersSetBudgetsAndSeeWhatIsLeft(t *testing.T) {
	s := serve(t)
	feature(s.fabric, "h1", "wdbc", "{}", "lab")
	owner := s.as("h1", "operator")
	path := "/privacy/budgets/wdbc"
	set := into[v1.PrivacyBudget](s.do("PUT", path, `{"epsilon":3}`, owner).is(200))
	require.Equal(t, 3.0, set.EpsilonLimit)
	require.Equal(t, 1e-5, set.Delta)
	require.Equal(t, 3.0, set.Left)
	require.False(t, set.Default)
	require.Equal(t, []string{"budget.set"}, s.fabric.Leaves)

	l := s.fabric.Ledgers["h1/wdbc"]
	one := []dp.Event{{Mechanism: dp.Gaussian, Count: 1, NoiseMultiplier: 4, SampleRate: 1}}
	l.Entries = []privacy.Entry{{State: privacy.Committed, Rounds: 2, Events: one}, {State: privacy.Reserved, Rounds: 1, Events: one}, {State: privacy.Refunded, Rounds: 9, Events: one}}
	s.fabric.Ledgers["h1/wdbc"] = l
	page := into[v1.PrivacyBudgetPage](s.do("GET", "/privacy/budgets", nil, s.as("h1", "auditor")).is(200))
	require.Len(t, page.Items, 1)
	b := page.Items[0]
	one[0].Count = 3
	charge, err := dp.Epsilon(one, 1e-5)
	require.NoError(t, err)
	require.Equal(t, 3, b.Entries)
	require.Positive(t, b.Reserved)
	require.InDelta(t, charge.Epsilon, b.Spent+b.Reserved, 1e-12)
	require.InDelta(t, 3-charge.Epsilon, b.Left, 1e-12)
	require.Empty(t, into[v1.PrivacyBudgetPage](s.do("GET", "/privacy/budgets", nil, s.as("lab", "auditor")).is(200)).Items)

	tests := []struct {
		name, path, body, code string
		status                 int
		role                   string
	}{
		{"no limit", path, `{}`, "invalid_request", 400, "operator"},
		{"nothing", path, `{"epsilon":0}`, "invalid_request", 400, "operator"},
		{"everything", path, `{"epsilon":301}`, "invalid_request", 400, "operator"},
		{"a delta for everybody", path, `{"epsilon":1,"delta":0.5}`, "invalid_request", 400, "operator"},
		{"a name that is none", "/privacy/budgets/..wdbc", `{"epsilon":1}`, "invalid_request", 400, "operator"},
		{"a feature that is not there", "/privacy/budgets/none", `{"epsilon":1}`, "not_found", 404, "operator"},
		{"another tenant's budget", path + "?tenant=lab", `{"epsilon":1}`, "not_found", 404, "operator"},
		{"a role that registers nothing", path, `{"epsilon":1}`, "role_missing", 403, "auditor"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s.in(t).do("PUT", tt.path, tt.body, s.as("h1", tt.role)).is(tt.status, tt.code)
			require.Len(t, s.fabric.Leaves, 1)
		})
	}
	s.do("PUT", path, `{"epsilon":4}`, owner).is(200)
	require.Equal(t, 4.0, s.fabric.Ledgers["h1/wdbc"].EpsilonLimit)
	require.Len(t, s.fabric.Ledgers["h1/wdbc"].Entries, 3, "what was taken stays taken")
}

// A run that no budget covers to its end is not started, and what is left is said.
func TestARunMustBeAffordableToItsEnd(t *testing.T) {
	s := serve(t)
	for tenant, region := range map[string]string{"h1": "eu", "h2": "us", "h3": "us"} {
		feature(s.fabric, tenant, "wdbc", "{}", "lab")
		enrolled(s.fabric, tenant, "s", region)
	}
	lab := s.as("lab", "data-scientist")
	run := func(rounds, privacy string) string {
		return `{"model_id":"m","tenants":["h1","h2","h3"],"params":{"model":{"inputs":1},"bounds":[[0,1]],"rounds":` + rounds + privacy + `}}`
	}
	const noised = `,"privacy":{"mechanism":"gaussian","noise_multiplier":5}`
	// 1 round with z = 5 costs 0.7, 20 cost 4.2, 200 cost 20 (dp.Epsilon).
	s.do("POST", "/train/round", run("20", noised), lab).is(202)
	p := into[v1.Problem](s.do("POST", "/train/round", run("200", noised), lab).is(409, "budget_exhausted"))
	require.Equal(t, "/params/features/0", p.Errors[0].Pointer)
	require.Contains(t, p.Detail, "10 is left of 10", "the default")
	require.Contains(t, p.Detail, "feature wdbc of h1")

	s.do("PUT", "/privacy/budgets/wdbc", `{"epsilon":2}`, s.as("h2", "admin")).is(200)
	p = into[v1.Problem](s.do("POST", "/train/round", run("20", noised), lab).is(409, "budget_exhausted"))
	require.Contains(t, p.Detail, "feature wdbc of h2")
	require.Contains(t, p.Detail, "2 is left of 2")
	p = into[v1.Problem](s.do("POST", "/train/round", run("1", ""), lab).is(409, "budget_exhausted"))
	require.Contains(t, p.Detail, privacy.ErrExact.Error())
	s.do("POST", "/train/round", run("2", noised), lab).is(202)
	require.Len(t, s.fabric.Starts, 2)
	require.Empty(t, s.fabric.Ledgers["h2/wdbc"].Entries, "asking reserves nothing")
}

// The caller's own bound on a run: 20 rounds with z = 5 cost 4.2 at 1e-5.
func TestARunStaysWithinItsOwnEpsilon(t *testing.T) {
	s := serve(t)
	for tenant, region := range map[string]string{"h1": "eu", "h2": "us", "h3": "us"} {
		feature(s.fabric, tenant, "wdbc", "{}", "lab")
		enrolled(s.fabric, tenant, "s", region)
	}
	run := func(most string) string {
		return `{"model_id":"m","tenants":["h1","h2","h3"],"params":{"model":{"inputs":1},"bounds":[[0,1]],"rounds":20,` +
			`"privacy":{"mechanism":"gaussian","noise_multiplier":5,"max_epsilon":` + most + `}}}`
	}
	p := into[v1.Problem](s.do("POST", "/train/round", run("4"), s.as("lab", "data-scientist")).is(422, "bad_params"))
	require.Equal(t, "/params/privacy/max_epsilon", p.Errors[0].Pointer)
	require.Empty(t, s.fabric.Starts)
	s.do("POST", "/train/round", run("4.5"), s.as("lab", "data-scientist")).is(202)
}
