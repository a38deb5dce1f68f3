package router_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/token"
)

func TestAnswersFromTheNearestPermittedRegion(t *testing.T) {
	f := newFabric(t, setup{})
	_, _, s := f.two(t)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	got := f.call(t, "POST", "/invoke", f.token(t, "clinic"), ask, "Traceparent", parent)
	require.Equal(t, 200, got.status, got.text)
	require.Equal(t, "eu", got.body.Region)
	require.Equal(t, "eu-1", got.body.Endpoint)
	require.Equal(t, 3, got.body.Version)
	require.False(t, got.body.Simulated)
	require.Equal(t, 2, got.body.Decision.Considered)
	require.Empty(t, got.body.Decision.Excluded)

	// Softmax of (0, 1) and (0, -3): see the runtime's test.
	var output struct {
		Probabilities [][]float64
		Class         []int
	}
	require.NoError(t, json.Unmarshal(got.body.Output, &output))
	require.InDeltaSlice(t, []float64{0.2689414, 0.7310586}, output.Probabilities[0], 1e-6)
	require.InDeltaSlice(t, []float64{0.9525741, 0.0474259}, output.Probabilities[1], 1e-6)
	require.Equal(t, []int{1, 0}, output.Class)

	header := got.header.Get("X-Fabric-Audit")
	id := got.body.Decision.ID
	require.Regexp(t, `^v1;kid=[0-9a-f]{16};did=0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16};model=`+string(s.Packages[0].Manifest)+`;region=eu;snapshot=9;policy=1;mac=[0-9a-f]{32}$`, header)
	require.Equal(t, header, got.body.Audit.Header)
	require.Contains(t, header, id)
	require.Equal(t, string(artifact.DigestOf(got.body.Output)), got.body.Audit.Output, "the digest is of the bytes of output")
	require.True(t, strings.HasPrefix(got.header.Get("Traceparent"), "00-0af7651916cd43dd8448eb211c80319c-"))
	require.Equal(t, "9;age=0", got.header.Get("X-Fabric-Snapshot"))

	for tenant, want := range map[string]int{"clinic": 200, "consortium": 200, "lab": 404} {
		kept := f.call(t, "GET", "/router/decisions/"+id, f.token(t, tenant), "")
		require.Equal(t, want, kept.status, tenant)
		if want == 200 {
			require.Contains(t, kept.text, `"verified":true`)
			require.Contains(t, kept.text, `"endpoint":"eu-1"`)
		}
	}
	metrics := f.call(t, "GET", "/metrics", "", "").text
	for _, line := range []string{`fabric_router_requests_total{code="200"} 1`, `fabric_router_decisions_total{region="eu"} 1`,
		`fabric_router_upstream_seconds_count{region="eu"} 1`, "fabric_router_added_seconds_count 1", "fabric_router_endpoints_ready 2"} {
		require.Contains(t, metrics, line)
	}
}

