package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/token"
)

const (
	issuer   = "https://dev.invalid/fabric"
	audience = "fabric"
)

var b64 = base64.RawURLEncoding

// forge signs with the standard library only, so that nothing under test makes
// what it is tested with.
func forge(t *testing.T, key crypto.Signer, header, payload string) string {
	t.Helper()
	text := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload))
	sum := sha256.Sum256([]byte(text))
	var signature []byte
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, k, sum[:])
		require.NoError(t, err)
		signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case *rsa.PrivateKey:
		var err error
		signature, err = rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:])
		require.NoError(t, err)
	}
	return text + "." + b64.EncodeToString(signature)
}

func TestVerifyAcceptsOneFormOnly(t *testing.T) {
	ours, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	now := time.Unix(1_800_000_000, 0)
	keys := token.StaticKeys{"k1": &ours.PublicKey, "r1": &big.PublicKey, "s1": &small.PublicKey}

	const es = `{"alg":"ES256","kid":"k1","typ":"at+jwt"}`
	claims := map[string]string{
		"iss": `"` + issuer + `"`, "aud": `"fabric"`, "sub": `"ann"`, "tenant": `"t1"`, "roles": `["operator"]`,
		"iat": "1799999990", "exp": "1800000600",
	}
	// with returns the good payload with one claim replaced, or left out for "".
	with := func(claim, value string) string {
		changed := maps.Clone(claims)
		if changed[claim] = value; value == "" {
			delete(changed, claim)
		}
		var parts []string
		for name, text := range changed {
			parts = append(parts, fmt.Sprintf("%q:%s", name, text))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	good := with("iss", claims["iss"])
	signed := forge(t, ours, es, good)
	parts := strings.Split(signed, ".")
	spki, err := x509.MarshalPKIXPublicKey(&big.PublicKey)
	require.NoError(t, err)
	hs := b64.EncodeToString([]byte(`{"alg":"HS256","kid":"r1","typ":"at+jwt"}`)) + "." + parts[1]
	mac := hmac.New(sha256.New, spki)
	mac.Write([]byte(hs))

	tests := []struct {
		name  string
		token string
		want  error
	}{
		{"a good token", signed, nil},
		{"RS256", forge(t, big, `{"alg":"RS256","kid":"r1","typ":"application/at+jwt"}`, good), nil},
		{"a list of audiences", forge(t, ours, es, with("aud", `["x","fabric"]`)), nil},
		{"an unknown claim", forge(t, ours, es, with("scope", `{"a":1}`)), nil},
		{"an end before its start", forge(t, ours, es, with("exp", "1799999975")), token.ErrClaims},
		{"nothing", "", token.ErrMalformed},
		{"two parts", parts[0] + "." + parts[1], token.ErrMalformed},
		{"an empty signature", parts[0] + "." + parts[1] + ".", token.ErrMalformed},
		{"JSON serialization", `{"payload":"` + parts[1] + `"}`, token.ErrMalformed},
		{"a space before", " " + signed, token.ErrMalformed},
		{"a newline after", signed + "\n", token.ErrMalformed},
		{"padding", signed + "==", token.ErrMalformed},
		{"longer than 8 KiB", forge(t, ours, es, with("x", `"`+strings.Repeat("a", 9000)+`"`)), token.ErrMalformed},
		{"alg none", b64.EncodeToString([]byte(`{"alg":"none","kid":"k1","typ":"at+jwt"}`)) + "." + parts[1] + "." + parts[2], token.ErrMalformed},
		{"alg nOnE", b64.EncodeToString([]byte(`{"alg":"nOnE","kid":"k1","typ":"at+jwt"}`)) + "." + parts[1] + "." + parts[2], token.ErrMalformed},
		{"HS256 with the public key", hs + "." + b64.EncodeToString(mac.Sum(nil)), token.ErrMalformed},
		{"RS256 under an EC key's id", forge(t, big, `{"alg":"RS256","kid":"k1","typ":"at+jwt"}`, good), token.ErrSignature},
		{"PS256", forge(t, big, `{"alg":"PS256","kid":"r1","typ":"at+jwt"}`, good), token.ErrMalformed},
		{"an RSA key of 1024 bits", forge(t, small, `{"alg":"RS256","kid":"s1","typ":"at+jwt"}`, good), token.ErrSignature},
		{"another key", forge(t, other, es, good), token.ErrSignature},
		{"r = s = 0", parts[0] + "." + parts[1] + "." + b64.EncodeToString(make([]byte, 64)), token.ErrSignature},
		{"a changed payload", parts[0] + "." + b64.EncodeToString([]byte(with("tenant", `"t2"`))) + "." + parts[2], token.ErrSignature},
		{"an unknown kid", forge(t, ours, `{"alg":"ES256","kid":"k2","typ":"at+jwt"}`, good), token.ErrKey},
		{"a kid that is a path", forge(t, ours, `{"alg":"ES256","kid":"../../k1","typ":"at+jwt"}`, good), token.ErrKey},
		{"no kid", forge(t, ours, `{"alg":"ES256","typ":"at+jwt"}`, good), token.ErrMalformed},
		{"typ JWT", forge(t, ours, `{"alg":"ES256","kid":"k1","typ":"JWT"}`, good), token.ErrMalformed},
		{"no typ", forge(t, ours, `{"alg":"ES256","kid":"k1"}`, good), token.ErrMalformed},
		{"crit", forge(t, ours, `{"alg":"ES256","kid":"k1","typ":"at+jwt","crit":["exp"]}`, good), token.ErrMalformed},
		{"b64", forge(t, ours, `{"alg":"ES256","kid":"k1","typ":"at+jwt","b64":false}`, good), token.ErrMalformed},
		{"jku", forge(t, ours, `{"alg":"ES256","kid":"k1","typ":"at+jwt","jku":"https://evil.example"}`, good), token.ErrMalformed},
		{"jwk", forge(t, ours, `{"alg":"ES256","kid":"k1","typ":"at+jwt","jwk":{}}`, good), token.ErrMalformed},
		{"a header twice", forge(t, ours, `{"alg":"ES256","kid":"k1","kid":"k1","typ":"at+jwt"}`, good), token.ErrMalformed},
		{"another issuer", forge(t, ours, es, with("iss", `"https://evil.example"`)), token.ErrIssuer},
		{"no issuer", forge(t, ours, es, with("iss", "")), token.ErrClaims},
		{"a site's audience", forge(t, ours, es, with("aud", `"fabric-site"`)), token.ErrAudience},
		{"no audience", forge(t, ours, es, with("aud", "")), token.ErrClaims},
		{"expired", forge(t, ours, es, strings.Replace(with("iat", "1799999000"), "1800000600", "1799999969", 1)), token.ErrExpired},
		{"no exp", forge(t, ours, es, with("exp", "")), token.ErrClaims},
		{"exp as a text", forge(t, ours, es, with("exp", `"1800000600"`)), token.ErrClaims},
		{"exp with a fraction", forge(t, ours, es, with("exp", `1800000600.5`)), token.ErrClaims},
		{"exp with an exponent", forge(t, ours, es, with("exp", `1.8000006e9`)), token.ErrClaims},
		{"exp after the year 9999", forge(t, ours, es, with("exp", `253402300800`)), token.ErrClaims},
		{"a life of ten years", forge(t, ours, es, with("exp", "2115000000")), token.ErrClaims},
		{"no iat", forge(t, ours, es, with("iat", "")), token.ErrClaims},
		{"issued in the future", forge(t, ours, es, with("iat", "1800000100")), token.ErrEarly},
		{"not valid before later", forge(t, ours, es, with("nbf", "1800000100")), token.ErrEarly},
		{"nbf as a text", forge(t, ours, es, with("nbf", `"1"`)), token.ErrClaims},
		{"no sub", forge(t, ours, es, with("sub", "")), token.ErrClaims},
		{"no tenant", forge(t, ours, es, with("tenant", "")), token.ErrClaims},
		{"an empty tenant", forge(t, ours, es, with("tenant", `""`)), token.ErrClaims},
		{"a list as the tenant", forge(t, ours, es, with("tenant", `["t1"]`)), token.ErrClaims},
		{"a tenant that is a path", forge(t, ours, es, with("tenant", `"../t1"`)), token.ErrClaims},
		{"a claim twice", forge(t, ours, es, strings.Replace(good, "{", `{"tenant":"t2",`, 1)), token.ErrClaims},
		{"a claim in two cases", forge(t, ours, es, strings.Replace(good, "{", `{"Tenant":"t2",`, 1)), token.ErrClaims},
		{"a claim in another case only", forge(t, ours, es, strings.Replace(good, `"tenant"`, `"Tenant"`, 1)), token.ErrClaims},
		{"roles as a text", forge(t, ours, es, with("roles", `"admin"`)), token.ErrClaims},
		{"null among the roles", forge(t, ours, es, with("roles", `[null]`)), token.ErrClaims},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := token.NewVerifier(keys, issuer, audience, func() time.Time { return now })
			claims, err := v.Verify(t.Context(), tt.token)
			if tt.want != nil {
				require.ErrorIs(t, err, tt.want)
				require.Zero(t, claims)
				require.NotContains(t, err.Error(), "evil")
				return
			}
			require.NoError(t, err)
			require.Equal(t, token.Claims{Subject: "ann", Tenant: "t1", Roles: []string{"operator"},
				IssuedAt: time.Unix(1799999990, 0), Expires: time.Unix(1800000600, 0)}, claims)
		})
	}
}

