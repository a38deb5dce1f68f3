package policy_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/policy"
)

func TestLimitsLoosen(t *testing.T) {
	base := changed(func(d *policy.Document) {
		d.Limits = &policy.Limits{MaxEpsilonMilli: 4000, MinCohort: 3, MaxDeadlineSeconds: 60, MaxClipMilli: 1000, MaxRetries: 2, Quarantined: []string{"mayo/one"}}
		d.Shares = []policy.Share{{Region: "eu", Weight: 0}}
	})
	require.NoError(t, base.Validate())
	tests := []struct {
		name   string
		change func(*policy.Limits)
		why    string
	}{
		{"tighter everywhere", func(l *policy.Limits) {
			*l = policy.Limits{MaxEpsilonMilli: 1, MinCohort: 9, MaxDeadlineSeconds: 1, MaxClipMilli: 1, MaxRetries: 1, Quarantined: []string{"mayo/one", "mayo/two"}}
		}, ""},
		{"more epsilon", func(l *policy.Limits) { l.MaxEpsilonMilli++ }, "the bound on epsilon rises from 4000 to 4001"},
		{"no bound on epsilon", func(l *policy.Limits) { l.MaxEpsilonMilli = 0 }, "the bound on epsilon rises from 4000 to none"},
		{"a smaller cohort", func(l *policy.Limits) { l.MinCohort = 2 }, "the least cohort falls from 3 to 2"},
		{"more time", func(l *policy.Limits) { l.MaxDeadlineSeconds = 61 }, "the bound on the time for stragglers rises from 60 to 61"},
		{"a longer norm", func(l *policy.Limits) { l.MaxClipMilli = 1001 }, "the bound on the clipping norm rises from 1000 to 1001"},
		{"more retries", func(l *policy.Limits) { l.MaxRetries = 3 }, "the bound on retries rises from 2 to 3"},
		{"a site is let go", func(l *policy.Limits) { l.Quarantined = nil }, "site mayo/one leaves quarantine"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			limits := *base.Limits
			tt.change(&limits)
			to := base
			to.Limits = &limits
			why, loosens := policy.Loosens(base, to)
			require.Equal(t, tt.why, why)
			require.Equal(t, tt.why != "", loosens)
			require.NotEmpty(t, policy.Diff(base, to))
		})
	}
	require.False(t, base.Permits("t1", "m1", "eu", policy.Neural), "closed")
	require.True(t, base.Permits("t1", "m1", "us", policy.Neural))
	open := base
	open.Shares = []policy.Share{{Region: "eu", Weight: 1}}
	why, loosens := policy.Loosens(base, open)
	require.True(t, loosens)
	require.Equal(t, "tenant any other, model any other: neural runtimes in eu become permitted", why)
	_, loosens = policy.Loosens(open, base)
	require.False(t, loosens)
}

func TestRollbackBringsTheContentBack(t *testing.T) {
	first := policy.Default()
	again, err := first.Again(5)
	require.NoError(t, err)
	require.NoError(t, again.Validate())
	require.True(t, policy.Same(first, again))
	a, err := first.Content()
	require.NoError(t, err)
	b, err := again.Content()
	require.NoError(t, err)
	require.Equal(t, a, b)
	require.EqualValues(t, 1, again.RollbackOf.Revision)
	_, err = first.Again(1)
	require.ErrorIs(t, err, policy.ErrRollback, "revisions only grow")
	again.Threshold++
	require.ErrorIs(t, again.Validate(), policy.ErrRollback, "it says that it brings back what it does not")
}

func TestMaskKeepsWhatDecides(t *testing.T) {
	in := json.RawMessage(`{"name":"bob","requester":"bob","trainers":["ann","bob"],"role":"owner"}`)
	masked, at, err := policy.Mask(policy.AskApprover, "d1", in)
	require.NoError(t, err)
	require.Equal(t, []string{"/name", "/requester", "/trainers/0", "/trainers/1"}, at)
	var got struct {
		Name, Requester, Role string
		Trainers              []string
	}
	require.NoError(t, json.Unmarshal(masked, &got))
	require.Equal(t, got.Name, got.Requester, "the same person within a decision")
	require.Equal(t, got.Name, got.Trainers[1])
	require.NotEqual(t, got.Name, got.Trainers[0])
	require.Equal(t, "owner", got.Role)
	require.NotContains(t, string(masked), "bob")
	other, _, err := policy.Mask(policy.AskApprover, "d2", in)
	require.NoError(t, err)
	require.NotContains(t, string(other), got.Name, "and another in every other")
	same, none, err := policy.Mask(policy.AskRouting, "d1", in)
	require.NoError(t, err)
	require.Empty(t, none)
	require.Equal(t, in, same)
	kept, _, err := policy.Mask(policy.AskFeature, "d1", json.RawMessage(`{"consent":{"grantees":["a","b"]}}`), "a")
	require.NoError(t, err)
	require.Contains(t, string(kept), `"a"`)
	require.NotContains(t, string(kept), `"b"`)
}