func TestPreferences(t *testing.T) {
	f := newFabric(t, setup{})
	_, _, s := f.two(t)
	tests := []struct {
		name, tenant, preferences string
		status                    int
		want                      string // region of a 200, else the code
		detail                    string
	}{
		{"none", "clinic", `{}`, 200, "eu", ""},
		{"null", "clinic", `null`, 200, "eu", ""},
		{"a region", "clinic", `{"region":"us"}`, 200, "us", ""},
		{"an environment", "clinic", `{"environment":"production"}`, 200, "eu", ""},
		{"the owner", "clinic", `{"owner":"consortium"}`, 200, "eu", ""},
		{"a kind", "clinic", `{"kind":"neural"}`, 200, "eu", ""},
		{"a cost that holds", "clinic", `{"max_cost_micros":100}`, 200, "eu", ""},
		{"a latency that holds", "clinic", `{"max_latency_ms":1500,"explain":true}`, 200, "eu", ""},
		{"none, of a tenant that is barred from the home region", "lab", `{}`, 200, "us", ""},
		{"a region that a rule bars", "lab", `{"region":"eu"}`, 403, "not_permitted", "in region eu, by rule policy/1/lab-stays."},
		{"a region that does not exist", "clinic", `{"region":"mars"}`, 400, "bad_request", ""},
		{"another owner", "clinic", `{"owner":"lab"}`, 404, "no_route", ""},
		{"an environment without a version", "clinic", `{"environment":"staging"}`, 404, "no_route", "there is one in production"},
		{"a kind that is not there", "clinic", `{"kind":"quantum"}`, 422, "preferences_unmet", "preferences/kind"},
		{"a cost that is too low", "clinic", `{"max_cost_micros":99}`, 422, "preferences_unmet", "preferences/max_cost_micros"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := f.invoke(t, f.token(t, tt.tenant), asking(tt.tenant, tt.preferences))
			require.Equal(t, tt.status, got.status, got.text)
			if tt.status == 200 {
				require.Equal(t, tt.want, got.body.Region)
				return
			}
			require.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
			require.Equal(t, tt.want, got.body.Code)
			require.Contains(t, got.body.Detail, tt.detail)
			require.Len(t, got.body.Instance, 32)
		})
	}
	explained := f.invoke(t, f.token(t, "lab"), asking("lab", `{"explain":true}`))
	require.Equal(t, []routing.Exclusion{{Endpoint: "eu-1", Region: "eu", Rule: "policy/1/lab-stays"}}, explained.body.Decision.Excluded)
	require.Len(t, explained.body.Decision.Scores, 1)

	// Nobody at all: every rule is named, and nothing is sent.
	s.Version++
	s.Policies[0].Rules[0].Regions = nil
	require.NoError(t, f.Use(s))
	got := f.invoke(t, f.token(t, "lab"), asking("lab", `{}`))
	require.Equal(t, 403, got.status)
	require.Contains(t, got.body.Detail, "policy/1/lab-stays")
	require.Equal(t, 200, f.invoke(t, f.token(t, "clinic"), ask).status)
}

func TestWhoMayAsk(t *testing.T) {
	f := newFabric(t, setup{})
	f.two(t)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	forger, err := token.NewDevIssuer(stranger, issuer)
	require.NoError(t, err)
	elsewhere, err := token.NewDevIssuer(f.key, "https://other.example")
	require.NoError(t, err)
	issue := func(i *token.DevIssuer, audience string, at time.Time) string {
		raw, err := i.Issue(audience, token.Claims{Subject: "ann", Tenant: "clinic"}.Lifetime(at, time.Hour))
		require.NoError(t, err)
		return raw
	}
	tests := []struct {
		name, bearer string
		status       int
		code, detail string
	}{
		{"a good token", f.token(t, "clinic"), 200, "", ""},
		{"no token", "", 401, "token_missing", ""},
		{"no JWT", "abc", 401, "token_invalid", "not a signed JWT"},
		{"a forged one", issue(forger, "fabric", time.Now()), 401, "token_invalid", "not known"},
		{"an expired one", issue(f.issuer, "fabric", time.Now().Add(-2*time.Hour)), 401, "token_invalid", "expired"},
		{"one of the future", issue(f.issuer, "fabric", time.Now().Add(2*time.Hour)), 401, "token_invalid", "not valid yet"},
		{"a site's", issue(f.issuer, "fabric-site", time.Now()), 401, "token_invalid", "another audience"},
		{"another issuer's", issue(elsewhere, "fabric", time.Now()), 401, "token_invalid", "another issuer"},
		{"another tenant's", f.token(t, "lab"), 404, "not_found", ""},
		{"a stranger's, for itself", f.token(t, "stranger"), 404, "not_found", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := f.invoke(t, tt.bearer, ask)
			require.Equal(t, tt.status, got.status, got.text)
			require.Equal(t, tt.code, got.body.Code)
			require.Contains(t, got.body.Detail, tt.detail)
			if tt.status == 401 {
				require.Equal(t, `Bearer realm="fabric"`, got.header.Get("WWW-Authenticate"))
			}
		})
	}
	twice, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.URL+"/invoke", strings.NewReader(ask))
	require.NoError(t, err)
	twice.Header["Authorization"] = []string{"Bearer " + f.token(t, "clinic"), "Bearer " + f.token(t, "clinic")}
	resp, err := f.Client().Do(twice)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 401, resp.StatusCode)
}