func TestARememberedTokenExpiresAndItsKeyIsAskedAgain(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	dev, err := token.NewDevIssuer(key, issuer)
	require.NoError(t, err)
	text, err := dev.KeySet()
	require.NoError(t, err)
	keys, err := token.ParseKeySet(text)
	require.NoError(t, err)

	now := time.Unix(1_800_000_000, 0)
	short, err := dev.Issue(audience, token.Claims{Subject: "ann", Tenant: "t1"}.Lifetime(now, time.Minute))
	require.NoError(t, err)
	long, err := dev.Issue(audience, token.Claims{Subject: "berlin", Tenant: "t1", Site: "berlin", Region: "eu"}.Lifetime(now, time.Hour))
	require.NoError(t, err)
	v := token.NewVerifier(keys, issuer, audience, func() time.Time { return now })
	_, err = v.Verify(t.Context(), short)
	require.NoError(t, err)
	claims, err := v.Verify(t.Context(), long)
	require.NoError(t, err)
	require.Equal(t, "berlin", claims.Site)
	require.Equal(t, "eu", claims.Region)

	clear(keys) // the issuer withdraws its key
	now = now.Add(2 * time.Minute)
	_, err = v.Verify(t.Context(), short)
	require.ErrorIs(t, err, token.ErrExpired)
	_, err = v.Verify(t.Context(), long)
	require.NoError(t, err, "within five minutes the memory answers")
	now = now.Add(4 * time.Minute)
	_, err = v.Verify(t.Context(), long)
	require.ErrorIs(t, err, token.ErrKey)

	_, err = dev.Issue(audience, token.Claims{Subject: "x", Tenant: "t1"}.Lifetime(now, 48*time.Hour))
	require.ErrorIs(t, err, token.ErrClaims)
}

