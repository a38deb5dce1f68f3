package web

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api/v1"
)

// noon is when every page of these tests is looked at.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// An api answers with what a test put there, by method and path, and keeps
// what it was asked.
type fakeAPI struct {
	answers map[string]any // a value is answered with 200, a v1.Problem with its status
	asked   []string
	bodies  []string
	tokens  []string
	keys    []string // Idempotency-Key
	mu      sync.Mutex
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	_, _ = body.ReadFrom(r.Body)
	name := r.Method + " " + r.URL.Path
	f.mu.Lock() // a page asks for several things at once
	defer f.mu.Unlock()
	f.asked, f.bodies = append(f.asked, name+query(r.URL)), append(f.bodies, body.String())
	f.tokens, f.keys = append(f.tokens, r.Header.Get("Authorization")), append(f.keys, r.Header.Get("Idempotency-Key"))
	out, ok := f.answers[name+query(r.URL)]
	if !ok {
		out, ok = f.answers[name]
	}
	if !ok {
		out = v1.Problem{Status: http.StatusNotFound, Title: "there is no such thing here", Code: "not-found", Instance: "trace-1"}
	}
	status := http.StatusOK
	if p, is := out.(v1.Problem); is {
		status = p.Status
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out)
}

func query(u *url.URL) string {
	if u.RawQuery == "" {
		return ""
	}
	return "?" + u.RawQuery
}

// ada is the visitor of most tests.
func ada() session {
	return session{Subject: "ada", Tenant: "onc", Roles: []string{"approver"}, Token: "ada's token", Began: noon, Ends: noon.Add(sessionLasts)}
}

// console returns one over an API of answers.
func testConsole(t *testing.T, api http.Handler, change ...func(*Options)) *Console {
	t.Helper()
	o := Options{API: api, URL: "http://127.0.0.1:9000", SessionKey: bytes.Repeat([]byte{7}, 32), Version: "test", Simulation: true, Now: func() time.Time { return noon }}
	for _, do := range change {
		do(&o)
	}
	c, err := New(o)
	require.NoError(t, err)
	return c
}

// ask sends a request of a signed-in visitor (or of nobody, for a session
// without a token) and returns the answer.
func ask(t *testing.T, c *Console, who session, method, path string, form url.Values) *httptest.ResponseRecorder {
	t.Helper()
	return send(t, c, request(t, c, who, method, path, form))
}

func request(t *testing.T, c *Console, who session, method, path string, form url.Values) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, c.opts.URL+path, strings.NewReader(form.Encode()))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if who.Token != "" {
		signed := httptest.NewRecorder()
		require.NoError(t, c.keep(signed, r, sessionCookie, who, who.Ends))
		for _, k := range signed.Result().Cookies() {
			r.AddCookie(k)
		}
	}
	return r
}

func send(t *testing.T, c *Console, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w
}

