package web

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api/v1"
)

// A fakeProvider signs in whoever brings the code "good".
type fakeProvider struct {
	nonce, verifier string
	down            error
}

func (f *fakeProvider) Simulated() bool { return true }

func (f *fakeProvider) Begin(_ context.Context, state, nonce, verifier string) (string, error) {
	f.nonce, f.verifier = nonce, verifier
	return "https://idp.example/authorize?state=" + url.QueryEscape(state), f.down
}

func (f *fakeProvider) Finish(_ context.Context, code, nonce, verifier string) (string, error) {
	if code != "good" || nonce != f.nonce || verifier != f.verifier {
		return "", errors.New("refused")
	}
	return "ada's token", f.down
}

// begin starts a sign-in and returns its state and the browser's cookies.
func begin(t *testing.T, c *Console, to string) (string, []*http.Cookie) {
	t.Helper()
	w := send(t, c, request(t, c, session{}, "GET", "/console/auth/start?to="+url.QueryEscape(to), nil))
	require.Equal(t, http.StatusSeeOther, w.Code)
	u, err := w.Result().Location()
	require.NoError(t, err)
	require.Equal(t, "idp.example", u.Host)
	return u.Query().Get("state"), w.Result().Cookies()
}

func back(t *testing.T, c *Console, query string, cookies []*http.Cookie) *httptest.ResponseRecorder {
	t.Helper()
	r := request(t, c, session{}, "GET", Callback+"?"+query, nil)
	for _, k := range cookies {
		r.AddCookie(k)
	}
	return send(t, c, r)
}

func signingIn(t *testing.T, api *fakeAPI, p *fakeProvider) *Console {
	t.Helper()
	return testConsole(t, api, func(o *Options) { o.SignIn = p })
}

func TestSigningInLeadsBackToThePage(t *testing.T) {
	api := decisions(t, ballot(t))
	c := signingIn(t, api, &fakeProvider{})
	state, cookies := begin(t, c, "/console/requests/promote-1")
	w := back(t, c, "code=good&state="+state, cookies)
	require.Equal(t, http.StatusSeeOther, w.Code, w.Body.String())
	require.Equal(t, "/console/requests/promote-1", w.Header().Get("Location"))
	r := request(t, c, session{}, "GET", Path, nil)
	for _, k := range w.Result().Cookies() {
		if k.MaxAge >= 0 {
			r.AddCookie(k)
		}
	}
	who, ok := c.session(r)
	require.True(t, ok)
	require.Equal(t, "ada", who.Subject)
	require.Equal(t, noon.Add(time.Hour), who.Ends, "no longer than the token")
	require.Equal(t, http.StatusOK, send(t, c, r).Code)
}

func TestASignInThatWasNotBegunHereIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		query  func(state string) string
		keep   bool // the cookie
		status int
	}{
		{"no cookie", func(s string) string { return "code=good&state=" + s }, false, 400},
		{"another state", func(string) string { return "code=good&state=x" }, true, 400},
		{"no state", func(string) string { return "code=good" }, true, 400},
		{"the provider refused", func(s string) string { return "error=access_denied%3Cscript%3E&state=" + s }, true, 403},
		{"a bad code", func(s string) string { return "code=bad&state=" + s }, true, 502},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			api := decisions(t, ballot(t))
			c := signingIn(t, api, &fakeProvider{})
			state, cookies := begin(t, c, Path)
			if !tt.keep {
				cookies = nil
			}
			w := back(t, c, tt.query(state), cookies)
			require.Equal(t, tt.status, w.Code)
			for _, k := range w.Result().Cookies() {
				require.NotEqual(t, sessionCookie, k.Name)
			}
			require.NotContains(t, w.Body.String(), "<script>")
			require.Empty(t, api.asked)
			sound(t, w)
		})
	}
}

func TestATokenThatTheAPIRefusesIsNoSession(t *testing.T) {
	api := decisions(t, ballot(t))
	api.answers["GET /whoami"] = v1.Problem{Status: 401, Title: "no", Detail: "the token is of another issuer", Code: "token_invalid"}
	c := signingIn(t, api, &fakeProvider{})
	state, cookies := begin(t, c, Path)
	w := back(t, c, "code=good&state="+state, cookies)
	require.Equal(t, http.StatusForbidden, w.Code)
	require.Contains(t, w.Body.String(), "the token is of another issuer")
}

func TestAnAttemptEnds(t *testing.T) {
	now := noon
	c := testConsole(t, decisions(t, ballot(t)), func(o *Options) { o.SignIn = &fakeProvider{}; o.Now = func() time.Time { return now } })
	state, cookies := begin(t, c, Path)
	now = now.Add(attemptLasts)
	require.Equal(t, http.StatusBadRequest, back(t, c, "code=good&state="+state, cookies).Code)
}

func TestSignInPages(t *testing.T) {
	api := decisions(t, ballot(t))
	w := send(t, testConsole(t, api), request(t, testConsole(t, api), session{}, "GET", "/console/signin", nil))
	require.Contains(t, w.Body.String(), "No identity provider is configured")
	sound(t, w)
	c := signingIn(t, api, &fakeProvider{})
	w = ask(t, c, session{}, "GET", "/console/signin?to=https://evil.invalid/", nil)
	golden(t, "signin", w)
	require.NotContains(t, w.Body.String(), "evil")
	require.Contains(t, w.Body.String(), "SIMULATED")

	w = ask(t, c, ada(), "POST", "/console/signout", nil)
	require.Equal(t, "/console/signin?done=signed-out", w.Header().Get("Location"))
	require.Equal(t, sessionCookie, w.Result().Cookies()[0].Name)
	require.Negative(t, w.Result().Cookies()[0].MaxAge)

	away := signingIn(t, api, &fakeProvider{down: errors.New("away")})
	w = ask(t, away, session{}, "GET", "/console/auth/start", nil)
	require.Equal(t, http.StatusBadGateway, w.Code)
	require.NotContains(t, w.Body.String(), "away")

	// Another name of this machine: the provider would come back to ours.
	r := request(t, c, session{}, "GET", "/console/auth/start", nil)
	r.Host = "localhost:9000"
	require.True(t, strings.HasPrefix(send(t, c, r).Header().Get("Location"), c.opts.URL+"/console/auth/start"))
}
