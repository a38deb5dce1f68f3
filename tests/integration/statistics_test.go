package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/tests/harness"
)

// summarisedFeature is a column of its own, so that its budget is no other test's.
const summarisedFeature = "radius"

// told returns what is published about it.
func told(t *testing.T, s *harness.System) v1.FeatureStatistics {
	t.Helper()
	h := tumour.Split()[0]
	steward := s.Person(t, h.Tenant, "steward", "operator", "admin")
	got, err := v1.Fetch[v1.FeatureStatistics](steward.GetFeatureStatistics(t.Context(), h.Tenant, summarisedFeature, &v1.GetFeatureStatisticsParams{}))
	require.NoError(t, err)
	return got
}

// summarised has a hospital publish what its rows look like, by its own site's
// process, and returns what is published. The exact figures are known here, and
// nowhere else outside the site.
func summarised(t *testing.T, s *harness.System) v1.FeatureStatistics {
	t.Helper()
	h := tumour.Split()[0]
	column := tumour.Columns()[0]
	steward := s.Person(t, h.Tenant, "steward", "operator", "admin")
	token := s.Token(t, h.Tenant, "steward", "operator", "admin")
	_, err := v1.Fetch[v1.Feature](steward.RegisterFeature(t.Context(), &v1.RegisterFeatureParams{}, v1.FeatureRegistration{
		Tenant: h.Tenant, FeatureID: summarisedFeature, Schema: v1.JSON(`{"properties":{"` + column + `":{"type":"number"}}}`), Consented: true,
	}))
	require.NoError(t, err)
	out, status := s.Fabric(t, token, "feature", "statistics", summarisedFeature, "--epsilon", "4")
	require.NotZero(t, status)
	require.Contains(t, out, "column "+column+" has no public bounds")
	out, status = s.Fabric(t, token, "feature", "statistics", summarisedFeature, "--epsilon", "40", "--column", column+"=0:40")
	require.NotZero(t, status)
	require.Contains(t, out, "is left of 10")

	for range 2 { // the second one is given what is there
		out, status = s.Fabric(t, token, "feature", "statistics", summarisedFeature, "--epsilon", "4", "--column", column+"=0:40", "--wait")
		require.Zero(t, status, out)
		require.Contains(t, out, "1 of 1 sites answered")
	}
	got := told(t, s)
	require.EqualValues(t, "published", got.State, got.Cause)
	require.Equal(t, 1, got.Attempt)
	sum := 0.0
	for _, row := range h.Rows.Rows {
		sum += row[0]
	}
	// ε = 4 over four parts: σ = 2.4 rows. Six of them never happen.
	n := float64(h.Rows.Len())
	require.InDelta(t, n, got.Count.Value, 6*got.Count.Stddev)
	require.InDelta(t, sum/n, got.Columns[0].Mean.Value, 6*got.Columns[0].Mean.Stddev)
	require.NotEqual(t, sum/n, got.Columns[0].Mean.Value)
	require.Less(t, got.Columns[0].Mean.High-got.Columns[0].Mean.Low, 4.0, "it tells something, too")

	budgets, err := v1.Fetch[v1.PrivacyBudgetPage](steward.ListPrivacyBudgets(t.Context(), &v1.ListPrivacyBudgetsParams{}))
	require.NoError(t, err)
	for _, b := range budgets.Items {
		if b.Feature == summarisedFeature {
			require.Equal(t, 1, b.Entries)
			require.InDelta(t, 4, b.Spent, 1e-3)
		}
	}
	lead := s.Person(t, demo.Consortium, "mira", "data-scientist")
	_, err = v1.Fetch[v1.FeatureStatistics](lead.GetFeatureStatistics(t.Context(), demo.Consortium, summarisedFeature, &v1.GetFeatureStatisticsParams{Owner: h.Tenant}))
	require.Error(t, err, "a tenant without a grant finds nothing")
	return got
}