// golden compares a page with testdata/golden/<name>.html. After a change that
// is meant, write them anew and read the difference:
//
//	FABRIC_GOLDEN=write go test ./web
func golden(t *testing.T, name string, w *httptest.ResponseRecorder) {
	t.Helper()
	page := regexp.MustCompile(`\?v=[0-9a-f]{12}`).ReplaceAllString(w.Body.String(), "?v=DIGEST")
	page = regexp.MustCompile(`(name="key" value=")[A-Z2-7]{26}`).ReplaceAllString(page, "${1}KEY")
	file := filepath.Join("testdata", "golden", name+".html")
	if os.Getenv("FABRIC_GOLDEN") == "write" {
		require.NoError(t, os.WriteFile(file, []byte(page), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), page)
	sound(t, w)
}

// sound holds for every page: the policy, one heading, a language, a way past
// the menu, no script or style of its own, a label at each field.
func sound(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	page := w.Body.String()
	require.Equal(t, policy, w.Header().Get("Content-Security-Policy"))
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.Contains(t, page, `<html lang="en">`)
	require.Equal(t, 1, strings.Count(page, "<h1"), "one heading of the first level")
	require.Contains(t, page, `class="skip"`)
	require.NotRegexp(t, `(?i)<[^>]+\s(on[a-z]+|style)=`, page, "no script or style within the page")
	require.NotRegexp(t, `(?i)<script(?:\s[^>]*)?>[^<]`, page)
	require.NotRegexp(t, `(?i)<style`, page)
	require.NotContains(t, page, "ZgotmplZ", "a template put text where it could not be made safe")
	require.NotContains(t, page, "<no value>")
	for _, cell := range regexp.MustCompile(`<(?:table|td)\b[^>]*>`).FindAllString(page, -1) {
		require.Regexp(t, `class="cards"|data-label="[^"]+"`, cell, "at 360 px a row is a card, and its cells have names")
	}
	ids := regexp.MustCompile(`\sid="([^"]+)"`).FindAllStringSubmatch(page, -1)
	seen := map[string]bool{}
	for _, id := range ids {
		require.False(t, seen[id[1]], "id %q occurs twice", id[1])
		seen[id[1]] = true
	}
	for _, f := range regexp.MustCompile(`<(?:input|select|textarea)\b[^>]*>`).FindAllString(page, -1) {
		if strings.Contains(f, `type="hidden"`) || strings.Contains(f, "aria-label") {
			continue
		}
		id := regexp.MustCompile(`\sid="([^"]+)"`).FindStringSubmatch(f)
		require.NotNil(t, id, "no label can point at %s", f)
		require.Contains(t, page, `for="`+id[1]+`"`, "no label points at %s", f)
	}
}

func TestAssetsAreTheReleasedFiles(t *testing.T) {
	sums, err := os.Open("assets/SHA256SUMS")
	require.NoError(t, err)
	defer sums.Close()
	var pinned []string
	for lines := bufio.NewScanner(sums); lines.Scan(); {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		require.True(t, ok)
		content, err := os.ReadFile(filepath.Join("assets", name))
		require.NoError(t, err)
		got := sha256.Sum256(content)
		require.Equal(t, sum, hex.EncodeToString(got[:]), name)
		pinned = append(pinned, name)
	}
	own := []string{"SHA256SUMS", "prove.js", "console.css", "console.js", "icon.svg", "vote.js"}
	entries, err := os.ReadDir("assets")
	require.NoError(t, err)
	for _, e := range entries {
		require.True(t, slices.Contains(pinned, e.Name()) || slices.Contains(own, e.Name()), "%s is neither pinned nor ours", e.Name())
	}
}

func TestEveryPageNeedsASession(t *testing.T) {
	api := &fakeAPI{}
	c := testConsole(t, api)
	for _, r := range c.routes() {
		if r.open {
			continue
		}
		method, path, _ := strings.Cut(r.pattern, " ")
		path = "/console" + regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(strings.ReplaceAll(path, "{$}", ""), "x")
		for name, who := range map[string]session{"nobody": {}, "an expired session": {Token: "old", Ends: noon.Add(-time.Second)}} {
			w := ask(t, c, who, method, path, nil)
			if method == http.MethodGet {
				require.Equal(t, http.StatusSeeOther, w.Code, "%s %s", name, r.pattern)
				require.True(t, strings.HasPrefix(w.Header().Get("Location"), "/console/signin"), r.pattern)
				continue
			}
			require.Equal(t, http.StatusUnauthorized, w.Code, "%s %s", name, r.pattern)
			require.Contains(t, w.Body.String(), "Nothing was changed")
		}
	}
	require.Empty(t, api.asked, "the API was asked for somebody who is not signed in")
}

func TestAForgedFormIsRefused(t *testing.T) {
	api := &fakeAPI{}
	c := testConsole(t, api)
	for _, r := range c.routes() {
		method, path, _ := strings.Cut(r.pattern, " ")
		if method != http.MethodPost {
			continue
		}
		for header, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.invalid"} {
			req := request(t, c, ada(), method, "/console"+strings.NewReplacer("{", "", "}", "").Replace(path), url.Values{})
			req.Header.Del("Sec-Fetch-Site")
			req.Header.Set(header, value)
			require.Equal(t, http.StatusForbidden, send(t, c, req).Code, "%s with %s", r.pattern, header)
		}
	}
	require.Empty(t, api.asked)
}

func TestWhatIsAskedIsAskedWithTheVisitorsToken(t *testing.T) {
	api := &fakeAPI{answers: map[string]any{"GET /approvals": v1.BallotPage{}}}
	c := testConsole(t, api)
	require.Equal(t, http.StatusOK, ask(t, c, ada(), "GET", Path, nil).Code)
	require.NotEmpty(t, api.tokens)
	for _, token := range api.tokens {
		require.Equal(t, "Bearer ada's token", token)
	}
}