func TestMalformedRequests(t *testing.T) {
	f := newFabric(t, setup{})
	f.two(t)
	bearer := f.token(t, "clinic")
	input := func(text string) string { return `{"tenant":"clinic","model_id":"tumour","input":` + text + `}` }
	tests := []struct {
		name, body string
		status     int
		code       string
		pointer    string
	}{
		{"nothing", "", 400, "bad_request", ""},
		{"half a body", `{"tenant":`, 400, "bad_request", ""},
		{"a list", `[]`, 400, "bad_request", ""},
		{"two bodies", ask + ask, 400, "bad_request", ""},
		{"the tenant twice", strings.Replace(ask, "{", `{"tenant":"lab",`, 1), 400, "bad_request", "/tenant"},
		{"the tenant in two cases", strings.Replace(ask, "{", `{"TENANT":"lab",`, 1), 400, "bad_request", "/tenant"},
		{"the tenant in the wrong case", strings.Replace(ask, "tenant", "Tenant", 1), 400, "bad_request", "/Tenant"},
		{"an unknown field", strings.Replace(ask, "{", `{"model":"x",`, 1), 400, "bad_request", "/model"},
		{"no tenant", `{"model_id":"tumour","input":{}}`, 400, "bad_request", "/tenant"},
		{"a number as tenant", `{"tenant":1,"model_id":"tumour","input":{}}`, 400, "bad_request", "/tenant"},
		{"no model", `{"tenant":"clinic","input":{}}`, 400, "bad_request", "/model_id"},
		{"a path as model", `{"tenant":"clinic","model_id":"../x","input":{}}`, 400, "bad_request", "/model_id"},
		{"no input", `{"tenant":"clinic","model_id":"tumour"}`, 400, "bad_request", "/input"},
		{"a list as input", input(`[]`), 400, "bad_request", "/input"},
		{"invalid UTF-8", strings.Replace(ask, "clinic", "clin\xff", 1), 400, "bad_request", ""},
		{"bottomless", input(`{"data":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`), 400, "bad_request", "/input/data" + strings.Repeat("/0", 62)},
		{"too large", input(`{"data":"` + strings.Repeat("a", 1<<20) + `"}`), 413, "too_large", ""},
		{"preferences as a list", asking("clinic", `[]`), 400, "bad_request", "/preferences"},
		{"an unknown preference", asking("clinic", `{"regoin":"eu"}`), 400, "bad_request", "/preferences/regoin"},
		{"an unknown environment", asking("clinic", `{"environment":"prod"}`), 400, "bad_request", "/preferences/environment"},
		{"an unknown kind", asking("clinic", `{"kind":"gpu"}`), 400, "bad_request", "/preferences/kind"},
		{"no time", asking("clinic", `{"max_latency_ms":0}`), 400, "bad_request", "/preferences/max_latency_ms"},
		{"more than a minute", asking("clinic", `{"max_latency_ms":60001}`), 400, "bad_request", "/preferences/max_latency_ms"},
		{"a cost below zero", asking("clinic", `{"max_cost_micros":-1}`), 400, "bad_request", "/preferences/max_cost_micros"},
		{"a fraction of cost", asking("clinic", `{"max_cost_micros":1.5}`), 400, "bad_request", "/preferences/max_cost_micros"},
		{"an empty input", input(`{}`), 422, "bad_input", "/input"},
		{"something else as input", input(`{"rows":[[1,0]]}`), 422, "bad_input", "/input"},
		{"data and inputs", input(`{"data":[[1,0]],"inputs":[]}`), 422, "bad_input", "/input"},
		{"no rows", input(`{"data":[]}`), 422, "bad_input", "/input/data"},
		{"an empty row", input(`{"data":[[]]}`), 422, "bad_input", "/input/data/0"},
		{"ragged rows", input(`{"data":[[1,0],[1]]}`), 422, "bad_input", "/input/data/1"},
		{"null in a row", input(`{"data":[[1,null]]}`), 422, "bad_input", "/input/data/0/1"},
		{"a text in a row", input(`{"data":[[1,"0"]]}`), 422, "bad_input", "/input/data/0"},
		{"a number without bounds", input(`{"data":[[1,1e999]]}`), 422, "bad_input", "/input/data/0"},
		{"rows among numbers", input(`{"data":[1,[0]]}`), 422, "bad_input", "/input/data"},
		{"another width than the model's", input(`{"data":[[1,2,3]]}`), 422, "bad_input", "/input"},
		{"tensors that are none", input(`{"inputs":[{}]}`), 422, "bad_input", "/input"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := f.invoke(t, bearer, tt.body)
			require.Equal(t, tt.status, got.status, got.text)
			require.Equal(t, tt.code, got.body.Code)
			if tt.pointer != "" {
				require.NotEmpty(t, got.body.Errors)
				require.Equal(t, tt.pointer, got.body.Errors[0].Pointer)
			}
		})
	}
	require.Equal(t, 415, f.call(t, "POST", "/invoke", bearer, ask, "Content-Type", "text/plain").status)
	require.Equal(t, 405, f.call(t, "GET", "/invoke", bearer, "").status)
	require.Equal(t, 404, f.call(t, "GET", "/nothing", bearer, "").status)
	// One row may stand alone, and tensors are passed on as they are.
	require.Equal(t, 200, f.invoke(t, bearer, input(`{"data":[1,0]}`)).status)
	passed := f.invoke(t, bearer, input(`{"inputs":[{"name":"r","shape":[1,2],"datatype":"FP32","data":[0,0]}],"outputs":[{"name":"class"}]}`))
	require.Equal(t, 200, passed.status, passed.text)
	require.JSONEq(t, `{"outputs":[{"name":"class","shape":[1],"datatype":"INT64","data":[0]}]}`, string(passed.body.Output))
}

