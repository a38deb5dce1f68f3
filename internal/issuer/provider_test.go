package issuer_test

import (
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/issuer"
	"github.com/atom-fabric/fabric/internal/oidc"
)

// provider serves one, with the client that signs people in there.
func provider(t *testing.T, now func() time.Time) (*issuer.Issuer, *httptest.Server, *oidc.Provider) {
	t.Helper()
	own, err := issuer.Open(t.TempDir(), name)
	require.NoError(t, err)
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p, err := own.NewProvider(server.URL, "fabric-console", server.URL+"/back", "/style.css", now)
	require.NoError(t, err)
	mux.Handle(issuer.ProviderPath, p)
	client, err := oidc.New(oidc.Options{Issuer: p.Issuer(), ClientID: "fabric-console", Redirect: server.URL + "/back", Simulated: true})
	require.NoError(t, err)
	return own, server, client
}

// choose fills in the provider's page and returns where it sends the browser.
func choose(t *testing.T, server *httptest.Server, address string, change func(url.Values)) (*http.Response, *url.URL) {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	form := u.Query()
	form.Set("subject", "ada")
	form.Set("tenant", "onc")
	form["role"] = []string{"approver", "admin"}
	if change != nil {
		change(form)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+issuer.ProviderPath+"authorize", strings.NewReader(form.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	to, err := resp.Location()
	if err != nil {
		return resp, nil
	}
	return resp, to
}

const verifier = "a verifier of forty-three characters or more.."

func TestSigningInGivesATokenOfThisIssuer(t *testing.T) {
	own, server, client := provider(t, time.Now)
	require.True(t, client.Simulated())
	address, err := client.Begin(t.Context(), "state-1", "nonce-1", verifier)
	require.NoError(t, err)
	resp, err := http.Get(address)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, resp.Body.Close())
	require.Contains(t, resp.Header.Get("Content-Security-Policy"), "default-src 'none'")

	_, to := choose(t, server, address, nil)
	require.Equal(t, "/back", to.Path)
	require.Equal(t, "state-1", to.Query().Get("state"))
	raw, err := client.Finish(t.Context(), to.Query().Get("code"), "nonce-1", verifier)
	require.NoError(t, err)
	claims, err := own.Verifier("fabric", time.Now).Verify(t.Context(), raw)
	require.NoError(t, err)
	require.Equal(t, "ada", claims.Subject)
	require.Equal(t, "onc", claims.Tenant)
	require.Equal(t, []string{"approver", "admin"}, claims.Roles)
	require.NotEmpty(t, claims.ID, "it can be revoked")

	_, err = client.Finish(t.Context(), to.Query().Get("code"), "nonce-1", verifier)
	require.ErrorIs(t, err, oidc.ErrRefused, "a code is good once")
}

func TestACodeIsOfOneSignIn(t *testing.T) {
	tests := []struct {
		name            string
		nonce, verifier string
		want            error
	}{
		{"with another verifier", "nonce-1", "another verifier of forty-three characters..", oidc.ErrRefused},
		{"with another nonce", "nonce-2", verifier, oidc.ErrToken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, server, client := provider(t, time.Now)
			address, err := client.Begin(t.Context(), "state-1", "nonce-1", verifier)
			require.NoError(t, err)
			_, to := choose(t, server, address, nil)
			_, err = client.Finish(t.Context(), to.Query().Get("code"), tt.nonce, tt.verifier)
			require.ErrorIs(t, err, tt.want)
			require.NotContains(t, err.Error(), to.Query().Get("code"))
		})
	}
	now := time.Now()
	_, server, client := provider(t, func() time.Time { return now })
	address, err := client.Begin(t.Context(), "state-1", "nonce-1", verifier)
	require.NoError(t, err)
	_, to := choose(t, server, address, nil)
	now = now.Add(2 * time.Minute)
	_, err = client.Finish(t.Context(), to.Query().Get("code"), "nonce-1", verifier)
	require.ErrorIs(t, err, oidc.ErrRefused, "too late")
}

func TestTheProviderSendsBrowsersNowhereElse(t *testing.T) {
	_, server, client := provider(t, time.Now)
	address, err := client.Begin(t.Context(), "state-1", "nonce-1", verifier)
	require.NoError(t, err)
	tests := []struct {
		name   string
		change func(url.Values)
		status int
	}{
		{"another address", func(q url.Values) { q.Set("redirect_uri", "https://evil.invalid/back") }, 400},
		{"another client", func(q url.Values) { q.Set("client_id", "other") }, 400},
		{"no challenge", func(q url.Values) { q.Del("code_challenge") }, 400},
		{"a plain challenge", func(q url.Values) { q.Set("code_challenge_method", "plain") }, 400},
		{"no state", func(q url.Values) { q.Del("state") }, 400},
		{"no name", func(q url.Values) { q.Set("subject", " ") }, 422},
		{"a tenant that is none", func(q url.Values) { q.Set("tenant", "A B") }, 422},
		{"no role", func(q url.Values) { q.Del("role") }, 422},
		{"a role that is none", func(q url.Values) { q.Set("role", "root") }, 422},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp, to := choose(t, server, address, tt.change)
			require.Nil(t, to)
			require.Equal(t, tt.status, resp.StatusCode)
		})
	}
}

func TestTheDevelopmentProviderIsForThisMachine(t *testing.T) {
	own, err := issuer.Open(t.TempDir(), name)
	require.NoError(t, err)
	for _, base := range []string{"http://0.0.0.0:9000", "http://fabric.example:9000", "http://10.0.0.1:9000"} {
		_, err := own.NewProvider(base, "c", base, "", time.Now)
		require.ErrorIs(t, err, issuer.ErrReach, base)
	}
	p, err := own.NewProvider("http://127.0.0.1:9000", "c", "http://127.0.0.1:9000/back", "", time.Now)
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodGet, "http://rebound.example:9000"+issuer.ProviderPath+".well-known/openid-configuration", nil)
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	require.Equal(t, http.StatusForbidden, w.Code, "a name that somebody's DNS points here")
}

func TestASecretIsMadeOnceAndKept(t *testing.T) {
	path := t.TempDir() + "/console/session.key"
	one, err := issuer.Secret(path)
	require.NoError(t, err)
	require.Len(t, one, 32)
	two, err := issuer.Secret(path)
	require.NoError(t, err)
	require.Equal(t, one, two)
}
