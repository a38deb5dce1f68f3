package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/internal/issuer"
	"github.com/atom-fabric/fabric/internal/token"
)

// What a token itself must be like is the table of internal/token; here is who
// may do what with one that is good, and that every other one is refused.
func TestWhoMayCall(t *testing.T) {
	s := serve(t)
	other, err := issuer.Open(t.TempDir(), "https://dev.invalid/fabric") // another key under our name
	require.NoError(t, err)
	foreign, err := other.Mint("t1", "eve", []string{"admin"}, time.Hour)
	require.NoError(t, err)
	good, err := s.issuer.Mint("t1", "ann", []string{"auditor"}, time.Hour)
	require.NoError(t, err)
	bearer := func(raw string) request { return header("Authorization", raw) }
	site := s.asSite("t1", "s1")
	tests := []struct {
		name   string
		method string
		path   string
		with   request
		status int
		code   string
	}{
		{"a token", "GET", "/features/t1", bearer("Bearer " + good), 200, ""},
		{"the scheme in another case", "GET", "/features/t1", bearer("bearer " + good), 200, ""},
		{"another scheme", "GET", "/features/t1", bearer("Basic " + good), 401, "token_invalid"},
		{"an empty header", "GET", "/features/t1", bearer(""), 401, "token_invalid"},
		{"no token after the scheme", "GET", "/features/t1", bearer("Bearer "), 401, "token_invalid"},
		{"garbage", "GET", "/features/t1", bearer("Bearer garbage"), 401, "token_invalid"},
		{"a changed signature", "GET", "/features/t1", bearer("Bearer " + good[:len(good)-4] + "AAAA"), 401, "token_invalid"},
		{"another issuer's key", "GET", "/features/t1", bearer("Bearer " + foreign), 401, "token_invalid"},
		{"two headers", "GET", "/features/t1", func(r *http.Request) {
			r.Header["Authorization"] = []string{"Bearer " + good, "Bearer " + good}
		}, 401, "token_invalid"},
		{"9 KiB", "GET", "/features/t1", bearer("Bearer " + good + strings.Repeat("A", 9<<10)), 401, "token_invalid"},
		{"a site's token where a caller's is wanted", "GET", "/features/t1", site, 401, "token_invalid"},
		{"a caller's token where a site's is wanted", "GET", "/sites/work", bearer("Bearer " + good), 401, "token_invalid"},
		{"a site's token for a site's work", "GET", "/sites/work", site, 200, ""},
		{"nothing where a site's is wanted", "GET", "/sites/work", nil, 401, "token_missing"},
		{"a role that may not", "GET", "/snapshot", bearer("Bearer " + good), 403, "role_missing"},
		{"a role that may", "GET", "/snapshot", s.as("fabric", "data-plane"), 204, ""},
		{"no role at all", "GET", "/features/t1", s.as("t1"), 403, "role_missing"},
		{"another tenant's path", "GET", "/features/t2", bearer("Bearer " + good), 404, "not_found"},
		{"another tenant's query", "GET", "/models?tenant=t2", bearer("Bearer " + good), 404, "not_found"},
		{"its own query", "GET", "/models?tenant=t1", bearer("Bearer " + good), 200, ""},
		{"a simulated caller", "GET", "/models?tenant=t1", nil, 200, ""},
		{"a simulated caller of nobody", "GET", "/models", nil, 400, "tenant_missing"},
		{"a simulated caller of two tenants", "GET", "/features/t1?tenant=t2", nil, 400, "invalid_request"},
		{"a simulated data plane", "GET", "/snapshot", nil, 204, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var with []request
			if tt.with != nil {
				with = append(with, tt.with)
			}
			a := s.in(t).do(tt.method, tt.path, nil, with...).is(tt.status)
			if tt.code != "" {
				a.is(tt.status, tt.code)
			}
			if tt.status == 401 {
				require.Equal(t, "Bearer", a.Header.Get("WWW-Authenticate"))
			}
		})
	}
	require.NotContains(t, s.log.String(), good)
	require.NotContains(t, s.log.String(), good[len(good)-40:])
}

func TestASimulatedCallerComesFromThisMachineOnly(t *testing.T) {
	tests := []struct {
		name string
		with request
		want int
	}{
		{"by its address", func(*http.Request) {}, 200},
		{"by its name", func(r *http.Request) { r.Host = "localhost:9000" }, 200},
		{"by IPv6", func(r *http.Request) { r.Host = "[::1]:9000" }, 200},
		{"under a name that somebody's DNS points here", func(r *http.Request) { r.Host = "evil.example" }, 401},
		{"through a proxy", header("X-Forwarded-For", "203.0.113.7"), 401},
		{"through a proxy that says Forwarded", header("Forwarded", "for=203.0.113.7"), 401},
		{"from a page of another site", header("Sec-Fetch-Site", "cross-site"), 401},
	}
	s := serve(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { s.in(t).do("GET", "/features/t1", nil, tt.with).is(tt.want) })
	}
	t.Run("not by a form of another origin", func(t *testing.T) {
		s.in(t).do("POST", "/features/register", curlFeature, form(), header("Origin", "https://evil.example")).is(401, "token_missing")
	})
	t.Run("not outside simulation", func(t *testing.T) {
		serve(t, func(o *api.Options, _ *api.Ports) { o.Simulation = false }).do("GET", "/features/t1", nil).is(401, "token_missing")
	})
}