func TestKeyFile(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	dev, err := token.NewDevIssuer(key, issuer)
	require.NoError(t, err)
	set, err := dev.KeySet()
	require.NoError(t, err)
	var id string
	parsed, err := token.ParseKeySet(set)
	require.NoError(t, err)
	for id = range parsed {
	}
	now := time.Unix(1_800_000_000, 0)
	clock := func() time.Time { return now }

	t.Run("appears later, at a path", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "jwks.json")
		file, err := token.NewKeyFile(path, "", http.DefaultClient, clock)
		require.NoError(t, err)
		_, err = file.Key(t.Context(), id)
		require.ErrorIs(t, err, token.ErrKey)
		require.NoError(t, os.WriteFile(path, set, 0o600))
		now = now.Add(6 * time.Second)
		got, err := file.Key(t.Context(), id)
		require.NoError(t, err)
		require.True(t, key.PublicKey.Equal(got))
	})
	t.Run("outlives its issuer and a restart", func(t *testing.T) {
		var asked atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			_, _ = w.Write(set)
		}))
		backup := filepath.Join(t.TempDir(), "jwks.json")
		file, err := token.NewKeyFile(server.URL, backup, server.Client(), clock)
		require.NoError(t, err)
		for range 3 {
			_, err = file.Key(t.Context(), id)
			require.NoError(t, err)
			_, err = file.Key(t.Context(), "invented")
			require.ErrorIs(t, err, token.ErrKey)
		}
		require.EqualValues(t, 1, asked.Load(), "invented ids must not reach the issuer each time")
		server.Close()
		now = now.Add(time.Hour)
		_, err = file.Key(t.Context(), id)
		require.NoError(t, err)
		again, err := token.NewKeyFile(server.URL, backup, server.Client(), clock)
		require.NoError(t, err)
		_, err = again.Key(t.Context(), id)
		require.NoError(t, err)
	})
	t.Run("refuses", func(t *testing.T) {
		for _, from := range []string{"http://issuer.example/jwks.json", "ftp://127.0.0.1/x", "https://u:p@issuer.example/"} {
			_, err := token.NewKeyFile(from, "", http.DefaultClient, clock)
			require.Error(t, err, from)
		}
		weak, err := rsa.GenerateKey(rand.Reader, 1024)
		require.NoError(t, err)
		text, err := json.Marshal(map[string]any{"keys": []any{map[string]string{"kty": "RSA", "kid": "w", "n": b64.EncodeToString(weak.N.Bytes()), "e": "AQAB"}}})
		require.NoError(t, err)
		_, err = token.ParseKeySet(text)
		require.ErrorIs(t, err, token.ErrKeySet)
		scalar, err := key.Bytes()
		require.NoError(t, err)
		private := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"p","x":%q,"y":%q,"d":%q}]}`,
			b64.EncodeToString(key.X.FillBytes(make([]byte, 32))), b64.EncodeToString(key.Y.FillBytes(make([]byte, 32))), b64.EncodeToString(scalar))
		for _, text := range []string{``, `{}`, `{"keys":[]}`, `[]`, private, `{"keys":[{"kty":"oct","kid":"s","k":"AAAA"}]}`} {
			_, err := token.ParseKeySet([]byte(text))
			require.ErrorIs(t, err, token.ErrKeySet, text)
		}
	})
}

func TestBearer(t *testing.T) {
	raw, err := token.Bearer("bearer abc.def.ghi")
	require.NoError(t, err)
	require.Equal(t, "abc.def.ghi", raw)
	for _, header := range []string{"", "Bearer", "Bearer ", "Basic abc", "Bearer a b", "Bearer a, Bearer b", "Bearer  a"} {
		_, err := token.Bearer(header)
		require.ErrorIs(t, err, token.ErrMalformed, "%q", header)
	}
}
