package api_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/apitest"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/internal/issuer"
)

func TestHealthHasAStatusForEachDependency(t *testing.T) {
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	tests := []struct {
		name   string
		checks map[string]api.Check
		status int
		want   map[string]v1.HealthCheckStatus
	}{
		{"nothing to ask", nil, 200, map[string]v1.HealthCheckStatus{}},
		{"all answer", map[string]api.Check{"postgres": func(context.Context) error { return nil }}, 200, map[string]v1.HealthCheckStatus{"postgres": "pass"}},
		{"one fails", map[string]api.Check{
			"postgres": func(context.Context) error { return nil },
			"temporal": func(context.Context) error { return errors.New("dial tcp secret-host:7233") },
		}, 503, map[string]v1.HealthCheckStatus{"postgres": "pass", "temporal": "fail"}},
		{"one hangs", map[string]api.Check{"registry": hang, "postgres": func(context.Context) error { return nil }}, 503,
			map[string]v1.HealthCheckStatus{"registry": "fail", "postgres": "pass"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, func(o *api.Options, _ *api.Ports) { o.Checks = tt.checks })
			began := time.Now()
			a := s.do("GET", "/health", nil).is(tt.status)
			require.Less(t, time.Since(began), 3*time.Second)
			health := into[v1.Health](a)
			got := map[string]v1.HealthCheckStatus{}
			for name, check := range health.Checks {
				got[name] = check.Status
			}
			require.Equal(t, tt.want, got)
			require.Equal(t, "gateway", health.Service)
			require.True(t, health.Simulation)
			require.NotContains(t, string(a.body), "secret-host")
		})
	}
}

func TestHealthAsksOnceASecond(t *testing.T) {
	asked := 0
	s := serve(t, func(o *api.Options, _ *api.Ports) {
		o.Checks = map[string]api.Check{"postgres": func(context.Context) error { asked++; return nil }}
		o.Now = func() time.Time { return apitest.Epoch } // it never gets old
	})
	for range 5 {
		s.do("GET", "/health", nil).is(200)
	}
	require.Equal(t, 1, asked)
}

func TestMetricsCountByRouteAndNeverByTenant(t *testing.T) {
	s := serve(t)
	s.do("GET", "/features/t1", nil).is(200)
	s.do("GET", "/features/t2", nil).is(200)
	s.do("GET", "/no/such/secret-path", nil).is(404, "not_found")
	text := string(s.do("GET", "/metrics", nil).is(200).body)
	require.Contains(t, text, `fabric_http_requests_total{method="GET",route="/features/:tenant",service="gateway",status="200"} 2`)
	require.Contains(t, text, `fabric_http_requests_total{method="any",route="unmatched",service="gateway",status="404"} 1`)
	require.Contains(t, text, `fabric_http_request_seconds_count{route="/features/:tenant",service="gateway"} 2`)
	require.NotContains(t, text, "t1")
	require.NotContains(t, text, "secret-path")
	open := s.do("GET", "/metrics", nil, header("Accept", "application/openmetrics-text; version=1.0.0")).is(200)
	require.Contains(t, string(open.body), `trace_id="`) // exemplars
}

func TestWhatIsNotServedIsAProblemToo(t *testing.T) {
	s := serve(t)
	s.do("GET", "/", nil).is(404, "not_found")
	s.do("DELETE", "/features/t1", nil).is(405, "method_not_allowed")
	s.do("GET", "/features/t1/", nil).is(404, "not_found") // one resource, one path
}

// A panicking catalog stands for every bug that we have not found.
type panicking struct{ api.Catalog }

func (panicking) Features(context.Context, api.Caller, api.Page) ([]catalog.Feature, error) {
	panic("secret-value")
}

// A failing one stands for every failure of a dependency.
type failing struct {
	api.Catalog
	err error
}

func (f failing) Features(context.Context, api.Caller, api.Page) ([]catalog.Feature, error) {
	return nil, f.err
}