func TestASimulatedCallerTouchesNothingOfProduction(t *testing.T) {
	s := serve(t)
	ballot := `{"bundle":"{}"}`
	s.do("POST", "/approvals/promote-1/votes?tenant=t1", ballot).is(403, "simulation_refused")
	s.do("POST", "/approvers?tenant=t1", `{"name":"bob","role":"owner","public_key":"x"}`).is(403, "simulation_refused")
	s.do("POST", "/train/round", `{"model_id":"m1","tenants":["t1"],"params":{"production":true}}`).is(403, "simulation_refused")
	s.do("POST", "/tuning/suggestions?tenant=t1", `{"model_id":"m1","environment":"production","apply":true}`).is(403, "simulation_refused")
	require.Empty(t, s.fabric.Leaves)
}

func TestSeveralIssuers(t *testing.T) {
	other, err := issuer.Open(t.TempDir(), "https://idp.example")
	require.NoError(t, err)
	s := serve(t, func(o *api.Options, _ *api.Ports) {
		o.Tokens = api.Issuers{o.Tokens, other.Verifier("fabric", time.Now)}
	})
	for _, i := range []*issuer.Issuer{s.issuer, other} {
		raw, err := i.Mint("t1", "ann", []string{"auditor"}, time.Hour)
		require.NoError(t, err)
		s.do("GET", "/features/t1", nil, header("Authorization", "Bearer "+raw)).is(200)
	}
	third, err := issuer.Open(t.TempDir(), "https://idp.example")
	require.NoError(t, err)
	raw, err := third.Mint("t1", "ann", []string{"auditor"}, time.Hour)
	require.NoError(t, err)
	p := into[v1.Problem](s.do("GET", "/features/t1", nil, header("Authorization", "Bearer "+raw)).is(401, "token_invalid"))
	require.Equal(t, token.ErrIssuer.Error(), p.Detail)
}

func TestTheFederationToken(t *testing.T) {
	long := func(c string) string { return strings.Repeat(c, 32) }
	tests := []struct {
		name   string
		values string
		ok     bool
	}{
		{"one", long("a"), true},
		{"two", long("a") + "," + long("b"), true},
		{"none", "", false},
		{"three", long("a") + "," + long("b") + "," + long("c"), false},
		{"a short one", long("a")[1:], false},
		{"a short second one", long("a") + ",b", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := api.NewEnrolment(tt.values)
			if tt.ok {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, api.ErrFederationToken)
			require.NotContains(t, err.Error(), "aaaa")
		})
	}
}

func TestATenantIsLimitedAndToldWhen(t *testing.T) {
	s := serve(t, func(o *api.Options, _ *api.Ports) { o.Limits.TenantPerSecond = 1 })
	ann, eve := s.as("t1", "auditor"), s.as("t2", "auditor")
	refused := 0
	for range 6 { // a burst of two
		if a := s.do("GET", "/features/t1", nil, ann); a.StatusCode == 429 {
			a.is(429, "rate_limited")
			require.Equal(t, "1", a.Header.Get("Retry-After"))
			refused++
		}
	}
	require.GreaterOrEqual(t, refused, 3)
	s.do("GET", "/features/t2", nil, eve).is(200) // another tenant has its own bucket
	s.do("POST", "/features/register", curlFeature, s.as("t1", "operator")).is(201)
}

func TestAnAddressIsLimitedBeforeItsTokenIsRead(t *testing.T) {
	s := serve(t, func(o *api.Options, _ *api.Ports) { o.Limits.AddrPerSecond = 1 })
	refused := 0
	for range 6 {
		if a := s.do("GET", "/features/t1", nil, header("Authorization", "Bearer garbage")); a.StatusCode == 429 {
			refused++
		}
	}
	require.GreaterOrEqual(t, refused, 3)
}

// claimed stands for an issuer that puts anything into its tokens.
type claimed struct{ token.Claims }

func (c claimed) Verify(context.Context, string) (token.Claims, error) { return c.Claims, nil }

func TestASiteIsNoCallerWhateverItsAudience(t *testing.T) {
	with := header("Authorization", "Bearer x")
	site := claimed{token.Claims{Subject: "s1", Tenant: "t1", Site: "s1", Roles: []string{"admin"}}}
	s := serve(t, func(o *api.Options, _ *api.Ports) { o.Tokens = site })
	s.do("GET", "/features/t1", nil, with).is(401, "token_invalid")
	person := claimed{token.Claims{Subject: "ann", Tenant: "t1", Roles: []string{"admin"}}}
	s = serve(t, func(o *api.Options, _ *api.Ports) { o.SiteTokens = person })
	s.do("GET", "/sites/work", nil, with).is(401, "token_invalid")
}
