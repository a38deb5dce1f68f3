package issuer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/issuer"
	"github.com/atom-fabric/fabric/internal/token"
)

const name = "https://dev.invalid/fabric"

func TestTheKeyIsMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "issuer")
	var wg sync.WaitGroup
	issuers := make([]*issuer.Issuer, 8)
	for i := range issuers { // at the same moment
		wg.Go(func() {
			var err error
			issuers[i], err = issuer.Open(dir, name)
			require.NoError(t, err)
		})
	}
	wg.Wait()
	for _, one := range issuers {
		raw, err := one.Mint("t1", "ann", []string{"admin"}, time.Hour)
		require.NoError(t, err)
		claims, err := issuers[0].Verifier("fabric", time.Now).Verify(t.Context(), raw)
		require.NoError(t, err)
		require.Equal(t, "ann", claims.Subject)
		require.Equal(t, []string{"admin"}, claims.Roles)
	}
	info, err := os.Stat(filepath.Join(dir, "issuer.key"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2) // the key and the key set; no half a file
}

func TestAKeyThatOthersMayReadIsRefused(t *testing.T) {
	dir := t.TempDir()
	_, err := issuer.Open(dir, name)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(filepath.Join(dir, "issuer.key"), 0o640))
	_, err = issuer.Open(dir, name)
	require.ErrorIs(t, err, issuer.ErrMode)
}

func TestAFileThatIsNoKeyIsRefusedAndNotReplaced(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(p384)
	require.NoError(t, err)
	for what, text := range map[string][]byte{
		"nothing":       nil,
		"text":          []byte("hunter2"),
		"a block":       pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("hunter2")}),
		"another curve": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	} {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "issuer.key")
			require.NoError(t, os.WriteFile(path, text, 0o600))
			_, err := issuer.Open(filepath.Dir(path), name)
			require.ErrorIs(t, err, issuer.ErrKey)
			require.NotContains(t, err.Error(), "hunter2")
			kept, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(text), string(kept))
		})
	}
}

func TestWhatIsNotMinted(t *testing.T) {
	i, err := issuer.Open(t.TempDir(), name)
	require.NoError(t, err)
	tests := []struct {
		name    string
		tenant  string
		subject string
		role    string
		ttl     time.Duration
		want    error
	}{
		{"an unknown role", "t1", "ann", "emperor", time.Hour, issuer.ErrRole},
		{"a tenant that is a path", "../t1", "ann", "admin", time.Hour, issuer.ErrName},
		{"nobody", "t1", "", "admin", time.Hour, issuer.ErrName},
		{"for two days", "t1", "ann", "admin", 48 * time.Hour, token.ErrClaims},
		{"for no time", "t1", "ann", "admin", 0, token.ErrClaims},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := i.Mint(tt.tenant, tt.subject, []string{tt.role}, tt.ttl)
			require.ErrorIs(t, err, tt.want)
		})
	}
}

func TestASiteIsNotACaller(t *testing.T) {
	i, err := issuer.Open(t.TempDir(), name)
	require.NoError(t, err)
	raw, expires, err := i.MintSite("h1", "s1", "eu", time.Hour)
	require.NoError(t, err)
	claims, err := i.Verifier("fabric-site", time.Now).Verify(t.Context(), raw)
	require.NoError(t, err)
	require.Equal(t, "h1", claims.Tenant)
	require.Equal(t, "s1", claims.Site)
	require.Equal(t, "eu", claims.Region)
	require.True(t, expires.Equal(claims.Expires))
	_, err = i.Verifier("fabric", time.Now).Verify(t.Context(), raw)
	require.ErrorIs(t, err, token.ErrAudience)
}

func TestOthersVerifyWithTheKeySet(t *testing.T) {
	i, err := issuer.Open(t.TempDir(), name)
	require.NoError(t, err)
	w := httptest.NewRecorder()
	i.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
	file, err := os.ReadFile(i.KeySetPath())
	require.NoError(t, err)
	require.Equal(t, string(file), w.Body.String())
	require.NotContains(t, w.Body.String(), `"d"`) // the private half
	keys, err := token.ParseKeySet(file)
	require.NoError(t, err)
	raw, err := i.Mint("t1", "ann", []string{"auditor"}, time.Hour)
	require.NoError(t, err)
	_, err = token.NewVerifier(keys, name, "fabric", time.Now).Verify(t.Context(), raw)
	require.NoError(t, err)
}