func TestInternalTextStaysInside(t *testing.T) {
	s := serve(t, func(_ *api.Options, p *api.Ports) { p.Catalog = panicking{p.Catalog} })
	a := s.do("GET", "/features/t1", nil).is(500, "internal")
	require.NotContains(t, string(a.body)+s.log.String(), "secret-value")
	require.Contains(t, s.log.String(), "panic of a string")

	s = serve(t, func(_ *api.Options, p *api.Ports) {
		p.Catalog = failing{p.Catalog, errors.New(`column "x" of host db-7`)}
	})
	a = s.do("GET", "/features/t1", nil).is(500, "internal")
	require.NotContains(t, string(a.body), "db-7")
	require.Contains(t, s.log.String(), "db-7")
	require.Contains(t, s.log.String(), `"code":"internal"`)
}

// leaving is a catalog that is still at work when its caller has gone.
type leaving struct {
	api.Catalog
	asked chan struct{}
}

func (l leaving) Features(ctx context.Context, _ api.Caller, _ api.Page) ([]catalog.Feature, error) {
	close(l.asked)
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestACallerThatLeavesIsNoFaultOfOurs(t *testing.T) {
	asked := make(chan struct{})
	s := serve(t, func(_ *api.Options, p *api.Ports) { p.Catalog = leaving{p.Catalog, asked} })
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/features/t1", nil)
	require.NoError(t, err)
	go func() { <-asked; cancel() }()
	_, err = http.DefaultClient.Do(req)
	require.ErrorIs(t, err, context.Canceled)
	require.Eventually(t, func() bool { return strings.Contains(s.log.String(), "request refused") }, 10*time.Second, 5*time.Millisecond)
	require.NotContains(t, s.log.String(), `"level":"ERROR"`)
}

func TestPortErrorsHaveTheirProblems(t *testing.T) {
	tests := []struct {
		err    error
		status int
		code   string
	}{
		{api.ErrNotFound, 404, "not_found"},
		{context.DeadlineExceeded, 503, "unavailable"},
		{api.ErrUnavailable, 503, "unavailable"},
	}
	for _, tt := range tests {
		t.Run(tt.err.Error(), func(t *testing.T) {
			s := serve(t, func(_ *api.Options, p *api.Ports) { p.Catalog = failing{p.Catalog, tt.err} })
			s.do("GET", "/features/t1", nil).is(tt.status, tt.code)
		})
	}
}

func TestATraceGoesOn(t *testing.T) {
	s := serve(t)
	feature(s.fabric, "t1", "f1", "{}")
	enrolled(s.fabric, "t1", "s1", "eu")
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	s.do("POST", "/train/round", curlRound)
	a := into[v1.RunAccepted](s.do("POST", "/train/round", curlRound).is(202))
	require.Len(t, a.TraceID, 32)
	require.NotEqual(t, id, a.TraceID)
}

func TestAServiceAnswersForItselfOnly(t *testing.T) {
	i, err := issuer.Open(t.TempDir(), "https://dev.invalid/fabric")
	require.NoError(t, err)
	tests := map[string]struct{ serves, not string }{
		api.ServiceFeatures:   {"/features/t1", "/models"},
		api.ServiceTraining:   {"/train/runs", "/models"},
		api.ServiceModels:     {"/models", "/train/runs"},
		api.ServicePolicies:   {"/policies", "/models"},
		api.ServiceScorecards: {"/scorecards/m", "/models"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server, err := api.NewService(name, options(t, i, &syncBuffer{}), apitest.New().Ports())
			require.NoError(t, err)
			get := func(path string) int {
				w := httptest.NewRecorder()
				server.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "http://127.0.0.1"+path, nil))
				return w.Code
			}
			require.Equal(t, 200, get("/health"))
			require.Equal(t, 200, get("/metrics"))
			// Whoever has only the handler is nobody's simulated caller.
			require.Equal(t, 401, get(tt.serves))
			require.Equal(t, 404, get(tt.not))
		})
	}
}

func TestWiringThatIsNotWholeIsRefused(t *testing.T) {
	i, err := issuer.Open(t.TempDir(), "https://dev.invalid/fabric")
	require.NoError(t, err)
	tests := map[string]func(*api.Options, *api.Ports){
		"no tokens":      func(o *api.Options, _ *api.Ports) { o.Tokens = nil },
		"no site tokens": func(o *api.Options, _ *api.Ports) { o.SiteTokens = nil },
		"no clock":       func(o *api.Options, _ *api.Ports) { o.Now = nil },
		"no regions":     func(o *api.Options, _ *api.Ports) { o.Regions = nil },
		"no catalog":     func(_ *api.Options, p *api.Ports) { p.Catalog = nil },
		"no blobs":       func(_ *api.Options, p *api.Ports) { p.Blobs = nil },
		"a negative rate": func(o *api.Options, _ *api.Ports) {
			o.Limits.AddrPerSecond = -1
		},
		"a router that is no URL": func(o *api.Options, _ *api.Ports) { o.RouterURL = "router:9004" },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			o, p := options(t, i, &syncBuffer{}), apitest.New().Ports()
			change(&o, &p)
			_, err := api.NewGateway(o, p)
			require.ErrorIs(t, err, api.ErrOptions)
		})
	}
	_, err = api.NewService("nonsense", options(t, i, &syncBuffer{}), apitest.New().Ports())
	require.ErrorIs(t, err, api.ErrOptions)
}

