package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/issuer"
)

// saying serves one problem for whatever is asked, and lists for completion.
func saying(t *testing.T, status int, code string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path == "/models" {
			_, _ = w.Write([]byte(`{"items":[{"id":"tumour","latest":3}]}`))
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "https://fabric.invalid/errors#" + code, "title": "no", "status": status, "code": code, "instance": "trace"})
	}))
	t.Cleanup(server.Close)
	return "FABRIC_API_URL=" + server.URL
}

// Whatever commonly goes wrong names the command that comes next, and ends with
// the status that a script can tell it by.
func TestErrorsNameTheNextCommand(t *testing.T) {
	d := newDesk(t)
	by, err := issuer.Open(d.path("issuer"), "https://dev.invalid/fabric")
	require.NoError(t, err)
	token, err := by.Mint("t1", "ann", []string{"auditor"}, time.Hour)
	require.NoError(t, err)
	d = d.with("FABRIC_TOKEN="+token, "FABRIC_API_URL=http://"+nowhereNear)
	for _, test := range []struct {
		name   string
		env    string
		args   string
		status int
		next   []string
	}{
		{"no server", "", "round list", exitUnavailable, []string{"fabric up", "FABRIC_API_URL", "fabric doctor"}},
		{"no such host", "FABRIC_API_URL=http://fabric.invalid:1", "round list", exitUnavailable, []string{"fabric up", "FABRIC_API_URL"}},
		{"no token", saying(t, 401, "token_missing"), "round list", exitUnallowed, []string{"export FABRIC_TOKEN=$(fabric token --tenant t1"}},
		{"an expired token", saying(t, 401, "token_invalid"), "round list", exitUnallowed, []string{"a fresh one: export FABRIC_TOKEN=$(fabric token --tenant t1"}},
		{"a role that the caller has not", saying(t, 403, "role_missing"), "round list", exitUnallowed, []string{"fabric token --tenant t1 --role ROLE"}},
		{"no tenant", saying(t, 400, "tenant_missing"), "round list", exitFailure, []string{"--tenant", "FABRIC_TENANT"}},
		{"a model that there is not", saying(t, 404, "not_found"), "model show lung", exitNotFound, []string{"fabric model list"}},
		{"a model with a slip", saying(t, 404, "not_found"), "model show tumor", exitNotFound, []string{"did you mean tumour", "fabric model list"}},
		{"a stale plan", saying(t, 409, "plan_stale"), "promote tumour --version 1 --apply sha256:0", exitConflict, []string{"plan it again", "without --apply"}},
		{"a server behind the server", saying(t, 503, "unavailable"), "round list", exitUnavailable, []string{"fabric doctor"}},
		{"a key file that is gone", "", "approve a --as bob --key none.key", exitUsage, []string{"fabric keys generate NAME", "COSIGN_PASSWORD"}},
		{"a token's key without a PIN", "", "approve a --as bob --key pkcs11:token=t;object=k?module-path=/none.so", exitUsage, []string{"COSIGN_PKCS11_PIN"}},
		{"no action", "", "approve --as bob --key none.key", exitUsage, []string{"fabric approve ACTION", "fabric approvals lists them"}},
		{"nothing pinned", "", "model verify " + t.TempDir(), exitUsage, []string{"FABRIC_TRUST_KEY"}},
		{"a delegation of nobody's", "", "approvals undelegate sha256:0", exitUsage, []string{"--key KEY --as NAME --to-key FILE", "--reason"}},
		{"an unknown command", "", "rond list", exitUsage, []string{"round", "fabric --help"}},
		{"an unknown subcommand", "", "round begin x", exitUsage, []string{"fabric round --help"}},
		{"an unknown flag", "", "round list --fast", exitUsage, []string{"fabric round list --help"}},
		{"no arguments", "", "model show", exitUsage, []string{"fabric model show --help"}},
		{"no terminal", "", "tour", exitUsage, []string{"fabric tour --yes"}},
		{"a file for a picture that cannot be", saying(t, 404, "not_found"), "plot drift lung -f x.svg", exitNotFound, []string{"fabric model list"}},
	} {
		status, out, log := d.with(test.env).run(strings.Fields(test.args)...)
		require.Equal(t, test.status, status, "%s: %s%s", test.name, out, log)
		for _, next := range test.next {
			require.Contains(t, log, next, test.name)
		}
		require.True(t, strings.HasPrefix(log, "error: "), "%s: %s", test.name, log)
	}
}