func TestSimulatedCallersNeverReachProduction(t *testing.T) {
	f := newFabric(t, setup{simulation: true})
	got := f.invoke(t, "", ask)
	require.Equal(t, 503, got.status)
	require.Equal(t, "no_snapshot", got.body.Code)

	_, _, s := f.two(t)
	route := func(environment string, simulated bool) routing.Route {
		r := s.Routes[0]
		r.Environment, r.Simulated = environment, simulated
		return r
	}
	tests := []struct {
		name   string
		routes []routing.Route
		body   string
		status int
		want   string // environment of a 200, else the code
	}{
		{"nothing promoted", nil, ask, 404, "no_route"},
		{"production only", []routing.Route{route("production", false)}, ask, 403, "simulation_refused"},
		{"production asked for", []routing.Route{route("production", false), route("dev", false)}, asking("clinic", `{"environment":"production"}`), 403, "simulation_refused"},
		{"staging before dev", []routing.Route{route("dev", false), route("production", false), route("staging", false)}, ask, 200, "staging"},
		{"dev", []routing.Route{route("dev", false), route("production", false)}, ask, 200, "dev"},
		{"a simulated production, when there is nothing else", []routing.Route{route("production", true)}, ask, 200, "production"},
		{"dev before a simulated production", []routing.Route{route("production", true), route("dev", false)}, ask, 200, "dev"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			next := s
			next.Version, next.Routes = int64(10+i), tt.routes
			require.NoError(t, f.Use(next))
			// As curl sends it: no token, a form's content type.
			got := f.call(t, "POST", "/invoke", "", tt.body, "Content-Type", "application/x-www-form-urlencoded")
			require.Equal(t, tt.status, got.status, got.text)
			require.Equal(t, "true", got.header.Get("X-Fabric-Simulated"))
			if tt.status == 200 {
				require.Equal(t, tt.want, got.body.Decision.Environment)
				require.True(t, got.body.Simulated)
				return
			}
			require.Equal(t, tt.want, got.body.Code)
		})
	}
	next := s
	next.Version, next.Routes = 100, []routing.Route{route("dev", false)}
	require.NoError(t, f.Use(next))
	for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Host", "evil.example"}, {"X-Forwarded-For", "203.0.113.9"}, {"X-Forwarded-For", "127.0.0.1, 203.0.113.9"}} {
		require.Equal(t, 401, f.call(t, "POST", "/invoke", "", ask, header...).status, header)
	}
	require.Equal(t, 200, f.call(t, "POST", "/invoke", "", ask, "Origin", "http://localhost:9000", "X-Forwarded-For", "127.0.0.1").status)
	require.Equal(t, 401, f.invoke(t, "not-a-token", ask).status, "a token that is presented must be valid")
}

