package api_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/apitest"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/summary"
)

const statsSchema = `{"properties":{"age":{"type":"number","minimum":0,"maximum":120},"mass":{"type":"number"},"ward":{"type":"string"}}}`

func TestStatisticsAreChargedOnce(t *testing.T) {
	s := serve(t)
	feature(s.fabric, "h1", "wdbc", statsSchema, "lab")
	enrolled(s.fabric, "h1", "s1", "eu")
	owner := s.as("h1", "operator")
	const path = "/features/h1/wdbc/statistics"
	s.do("GET", path, nil, owner).is(404, "not_found")
	got := into[v1.FeatureStatistics](s.do("POST", path, `{"epsilon":1,"columns":[{"name":"age"}]}`, owner).is(202))
	require.EqualValues(t, "waiting", got.State)
	require.Equal(t, 1, got.Attempt)
	require.Equal(t, []v1.ColumnStatistics{{Name: "age", Low: 0, High: 120}}, got.Columns)
	require.Equal(t, "statistics/h1/wdbc/1/1", got.WorkflowID)
	require.Len(t, s.fabric.Starts, 1)
	require.Len(t, s.fabric.Ledgers["h1/wdbc"].Entries, 1)
	require.Equal(t, []string{"statistics.asked"}, s.fabric.Leaves)

	// Whatever is asked for then, it is there already and costs nothing.
	again := into[v1.FeatureStatistics](s.do("POST", path, `{"epsilon":2,"columns":[{"name":"mass","low":0,"high":1}]}`, owner).is(200))
	require.Equal(t, got.Epsilon, again.Epsilon)
	require.Len(t, s.fabric.Ledgers["h1/wdbc"].Entries, 1)
	require.Len(t, s.fabric.Starts, 1)
	require.EqualValues(t, "waiting", into[v1.FeatureStatistics](s.do("GET", path, nil, s.as("h1", "auditor")).is(200)).State)

	failed := s.fabric.Published["h1/wdbc"]
	failed.State, failed.Cause = summary.StateFailed, "no site answered"
	s.fabric.Published["h1/wdbc"] = failed
	retried := into[v1.FeatureStatistics](s.do("POST", path, `{"epsilon":1,"columns":[{"name":"age"}]}`, owner, header("Idempotency-Key", "again")).is(202))
	require.Equal(t, 2, retried.Attempt)
}

func TestStatisticsThatAreRefusedChargeNothing(t *testing.T) {
	s := serve(t)
	feature(s.fabric, "h1", "wdbc", statsSchema)
	feature(s.fabric, "h2", "wdbc", statsSchema)
	feature(s.fabric, "h1", "secret", statsSchema)
	row := s.fabric.Features["h1/secret"]
	row.Consent.Purposes = []string{"train"}
	s.fabric.Features["h1/secret"] = row
	enrolled(s.fabric, "h1", "s1", "eu")
	tests := []struct {
		name, tenant, feature, body string
		role                        string
		status                      int
		code, at, says              string
	}{
		{"no epsilon", "h1", "wdbc", `{}`, "operator", 400, "invalid_request", "/epsilon", ""},
		{"no privacy", "h1", "wdbc", `{"epsilon":301}`, "operator", 400, "invalid_request", "/epsilon", ""},
		{"a column without bounds", "h1", "wdbc", `{"epsilon":1}`, "operator", 422, "bad_params", "/columns", "column mass has no public bounds"},
		{"a column that is not there", "h1", "wdbc", `{"epsilon":1,"columns":[{"name":"age"},{"name":"x","low":0,"high":1}]}`, "operator", 422, "bad_params", "/columns/1", "is not a column"},
		{"a column of text", "h1", "wdbc", `{"epsilon":1,"columns":[{"name":"ward","low":0,"high":1}]}`, "operator", 422, "bad_params", "/columns/0", "not a column of numbers"},
		{"bounds the wrong way around", "h1", "wdbc", `{"epsilon":1,"columns":[{"name":"age","low":9,"high":1}]}`, "operator", 422, "bad_params", "/columns/0", "bounds"},
		{"a purpose that is none", "h1", "wdbc", `{"epsilon":1,"purpose":"curiosity"}`, "operator", 422, "bad_params", "/purpose", ""},
		{"more than is left", "h1", "wdbc", `{"epsilon":11,"columns":[{"name":"age"}]}`, "operator", 409, "budget_exhausted", "/epsilon", "ε = 10 is left of 10"},
		{"no consent for statistics", "h1", "secret", `{"epsilon":1,"columns":[{"name":"age"}]}`, "operator", 422, "no_consent", "", "stats is not among train"},
		{"no site", "h2", "wdbc", `{"epsilon":1,"columns":[{"name":"age"}]}`, "operator", 409, "no_sites", "", "fabric-site"},
		{"no feature", "h1", "none", `{"epsilon":1}`, "operator", 404, "not_found", "", ""},
		{"a role that publishes nothing", "h1", "wdbc", `{"epsilon":1}`, "auditor", 403, "role_missing", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := s.in(t)
			p := into[v1.Problem](s.do("POST", "/features/"+tt.tenant+"/"+tt.feature+"/statistics", tt.body, s.as(tt.tenant, tt.role)).is(tt.status, tt.code))
			text, err := json.Marshal(p)
			require.NoError(t, err)
			require.Contains(t, string(text), tt.says)
			if tt.at != "" {
				require.Equal(t, tt.at, p.Errors[0].Pointer)
			}
			require.Empty(t, s.fabric.Leaves)
			require.Empty(t, s.fabric.Starts)
			require.Empty(t, s.fabric.Ledgers)
		})
	}
}

