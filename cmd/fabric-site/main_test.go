package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/examples/tumour"
)

// The generator of P-256, which is the public key of the private key 1.
const publicKey = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
`

func TestVersion(t *testing.T) {
	var out, log bytes.Buffer
	require.Equal(t, exitOK, run(t.Context(), []string{"version"}, nil, &out, &log))
	require.Equal(t, version+" ("+commit+")\n", out.String())
}

func TestBadCommandLinesAndSettings(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "token")
	require.NoError(t, os.WriteFile(secret, []byte("hush-hush"), 0o600))
	fine := []string{"FABRIC_TENANT=t", "FABRIC_SITE=s", "FABRIC_REGION=eu", "FABRIC_SITE_DATA=x.csv",
		"FABRIC_STATE_DIR=" + dir, "FEDERATION_TOKEN=hush-hush"}
	tests := []struct {
		name string
		args []string
		env  []string
		says string
	}{
		{"an unknown command", []string{"fly"}, nil, "fly"},
		{"an unknown flag", []string{"run", "--fast"}, fine, "--fast"},
		{"no tenant", []string{"run"}, fine[1:], "tenant"},
		{"no token", []string{"run"}, fine[:5], "federation token"},
		{"a token twice", []string{"run"}, append(fine, "FEDERATION_TOKEN_FILE="+secret), "FEDERATION_TOKEN_FILE"},
		{"a trust key that is none", []string{"run"}, append(fine, "FABRIC_TRUST_KEY="+secret), "FABRIC_TRUST_KEY"},
		{"a trust key that is not there", []string{"run"}, append(fine, "FABRIC_TRUST_KEY="+secret+"x"), "FABRIC_TRUST_KEY"},
		{"plain http in production", []string{"run"}, append(fine, "FABRIC_ENV=prod"), "https"},
		{"a URL that is none", []string{"run"}, append(fine, "FABRIC_API_URL=host:9000"), "URL"},
		{"a log level that is none", []string{"run"}, append(fine, "FABRIC_LOG_LEVEL=loud"), "FABRIC_LOG_LEVEL"},
		{"an impossible epsilon", []string{"run", "--max-epsilon", "NaN"}, fine, "epsilon"},
		{"an unknown trainer", []string{"run", "--allow-trainer", "forest"}, fine, "trainer"},
		{"peers that are not there", []string{"run", "--peers", secret + "x"}, fine, "--peers"},
		{"peers that are none", []string{"run", "--peers", secret}, fine, "--peers"},
		{"no peers at all", []string{"run", "--peers", os.DevNull}, fine, "--peers"},
		{"a floor of zero", []string{"run", "--min-rows", "0"}, fine, "fewest rows"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, log bytes.Buffer
			require.Equal(t, exitUsage, run(t.Context(), tt.args, tt.env, &out, &log), log.String())
			require.Contains(t, log.String(), tt.says)
			require.NotContains(t, log.String(), "hush-hush")
		})
	}
}

// A whole process's life: enrols with the first of two tokens from a file,
// polls, logs JSON without a secret, and ends cleanly when told to stop.
func TestRunEnrolsPollsAndStops(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var polled atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/sites/enrol":
			if r.Header.Get("Authorization") != "Bearer new-secret" {
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = w.Write([]byte(`{"status":401,"code":"federation_token_invalid","title":"Unauthorized","type":"about:blank","instance":"0"}`))
				return
			}
			answer := map[string]any{"token": "session-secret", "trusted_keys": []string{publicKey},
				"renew_after": time.Now().Add(time.Hour), "expires_at": time.Now().Add(2 * time.Hour)}
			_ = json.NewEncoder(w).Encode(answer)
		case "/sites/work":
			polled.Store(true)
			stop()
			_, _ = w.Write([]byte(`{"items":[]}`))
		}
	}))
	defer server.Close()
	dir := t.TempDir()
	data := filepath.Join(dir, "rows.csv")
	require.NoError(t, os.WriteFile(data, tumour.Split()[4].CSV(), 0o600))
	token := filepath.Join(dir, "token")
	require.NoError(t, os.WriteFile(token, []byte("new-secret,old-secret\n"), 0o600))
	environ := []string{"FABRIC_TENANT=hosp-coral", "FABRIC_SITE=coral", "FABRIC_REGION=apac", "FABRIC_SITE_DATA=" + data,
		"FABRIC_STATE_DIR=" + filepath.Join(dir, "state"), "FEDERATION_TOKEN_FILE=" + token, "FABRIC_API_URL=" + server.URL + "/"}
	var out, log bytes.Buffer
	require.Equal(t, exitOK, run(ctx, []string{"run"}, environ, &out, &log), log.String())
	require.True(t, polled.Load())
	require.Empty(t, out.String())
	require.NotContains(t, log.String(), "secret")
	for line := range strings.Lines(log.String()) {
		var record map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &record), line)
	}
	require.Contains(t, log.String(), `"enrolled"`)
	require.Contains(t, log.String(), `"stopped"`)

	require.NoError(t, os.WriteFile(token, []byte("old-secret"), 0o600))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "state")))
	require.Equal(t, exitRefused, run(t.Context(), []string{"run"}, environ, &out, &log), log.String())
}

// The agent must not carry the control plane's world. What is linked is read
// from the test binary itself, so that a cached result cannot hide a change.
func TestNothingOfTheControlPlaneIsLinked(t *testing.T) {
	info, ok := debug.ReadBuildInfo()
	require.True(t, ok)
	require.NotEmpty(t, info.Deps)
	for _, module := range info.Deps {
		for _, banned := range []string{"go.temporal.io/", "github.com/jackc/pgx", "github.com/gin-gonic/", "github.com/sigstore/"} {
			require.NotContains(t, module.Path, banned)
		}
	}
}
