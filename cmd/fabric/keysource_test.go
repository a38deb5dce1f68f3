package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/cosign"
)

// Exactly one place of keys is named, and what is wrong with it is said
// without what opens it.
func TestWhereTheSigningKeyIs(t *testing.T) {
	d := council(t)
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // as Vault answers
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"errors":[]}`))
	}))
	defer away.Close()
	sealed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer sealed.Close()
	const uri = "pkcs11:token=t;object=o?module-path=/nowhere/module.so"
	tests := []struct {
		name   string
		env    []string
		status int
		says   string
	}{
		{"no source", nil, exitUsage, "COSIGN_KEY_PATH"},
		{"a file and transit", []string{"COSIGN_KEY_PATH=" + d.path("fabric.key"), "VAULT_ADDR=http://127.0.0.1:1"}, exitUsage, errTwoKeys.Error()},
		{"a file and a token", []string{"COSIGN_KEY_PATH=" + d.path("fabric.key"), "FABRIC_PKCS11_URI=" + uri}, exitUsage, errTwoKeys.Error()},
		{"transit under both its names", []string{"VAULT_ADDR=http://127.0.0.1:1", "BAO_ADDR=http://127.0.0.1:1"}, exitUsage, "VAULT_ADDR and BAO_ADDR"},
		{"a file that is not there", []string{"COSIGN_KEY_PATH=" + d.path("none.key")}, exitUsage, "COSIGN_KEY_PATH"},
		{"a file under another password", []string{"COSIGN_KEY_PATH=" + d.path("fabric.key"), "COSIGN_PASSWORD=battery"}, exitUsage, "wrong password"},
		{"transit without a token", []string{"VAULT_ADDR=http://127.0.0.1:1"}, exitUsage, "no token"},
		{"OpenBao with Vault's token", []string{"BAO_ADDR=http://127.0.0.1:1", "VAULT_TOKEN=hvs.hush"}, exitUsage, "BAO_ADDR: transit: options: no token"},
		{"transit at no address", []string{"VAULT_ADDR=nowhere", "VAULT_TOKEN=hvs.hush"}, exitUsage, "not http(s)"},
		{"transit that refuses", []string{"VAULT_ADDR=" + sealed.URL, "VAULT_TOKEN=hvs.hush"}, exitUnavailable, "VAULT_ADDR"},
		{"transit without that key", []string{"VAULT_ADDR=" + away.URL, "VAULT_TOKEN=hvs.hush"}, exitUsage, "no such key"},
		{"a URI that is none", []string{"FABRIC_PKCS11_URI=token"}, exitUsage, "FABRIC_PKCS11_URI"},
		{"a token without a PIN", []string{"FABRIC_PKCS11_URI=" + uri}, exitUsage, "PIN"},
		{"a token whose module is not there", []string{"FABRIC_PKCS11_URI=" + uri, "COSIGN_PKCS11_PIN=hvs.hush"}, exitUsage, "PKCS#11"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &app{environ: d.without("COSIGN_KEY_PATH").with(tt.env...).env}
			c, err := a.config()
			require.NoError(t, err)
			key, err := a.keySource(t.Context(), c)
			require.Error(t, err)
			require.Nil(t, key)
			require.Equal(t, tt.status, status(err), "%v", err)
			require.Contains(t, err.Error(), tt.says)
			require.False(t, strings.Contains(err.Error(), "hvs.hush") || strings.Contains(err.Error(), password), "%v", err)
		})
	}
	t.Run("and one file is the key", func(t *testing.T) {
		a := &app{environ: d.env}
		c, err := a.config()
		require.NoError(t, err)
		key, err := a.keySource(t.Context(), c)
		require.NoError(t, err)
		require.Equal(t, d.keyID(d.path("fabric.pub")), string(artifact.KeyID(key.Public())))
	})
}

// A process whose signatures would be refused everywhere else does not start.
func TestASignerThatThePolicyDoesNotAllow(t *testing.T) {
	d := inForce(t)
	judged := func(d *desk) error {
		a := &app{streams: streams{Err: new(strings.Builder)}, environ: d.env}
		c, err := a.config()
		require.NoError(t, err)
		key, err := cosign.LoadPrivateKey(c.CosignKeyPath, []byte(password))
		require.NoError(t, err)
		signer, err := cosign.NewSigner(key)
		require.NoError(t, err)
		_, err = a.signerTrust(t.Context(), c, signer)
		return err
	}
	require.NoError(t, judged(d))
	other := judged(d.without("COSIGN_KEY_PATH").with("COSIGN_KEY_PATH=" + d.path("stranger.key")))
	require.ErrorIs(t, other, trust.ErrNotAllowed)
	require.Equal(t, exitUsage, status(other))
	d.ok("keys", "revoke", d.path("fabric.pub"), d.root("ann", "bob"), "--reason", "stolen")
	revoked := judged(d)
	require.ErrorIs(t, revoked, trust.ErrRevoked)
	require.Equal(t, exitUsage, status(revoked))
	require.NoError(t, judged(d.without("FABRIC_TRUST_POLICY")), "without a policy the own key is pinned")
}