// published puts figures of h1's wdbc into the fabric.
func published(t *testing.T, s *served) summary.Release {
	t.Helper()
	q, err := summary.Question{Tenant: "h1", Feature: "wdbc", Version: 1, Bins: 4, Epsilon: 4, Delta: 1e-5, Sites: []string{"s1"}, Epoch: 1,
		Columns: []summary.Column{{Name: "age", Low: 0, High: 120}}}.Noised()
	require.NoError(t, err)
	rows := make([][]float64, 1000)
	for i := range rows {
		rows[i] = []float64{float64(i % 100)}
	}
	answer, err := summary.Count(q, "s1", rows, []int{0}, dp.NewStream(dp.Seed{1}))
	require.NoError(t, err)
	release, err := summary.Publish(q, []summary.Answer{answer})
	require.NoError(t, err)
	text, err := json.Marshal(release)
	require.NoError(t, err)
	document, _, err := q.Encode()
	require.NoError(t, err)
	s.fabric.Published["h1/wdbc"] = api.FeatureStatistics{
		Question: q, Attempt: 1, State: summary.StatePublished, Answers: 1, AskedAt: apitest.Epoch, EndedAt: apitest.Epoch,
		Document: s.fabric.Keep("x", document), Bundle: s.fabric.Keep("x", []byte("{}")), Release: s.fabric.Keep("x", text),
	}
	return release
}

// The owner sees them, a tenant with a grant that allows statistics sees them,
// and to everybody else there is nothing.
func TestWhoSeesStatistics(t *testing.T) {
	s := serve(t)
	feature(s.fabric, "h1", "wdbc", statsSchema, "lab")
	want := published(t, s)
	got := into[v1.FeatureStatistics](s.do("GET", "/features/h1/wdbc/statistics", nil, s.as("h1", "auditor")).is(200))
	require.Equal(t, want.Count.Value, got.Count.Value)
	require.Equal(t, want.Columns[0].Mean.Low, got.Columns[0].Mean.Low)
	require.Equal(t, want.Columns[0].Bins, got.Columns[0].Bins)
	require.Len(t, got.Columns[0].Quantiles, 5)
	require.Equal(t, 0.95, got.Level)

	theirs := into[v1.FeatureStatistics](s.do("GET", "/features/lab/wdbc/statistics?owner=h1", nil, s.as("lab", "auditor")).is(200))
	require.Equal(t, "h1", theirs.Tenant)
	require.Equal(t, got.Columns, theirs.Columns)
	s.do("GET", "/features/lab/wdbc/statistics?owner=h1&version=2", nil, s.as("lab", "auditor")).is(404, "not_found")

	nobody := into[v1.Problem](s.do("GET", "/features/other/wdbc/statistics?owner=h1", nil, s.as("other", "auditor", "admin")).is(404, "not_found"))
	never := into[v1.Problem](s.do("GET", "/features/other/never/statistics?owner=h1", nil, s.as("other", "auditor", "admin")).is(404, "not_found"))
	nobody.Instance, never.Instance = "", ""
	require.Equal(t, never, nobody)
	s.do("GET", "/features/h1/wdbc/statistics", nil, s.as("lab", "auditor")).is(404, "not_found")
	cards := s.do("GET", "/catalog?tenant=other", nil, s.as("other", "auditor")).is(200)
	require.NotContains(t, string(cards.body), "mean", "a card says that the feature exists, and no more")

	row := s.fabric.Features["h1/wdbc"]
	row.Consent.Purposes = []string{"train"}
	s.fabric.Features["h1/wdbc"] = row
	s.do("GET", "/features/lab/wdbc/statistics?owner=h1", nil, s.as("lab", "auditor")).is(404, "not_found")
}