func TestWhatTheAPISaysNoToIsAPage(t *testing.T) {
	for _, status := range []int{400, 403, 404, 409, 422, 429, 500, 503} {
		api := &fakeAPI{answers: map[string]any{"GET /approvals": v1.Problem{Status: status, Title: "no", Detail: "<script>alert(1)</script>", Code: "x", Instance: "trace-9"}}}
		w := ask(t, testConsole(t, api), ada(), "GET", Path, nil)
		require.Equal(t, status, w.Code)
		require.Contains(t, w.Body.String(), "trace-9")
		require.Contains(t, w.Body.String(), "&lt;script&gt;")
		sound(t, w)
	}
	api := &fakeAPI{answers: map[string]any{"GET /approvals": v1.Problem{Status: 401, Title: "no", Code: "token-invalid"}}}
	w := ask(t, testConsole(t, api), ada(), "GET", Path+"?cursor=a", nil)
	require.Equal(t, http.StatusSeeOther, w.Code, "a token that the API refuses ends the session")
	require.Equal(t, "/console/signin?to=%2Fconsole%2F%3Fcursor%3Da", w.Header().Get("Location"))
	require.Negative(t, w.Result().Cookies()[0].MaxAge)
}

func TestTheWayBackLeadsNowhereElse(t *testing.T) {
	for to, want := range map[string]string{
		"/console/runs?x=1": "/console/runs?x=1", "": Path, "https://evil.invalid/console/": Path, "//evil.invalid/console/": Path,
		"/console/../approvals": Path, "/console/..%2f..": Path, "\\\\evil": Path, "/console/\r\nX: y": Path, "javascript:alert(1)": Path, "/console/auth/start": Path, "/approvals": Path,
	} {
		require.Equal(t, want, ownPage(to), to)
	}
}

func TestSessionsAreSealed(t *testing.T) {
	c := testConsole(t, &fakeAPI{})
	long := ada()
	long.Token = strings.Repeat("x", 7000) // over several cookies
	for _, who := range []session{ada(), long} {
		r := request(t, c, who, "GET", Path, nil)
		got, ok := c.session(r)
		require.True(t, ok)
		require.Equal(t, who, got)
		for _, k := range r.Cookies() {
			require.NotContains(t, k.Value, "token")
			require.LessOrEqual(t, len(k.Value), 4000)
		}
		other := testConsole(t, &fakeAPI{}, func(o *Options) { o.SessionKey = bytes.Repeat([]byte{8}, 32) })
		_, ok = other.session(r)
		require.False(t, ok, "another deployment's session")
	}
	// A value that was sealed for one use is none of another.
	text, err := c.seal.seal(attemptCookie, ada())
	require.NoError(t, err)
	var s session
	require.ErrorIs(t, c.seal.open(sessionCookie, text, &s), errSealed)

	for scheme, secure := range map[string]bool{"http": false, "https": true} {
		c := testConsole(t, &fakeAPI{}, func(o *Options) { o.URL = scheme + "://fabric.example" })
		w := httptest.NewRecorder()
		require.NoError(t, c.keep(w, httptest.NewRequest("GET", Path, nil), sessionCookie, ada(), noon.Add(time.Hour)))
		k := w.Result().Cookies()[0]
		require.True(t, k.HttpOnly)
		require.Equal(t, http.SameSiteLaxMode, k.SameSite)
		require.Equal(t, secure, k.Secure)
		require.Equal(t, secure, strings.HasPrefix(k.Name, "__Host-"))
		require.Equal(t, 3600, k.MaxAge)
	}
}

func TestAnswersOfTheAPIAreReadAsTheyAreWritten(t *testing.T) {
	many := bytes.Repeat([]byte("0123456789"), 1<<16)
	handlers := map[string]http.HandlerFunc{
		"writes":   func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s from %s", r.URL.Path, r.RemoteAddr) },
		"nothing":  func(http.ResponseWriter, *http.Request) {},
		"panics":   func(http.ResponseWriter, *http.Request) { panic("x") },
		"is large": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(many) },
	}
	for name, h := range handlers {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "http://console.invalid/models", nil)
		resp, err := here{h, "192.0.2.1:5"}.RoundTrip(r)
		require.NoError(t, err, name)
		var body bytes.Buffer
		_, err = body.ReadFrom(resp.Body)
		require.Equal(t, name == "panics", err != nil, name)
		require.NoError(t, resp.Body.Close())
		switch name {
		case "writes":
			require.Equal(t, "/models from 192.0.2.1:5", body.String())
		case "is large":
			require.Equal(t, len(many), body.Len())
		}
	}
	// Who stops reading stops the handler.
	ended := make(chan error, 1)
	resp, err := here{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		<-r.Context().Done()
		_, err := w.Write(many)
		ended <- err
	}), ""}.RoundTrip(httptest.NewRequestWithContext(t.Context(), "GET", "http://console.invalid/", nil))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Error(t, <-ended)
}
