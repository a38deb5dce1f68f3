package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api/v1"
)

func dan() session { s := ada(); s.Subject, s.Roles = "dan", []string{"data-scientist"}; return s }

func aCatalog() *fakeAPI {
	return &fakeAPI{answers: map[string]any{
		"GET /catalog?limit=200&q=follow-up": v1.FeatureCardPage{Items: []v1.FeatureCard{{Tenant: "clinic", FeatureID: "follow-up", Description: hostile, Access: v1.FeatureCardAccessNONE}}},
		"GET /catalog": v1.FeatureCardPage{Items: []v1.FeatureCard{
			{Tenant: "onc", FeatureID: "scans", Description: "Scans of lungs", Tags: []string{"lung"}, Access: v1.FeatureCardAccessOWNER},
			{Tenant: "clinic", FeatureID: "follow-up", Description: hostile, Access: v1.FeatureCardAccessNONE},
		}, Next: "n&1"},
		"GET /access-requests": v1.AccessRequestList{Items: []v1.AccessRequest{
			{ID: "access-1", Owner: "onc", FeatureID: "scans", Requester: "clinic", Actions: v1.Actions{"train", "evaluate"}, Purpose: "HMB", Days: 90, Reason: hostile, State: v1.AccessRequestStatePENDING, CreatedAt: noon.Add(-time.Hour)},
			{ID: "access-2", Owner: "onc", FeatureID: "scans", Requester: "cardio", Actions: v1.Actions{"train"}, Purpose: "GRU", Days: 1, Reason: "a study", State: v1.AccessRequestStatePROVISIONED, DecidedFor: "it is agreed", CreatedAt: noon.Add(-2 * time.Hour)},
			{ID: "access-3", Owner: "clinic", FeatureID: "follow-up", Requester: "onc", Actions: v1.Actions{"stats"}, Purpose: "GRU", Days: 30, Reason: "labels", State: v1.AccessRequestStateREJECTED, CreatedAt: noon.Add(-3 * time.Hour)},
		}},
		"GET /consents": v1.GrantPage{Items: []v1.Grant{
			{GrantID: "grant-1", FeatureID: "scans", Grantee: "clinic", Actions: v1.Actions{"train"}, Purposes: []v1.DataUse{"HMB"}, State: v1.ACTIVE, Signed: true, Used: 3, NotBefore: noon.Add(-time.Hour), ExpiresAt: noon.Add(time.Hour)},
			{GrantID: "grant-0", FeatureID: "scans", Grantee: "cardio", Actions: v1.Actions{"train"}, State: v1.WITHDRAWN, NotBefore: noon.Add(-2 * time.Hour), WithdrawnAt: noon.Add(-time.Hour)},
		}, Next: "more"},
	}}
}

func TestCatalog(t *testing.T) {
	api := aCatalog()
	c := testConsole(t, api)
	w := ask(t, c, oda(), "GET", "/console/catalog?q=lung", nil)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	golden(t, "catalog", withoutKeys(w))
	page := w.Body.String()
	require.NotContains(t, page, "<script>alert")
	require.Contains(t, page, "?q=lung&amp;cursor=n%261")
	require.Contains(t, api.asked, "GET /catalog?q=lung")
	require.Contains(t, page, `name="decision" value="approve"`)
	require.NotContains(t, page, `action="/console/access/access-3"`, "another's feature is another's to decide on")

	page = ask(t, c, dan(), "GET", "/console/catalog", nil).Body.String()
	require.NotContains(t, page, `action="/console/access/`)
	require.Contains(t, page, "You need the role approver, operator or admin")
}

func TestAccessIsDecided(t *testing.T) {
	api := &fakeAPI{answers: map[string]any{"POST /access-requests/access-1/decision": v1.AccessRequest{ID: "access-1"}}}
	c := testConsole(t, api)
	w := ask(t, c, oda(), "POST", "/console/access/access-1", url.Values{"decision": {"revoke"}, "typed": {"yes"}, "key": {"k"}})
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	require.Empty(t, api.asked, "nothing was asked of the API")
	for _, decision := range []string{"approve", "reject", "revoke"} {
		api.bodies, api.keys = nil, nil
		w = ask(t, c, oda(), "POST", "/console/access/access-1", url.Values{"decision": {decision}, "typed": {"revoke"}, "key": {"k-" + decision}})
		require.Equal(t, "/console/catalog?done=access-"+decision, w.Header().Get("Location"))
		require.Contains(t, api.bodies[0], `"decision":"`+decision+`"`)
		require.Equal(t, "k-"+decision, api.keys[0])
		require.NotEmpty(t, notices()["access-"+decision])
	}
}