func TestTheGatewayPassesInvocationsOn(t *testing.T) {
	router := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Fabric-Audit", "v1;...")
		w.Header().Set("X-Trace-Id", "the router's")
		w.Header().Set("Content-Type", "application/json")
		if _, err := io.ReadAll(r.Body); err != nil || r.Header.Get("X-Forwarded-For") != "" {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = w.Write([]byte(`{"tenant":"t1","model_id":"m1","output":{},"decision":{},"saw":"` + r.Header.Get("Authorization") + `","parent":"` + r.Header.Get("Traceparent") + `"}`))
	}))
	s := serve(t, func(o *api.Options, _ *api.Ports) { o.RouterURL = router.URL })
	const call = `{"tenant":"t1","model_id":"m1","input":{}}`
	a := s.do("POST", "/invoke", call, form(), header("Authorization", "Bearer x")).is(200)
	require.Equal(t, "v1;...", a.Header.Get("X-Fabric-Audit"))
	require.Len(t, a.Header.Values("X-Trace-Id"), 1)
	require.Contains(t, string(a.body), "Bearer x")
	require.Contains(t, string(a.body), a.Header.Get("X-Trace-Id")) // the same trace
	s.do("POST", "/invoke", `{"tenant":"t1","model_id":"m1","input":{"x":"`+strings.Repeat("x", 2<<20)+`"}}`).is(413, "too_large")
	router.Close()
	s.do("POST", "/invoke", call).is(503, "router_away")
	s.do("GET", "/router/active", nil).is(503, "router_away")
	serve(t).do("POST", "/invoke", call).is(503, "router_away")
}

func TestEveryKindOfProblemIsExplained(t *testing.T) {
	text, err := os.ReadFile("../docs/errors.md")
	require.NoError(t, err)
	require.NotEmpty(t, api.Codes())
	for code, status := range api.Codes() {
		require.Contains(t, string(text), "\n## "+code+"\n", "docs/errors.md has no section")
		section := strings.SplitN(string(text), "\n## "+code+"\n", 2)[1]
		require.True(t, strings.HasPrefix(section, "\n"+http.StatusText(status)+" ("), "%s: %.40q", code, section)
	}
	require.Equal(t, len(api.Codes()), strings.Count(string(text), "\n## "))
}

func TestEveryOperationIsServed(t *testing.T) {
	s := serve(t)
	doc := document(t)
	count := 0
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			count++
			path := strings.NewReplacer("{", "", "}", "").Replace(path)
			path = strings.Replace(path, "/digest", "/sha256:"+strings.Repeat("0", 64), 1)
			path = strings.Replace(path, "/run/number", "/run/1", 1)
			req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, nil)
			require.NoError(t, err)
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			require.NotEqual(t, 405, resp.StatusCode, op.OperationID)
			require.NotEqual(t, 500, resp.StatusCode, op.OperationID)
			for _, status := range []string{"400", "401", "403", "404", "409", "413", "415", "416", "422", "429", "500", "503"} {
				if r := op.Responses.Value(status); r != nil && op.OperationID != "health" {
					require.NotNil(t, r.Value.Content.Get("application/problem+json"), "%s %s", op.OperationID, status)
				}
			}
		}
	}
	require.Equal(t, 103, count) // a new operation is looked at here
}

func TestServeEndsWithItsListener(t *testing.T) {
	i, err := issuer.Open(t.TempDir(), "https://dev.invalid/fabric")
	require.NoError(t, err)
	server, err := api.NewGateway(options(t, i, &syncBuffer{}), apitest.New().Ports())
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	require.Error(t, server.Serve(t.Context(), listener))
}
