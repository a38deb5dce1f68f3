package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

// Publishing sends what was asked for, waits, and shows each figure with its
// interval; showing asks for nothing else.
func TestFeatureStatistics(t *testing.T) {
	var asked []string
	answer := v1.FeatureStatistics{
		Tenant: "clinic", FeatureID: "labs", Version: 3, Attempt: 1, State: "waiting", Epsilon: 1, Delta: 1e-5, NoiseMultiplier: 4.25, Level: 0.95, SitesAsked: 2, Columns: []v1.ColumnStatistics{},
	}
	figure := v1.StatisticsFigure{Value: 41.5, Low: 40.25, High: 42.75, Stddev: 0.6}
	done := answer
	done.State, done.EndedAt, done.SitesAnswered, done.Count = "published", time.Now(), 2, v1.StatisticsFigure{Value: 512, Low: 490, High: 534}
	done.Columns = []v1.ColumnStatistics{{Name: "a=b", Low: -1, High: 120, Mean: figure, Variance: figure, Quantiles: []v1.StatisticsQuantile{{Share: 0.5, Value: 40, Low: 37.5, High: 41.25}}}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, r.Method+" "+r.URL.String()+" "+string(body))
		out := done
		if r.Method == http.MethodPost {
			out = answer
		}
		_ = json.NewEncoder(w).Encode(out)
	}))
	defer server.Close()
	d := newDesk(t).with("FABRIC_API_URL="+server.URL, "FABRIC_TENANT=clinic")

	out := d.ok("feature", "statistics", "labs", "--tenant", "clinic", "--epsilon", "1", "--column", "a=b=-1:120", "--column", "age", "--bins", "16", "--wait")
	require.Len(t, asked, 2)
	require.Contains(t, asked[0], "POST /features/clinic/labs/statistics ")
	require.JSONEq(t, `{"epsilon":1,"columns":[{"name":"a=b","low":-1,"high":120},{"name":"age"}],"bins":16}`, asked[0][len("POST /features/clinic/labs/statistics "):])
	for _, shown := range []string{"labs version 3: published", "epsilon 1 at delta 1e-05", "2 of 2 sites answered", "rows 512 [490, 534]", "P50", "41.5 [40.25, 42.75]", "40 [37.5, 41.25]"} {
		require.Contains(t, out, shown)
	}
	answer = done
	answer.Before = true
	require.Contains(t, d.ok("feature", "statistics", "labs", "--tenant", "clinic", "--epsilon", "1"), "nothing was charged now")

	asked = nil
	require.NotContains(t, d.ok("feature", "statistics", "labs", "--tenant", "clinic", "--owner", "lake", "--version", "2"), "charged")
	require.Equal(t, []string{"GET /features/clinic/labs/statistics?owner=lake&version=2 "}, asked)
	var shown v1.FeatureStatistics
	require.NoError(t, json.Unmarshal([]byte(d.ok("feature", "statistics", "labs", "--tenant", "clinic", "-o", "json")), &shown))
	require.Equal(t, done.Columns, shown.Columns)

	asked = nil
	for _, bad := range [][]string{{"--column", "age=0:120"}, {"--bins", "8"}, {"--epsilon", "1", "--column", "age=0"}, {"--epsilon", "1", "--column", "age=low:high"},
		{"--epsilon", "1", "--column", "=0:1"}, {"--epsilon", "1", "--owner", "lake"}, {"--epsilon", "1", "--version", "2"}} {
		d.fails(exitUsage, "", append([]string{"feature", "statistics", "labs", "--tenant", "clinic"}, bad...)...)
	}
	require.Empty(t, asked)

	done.State, done.Cause, done.Count, done.Columns = "failed", "no site answered", v1.StatisticsFigure{}, nil
	answer = done
	d.fails(exitFailure, "no site answered", "feature", "statistics", "labs", "--tenant", "clinic", "--epsilon", "1", "--wait")
}