// A site is handed the exact text that was signed, and answers it with its own
// key, once.
func TestASiteAnswersAQuestion(t *testing.T) {
	s := serve(t)
	feature(s.fabric, "h1", "wdbc", statsSchema)
	key, pem := newKey(t)
	stranger, _ := newKey(t)
	s.do("POST", "/sites/enrol", v1.EnrolRequest{Tenant: "h1", Site: "s1", Region: "eu", PublicKey: pem}, header("Authorization", "Bearer "+federationToken)).is(200)
	published(t, s)
	open := s.fabric.Published["h1/wdbc"]
	open.State, open.Release = summary.StateOpen, artifact.Descriptor{}
	open.Question.Sites = []string{"s1", "s2"}
	open.Question.Grants = s.fabric.Keep("x", []byte(`["grant"]`)).Digest
	text, digest, err := open.Question.Encode()
	require.NoError(t, err)
	open.Document = s.fabric.Keep("x", text)
	s.fabric.Published["h1/wdbc"] = open

	site := s.asSite("h1", "s1")
	list := into[v1.WorkList](s.do("GET", "/sites/work", nil, site).is(200))
	require.Len(t, list.Questions, 1)
	require.Equal(t, string(text), list.Questions[0].Question)
	require.Equal(t, `["grant"]`, list.Questions[0].Grants)
	require.Empty(t, into[v1.WorkList](s.do("GET", "/sites/work", nil, s.asSite("h2", "s1")).is(200)).Questions)

	say := func(change func(*summary.Answer)) v1.SiteAnswerRequest {
		answer, err := summary.Refuse(open.Question, "s1", summary.NoColumns)
		require.NoError(t, err)
		if change != nil {
			change(&answer)
		}
		statement, err := artifact.NewStatement("answer", digest, artifact.PredicateSummary, answer)
		require.NoError(t, err)
		bundle, err := artifact.SignStatement(nil, key, statement)
		require.NoError(t, err)
		return v1.SiteAnswerRequest{Question: string(digest), Bundle: string(bundle)}
	}
	forged := key
	key = stranger
	s.do("POST", "/sites/answers", say(nil), site).is(422, "unverified")
	key = forged
	s.do("POST", "/sites/answers", say(func(a *summary.Answer) { a.Site = "s2" }), site).is(422, "bad_update")
	s.do("POST", "/sites/answers", say(func(a *summary.Answer) { a.Refused = "tired" }), site).is(422, "bad_update")
	s.do("POST", "/sites/answers", say(func(a *summary.Answer) { a.Refused = "" }), site).is(422, "bad_update")
	s.do("POST", "/sites/answers", say(nil), s.asSite("h2", "s1")).is(404, "not_found")
	require.Empty(t, s.fabric.Said)

	accepted := into[v1.SiteAnswerAccepted](s.do("POST", "/sites/answers", say(nil), site).is(202))
	require.Equal(t, "s1", accepted.Site)
	s.do("POST", "/sites/answers", say(nil), site).is(202)
	s.do("POST", "/sites/answers", say(func(a *summary.Answer) { a.Refused = summary.NoLimits }), site).is(409, "conflict")
	require.Len(t, s.fabric.Said, 1)
	require.Empty(t, into[v1.WorkList](s.do("GET", "/sites/work", nil, site).is(200)).Questions)
	open.State = summary.StateShut
	s.fabric.Published["h1/wdbc"] = open
	s.do("POST", "/sites/answers", say(nil), site).is(409, "closed")
}
