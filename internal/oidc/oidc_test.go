package oidc_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/oidc"
)

// A judge is a provider that answers whatever a test wants it to.
type judge struct {
	t      *testing.T
	key    *ecdsa.PrivateKey
	url    string
	issuer string         // what discovery says; "" for its own address
	claims map[string]any // of the ID token, over the right ones
	answer map[string]any // of the token endpoint, over the right one
	status int
	asked  url.Values
	signer *ecdsa.PrivateKey
}

func serve(t *testing.T) (*judge, *oidc.Provider) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	j := &judge{t: t, key: key, signer: key, status: 200}
	server := httptest.NewServer(j)
	t.Cleanup(server.Close)
	j.url = server.URL
	p, err := oidc.New(oidc.Options{Issuer: server.URL, ClientID: "console", Secret: "s3cret", Redirect: "https://fabric.example/back", Scopes: []string{"profile"}, Audience: "fabric"})
	require.NoError(t, err)
	return j, p
}

func (j *judge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	issuer := j.issuer
	if issuer == "" {
		issuer = j.url
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": issuer, "authorization_endpoint": j.url + "/auth", "token_endpoint": j.url + "/token", "jwks_uri": j.url + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"}})
	case "/keys":
		key, err := jwk.Import(&j.key.PublicKey)
		require.NoError(j.t, err)
		require.NoError(j.t, key.Set("kid", "k"))
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{key}})
	case "/token":
		_ = r.ParseForm()
		j.asked = r.PostForm
		claims := map[string]any{"iss": j.url, "aud": "console", "sub": "ada", "nonce": "n", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
		for name, value := range j.claims {
			claims[name] = value
		}
		text, err := json.Marshal(claims)
		require.NoError(j.t, err)
		head := jws.NewHeaders()
		require.NoError(j.t, head.Set("kid", "k"))
		id, err := jws.Sign(text, jws.WithKey(jwa.ES256(), j.signer, jws.WithProtectedHeaders(head)))
		require.NoError(j.t, err)
		answer := map[string]any{"access_token": "access-secret", "token_type": "Bearer", "id_token": string(id)}
		for name, value := range j.answer {
			answer[name] = value
		}
		w.WriteHeader(j.status)
		_ = json.NewEncoder(w).Encode(answer)
	}
}

func TestWhatIsAskedOfTheProvider(t *testing.T) {
	j, p := serve(t)
	address, err := p.Begin(t.Context(), "s", "n", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") // RFC 7636, appendix B
	require.NoError(t, err)
	u, err := url.Parse(address)
	require.NoError(t, err)
	q := u.Query()
	require.Equal(t, "S256", q.Get("code_challenge_method"))
	require.Equal(t, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", q.Get("code_challenge"))
	for name, want := range map[string]string{"state": "s", "nonce": "n", "client_id": "console", "response_type": "code", "redirect_uri": "https://fabric.example/back", "scope": "openid profile", "audience": "fabric"} {
		require.Equal(t, want, q.Get(name), name)
	}
	got, err := p.Finish(t.Context(), "c", "n", "the verifier")
	require.NoError(t, err)
	require.Equal(t, "access-secret", got)
	require.Equal(t, "the verifier", j.asked.Get("code_verifier"))
}

func TestAnswersThatDoNotVerifyAreRefused(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tests := []struct {
		name   string
		change func(j *judge)
		want   error
	}{
		{"another issuer in discovery", func(j *judge) { j.issuer = "https://evil.invalid" }, oidc.ErrProvider},
		{"another issuer", func(j *judge) { j.claims = map[string]any{"iss": "https://evil.invalid"} }, oidc.ErrToken},
		{"another audience", func(j *judge) { j.claims = map[string]any{"aud": "other"} }, oidc.ErrToken},
		{"another nonce", func(j *judge) { j.claims = map[string]any{"nonce": "m"} }, oidc.ErrToken},
		{"expired", func(j *judge) { j.claims = map[string]any{"exp": time.Now().Add(-time.Hour).Unix()} }, oidc.ErrToken},
		{"another key", func(j *judge) { j.signer = other }, oidc.ErrToken},
		{"another access token", func(j *judge) { j.claims = map[string]any{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"} }, oidc.ErrToken},
		{"no ID token", func(j *judge) { j.answer = map[string]any{"id_token": nil} }, oidc.ErrToken},
		{"a refusal", func(j *judge) { j.status, j.answer = 400, map[string]any{"error": "invalid_grant"} }, oidc.ErrRefused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j, p := serve(t)
			tt.change(j)
			_, err := p.Finish(t.Context(), "the code", "n", "the verifier")
			require.ErrorIs(t, err, tt.want)
			require.NotContains(t, err.Error(), "the code")
			require.NotContains(t, err.Error(), "access-secret")
		})
	}
}

func TestAProviderIsReachedSafely(t *testing.T) {
	for _, issuer := range []string{"", "http://idp.example", "ftp://idp.example", "idp.example"} {
		_, err := oidc.New(oidc.Options{Issuer: issuer})
		require.ErrorIs(t, err, oidc.ErrSettings, issuer)
	}
	p, err := oidc.New(oidc.Options{Issuer: "http://127.0.0.1:1"})
	require.NoError(t, err, "it may be away when we start")
	_, err = p.Begin(t.Context(), "s", "n", "v")
	require.ErrorIs(t, err, oidc.ErrProvider)
}