func TestModelsOfSeveralOwners(t *testing.T) {
	f := newFabric(t, setup{})
	_, _, s := f.two(t)
	other := s.Packages[0]
	other.Tenant = "university"
	s.Version++
	s.Packages = append(s.Packages, other)
	route := s.Routes[0]
	route.Tenant = "university"
	s.Routes = append(s.Routes, route)
	require.NoError(t, f.Use(s))
	require.Equal(t, "ambiguous_model", f.invoke(t, f.token(t, "clinic"), ask).body.Code)
	require.Equal(t, 200, f.invoke(t, f.token(t, "clinic"), asking("clinic", `{"owner":"consortium"}`)).status)
	require.Equal(t, 200, f.invoke(t, f.token(t, "consortium"), asking("consortium", `{}`)).status, "one's own model comes first")
}

func TestActive(t *testing.T) {
	f := newFabric(t, setup{})
	require.Equal(t, 401, f.call(t, "GET", "/router/active", "", "").status)
	require.Equal(t, 503, f.call(t, "GET", "/router/active", f.token(t, "clinic"), "").status)
	require.Equal(t, 503, f.call(t, "GET", "/health", "", "").status)
	f.two(t)
	for caller, want := range map[string]int{
		f.token(t, "clinic"):           2,
		f.token(t, "stranger"):         0,
		f.token(t, "x", "data-plane"):  2,
		f.token(t, "lab", "operator"):  1, // what lab is not permitted is not shown as its
		f.token(t, "consortium", "no"): 2,
	} {
		got := f.call(t, "GET", "/router/active", caller, "")
		require.Equal(t, 200, got.status)
		require.Equal(t, want, strings.Count(got.text, `"endpoint":`), got.text)
	}
	require.Equal(t, 404, f.call(t, "GET", "/router/active?tenant=lab", f.token(t, "clinic"), "").status)
	health := f.call(t, "GET", "/health", "", "")
	require.Equal(t, 200, health.status)
	require.Contains(t, health.text, `"snapshot":{"status":"pass","output":"version 9, confirmed 0 s ago"}`)
}

func TestAStaleSnapshotServesAndSaysSo(t *testing.T) {
	f := newFabric(t, setup{confirmed: func() time.Time { return time.Now().Add(-2 * time.Hour) }})
	f.two(t)
	got := f.invoke(t, f.token(t, "clinic"), ask)
	require.Equal(t, 200, got.status)
	require.Equal(t, "true", got.header.Get("X-Fabric-Snapshot-Stale"))
	require.Regexp(t, `^9;age=(7199|7200)$`, got.header.Get("X-Fabric-Snapshot"))
	health := f.call(t, "GET", "/health", "", "")
	require.Equal(t, 200, health.status)
	require.Contains(t, health.text, `"snapshot":{"status":"fail"`)
}

func TestUseRefusesAndKeeps(t *testing.T) {
	f := newFabric(t, setup{})
	_, _, s := f.two(t)
	bad := s
	bad.Version, bad.Packages = 10, nil
	require.ErrorIs(t, f.Use(bad), routing.ErrNoPackage)
	require.Equal(t, "9;age=0", f.invoke(t, f.token(t, "clinic"), ask).header.Get("X-Fabric-Snapshot"))
}