func TestFeature(t *testing.T) {
	api := aCatalog()
	c := testConsole(t, api)
	w := ask(t, c, oda(), "GET", "/console/catalog/onc/scans", nil)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	golden(t, "feature-own", withoutKeys(w))
	require.Contains(t, api.asked, "GET /consents?feature=scans")

	figure := v1.StatisticsFigure{Value: 41.5, Low: 40.25, High: 42.75, Stddev: 0.6}
	api.answers["GET /features/onc/scans/statistics"] = v1.FeatureStatistics{
		Tenant: "onc", FeatureID: "scans", Version: 2, Attempt: 1, State: "published", Mechanism: "discrete_gaussian", Epsilon: 1, Delta: 1e-5, Level: 0.95,
		SitesAsked: 3, SitesAnswered: 2, AskedAt: noon, Digest: "sha256:" + strings.Repeat("a", 64), Count: v1.StatisticsFigure{Value: 512, Low: 490, High: 534},
		Columns: []v1.ColumnStatistics{{Name: hostile, Low: 0, High: 120, Mean: figure, Variance: figure, Quantiles: []v1.StatisticsQuantile{{Share: 0.5, Value: 40, Low: 37.5, High: 41.25}}}},
	}
	w = ask(t, c, oda(), "GET", "/console/catalog/onc/scans", nil)
	golden(t, "feature-statistics", withoutKeys(w))
	require.NotContains(t, w.Body.String(), "<script>alert")
	require.Contains(t, w.Body.String(), "40.25 to 42.75")
	delete(api.answers, "GET /features/onc/scans/statistics")

	w = ask(t, c, dan(), "GET", "/console/catalog/clinic/follow-up", nil)
	golden(t, "feature-other", withoutKeys(w))
	require.NotContains(t, w.Body.String(), "<script>alert")

	w = ask(t, c, rea(), "GET", "/console/catalog/clinic/follow-up", nil)
	require.Contains(t, w.Body.String(), "You need the role data-scientist, operator or admin")
	require.NotContains(t, w.Body.String(), `<form method="post" action="/console/catalog`)
	api.asked = nil
	require.Equal(t, http.StatusNotFound, ask(t, c, dan(), "GET", "/console/catalog/clinic/none", nil).Code)
	require.Len(t, api.asked, mostLooked, "an API that always has one more page is not asked for ever")
}

func TestAccessIsAskedFor(t *testing.T) {
	api := &fakeAPI{answers: map[string]any{"POST /access-requests": v1.AccessRequest{ID: "access-9"}}}
	c := testConsole(t, api)
	const path = "/console/catalog/clinic/follow-up/access"
	form := url.Values{"actions": {"train", "stats"}, "purpose": {"HMB"}, "days": {"90"}, "reason": {"a study"}, "key": {"k1"}}
	w := ask(t, c, dan(), "POST", path, form)
	require.Equal(t, "/console/catalog/clinic/follow-up?done=access-asked", w.Header().Get("Location"))
	require.JSONEq(t, `{"owner":"clinic","feature_id":"follow-up","purpose":"HMB","actions":["train","stats"],"days":90,"reason":"a study"}`, api.bodies[0])
	require.Equal(t, "k1", api.keys[0])

	form.Set("days", "many")
	w = ask(t, c, dan(), "POST", path, form)
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	require.Len(t, api.asked, 1)
	sound(t, w)
}

// A withdrawal shows first what it would reach; what was shown is withdrawn only
// with the feature's name typed under it.
func TestConsentIsWithdrawnAfterALook(t *testing.T) {
	api := &fakeAPI{answers: map[string]any{"POST /consents/withdrawals": v1.Withdrawal{
		FeatureID: "scans", Epoch: 4, Grants: []string{"grant-1"}, Grantees: []string{"clinic"}, Preview: true, Markdown: "# reaches\n" + hostile,
	}}}
	c := testConsole(t, api)
	const path = "/console/catalog/onc/scans/withdrawal"
	w := ask(t, c, oda(), "POST", path, url.Values{"do": {"preview"}, "reason": {"the archive is closed"}, "key": {"k1"}})
	require.Equal(t, http.StatusOK, w.Code)
	golden(t, "withdrawal-preview", withoutKeys(w))
	require.JSONEq(t, `{"feature_id":"scans","reason":"the archive is closed"}`, api.bodies[0])
	require.NotContains(t, w.Body.String(), "<script>alert")

	w = ask(t, c, oda(), "POST", path, url.Values{"do": {"apply"}, "typed": {"scan"}, "key": {"k2"}})
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	require.Contains(t, w.Body.String(), "Nothing was withdrawn")
	require.Equal(t, http.StatusNotFound, ask(t, c, oda(), "POST", "/console/catalog/clinic/scans/withdrawal", url.Values{"do": {"apply"}, "typed": {"scans"}}).Code)
	require.Len(t, api.asked, 1, "neither asked the API")

	w = ask(t, c, oda(), "POST", path, url.Values{"do": {"apply"}, "reason": {"the archive is closed"}, "typed": {"scans"}, "key": {"k3"}})
	require.Equal(t, "/console/withdrawals/4?done=withdrawn", w.Header().Get("Location"))
	require.JSONEq(t, `{"feature_id":"scans","reason":"the archive is closed","apply":true}`, api.bodies[1])
	require.Equal(t, "k3", api.keys[1])
}

func TestWithdrawal(t *testing.T) {
	api := &fakeAPI{answers: map[string]any{"GET /consents/withdrawals/4": v1.Withdrawal{
		FeatureID: "scans", Epoch: 4, Grants: []string{"grant-1"}, Grantees: []string{"clinic"}, Undecided: true, Reason: hostile, WithdrawnAt: noon, Markdown: "# reached",
	}}}
	c := testConsole(t, api)
	w := ask(t, c, rea(), "GET", "/console/withdrawals/4", nil)
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	golden(t, "withdrawal", w)
	require.NotContains(t, w.Body.String(), "<script>alert")
	require.Contains(t, w.Body.String(), "fabric consent decide 4")
	require.Equal(t, http.StatusNotFound, ask(t, c, rea(), "GET", "/console/withdrawals/x", nil).Code)
}
