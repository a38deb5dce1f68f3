package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/doctor"
	"github.com/atom-fabric/fabric/internal/issuer"
	"github.com/atom-fabric/fabric/internal/logkey"
	"github.com/atom-fabric/fabric/internal/pgserver/pgtest"
	"github.com/atom-fabric/fabric/internal/postgres"
)

// examined asks for one check and returns what it found.
func (d *desk) examined(check string) (doctor.Finding, int) {
	d.t.Helper()
	status, out, log := d.run("doctor", "--only", check, "--patience", "30s", "-o", "json")
	var found diagnosis
	require.NoError(d.t, json.Unmarshal([]byte(out), &found), "%s", log)
	require.Len(d.t, found.Findings, 1)
	return found.Findings[0], status
}

// nowhereNear is an address where nobody listens.
const nowhereNear = "127.0.0.1:1"

func TestTheDoctorFindsWhatIsBroken(t *testing.T) {
	d := newDesk(t)
	dsn, empty := pgtest.New(t, postgres.Migrate), pgtest.New(t, func(context.Context, string) error { return nil })
	answering := func(status int, body string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	by, err := issuer.Open(d.path("issuer"), "https://dev.invalid/fabric")
	require.NoError(t, err)
	token := func(ttl time.Duration) string {
		text, err := by.Mint("t1", "ann", []string{"operator"}, ttl)
		require.NoError(t, err)
		return "FABRIC_TOKEN=" + text
	}
	require.NoError(t, cosign.GenerateKeyPair(d.dir, "good", []byte(password)))
	require.NoError(t, os.WriteFile(d.path("exposed.key"), []byte(d.read("good.key")), 0o644))
	require.NoError(t, os.Chmod(d.path("exposed.key"), 0o644))
	d.write("lonely.key", d.read("good.key"))
	_, err = logkey.Generate(d.path("log.key"), "fabric.example/log")
	require.NoError(t, err)
	_, err = logkey.Generate(d.path("other.key"), "fabric.example/other")
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	_, taken, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	jwks := by.KeySetPath()
	pass, ill := answering(200, `{"checks":{"postgres":{"status":"pass"}}}`), answering(503, `{"checks":{"postgres":{"status":"fail","output":"away"}}}`)

	for _, test := range []struct {
		name  string
		check string
		env   []string
		want  doctor.Status
		says  string
		fix   string
	}{
		{"settings", "settings", []string{"VAULT_ADDR=http://v"}, doctor.Fail, "no token", "VAULT_TOKEN_FILE"},
		{"a deployment that must not start", "precheck", []string{"FABRIC_ENV=prod", "SIMULATION_MODE="}, doctor.Fail, "must not start", "fabric precheck"},
		{"simulation", "precheck", nil, doctor.OK, "simulation", ""},
		{"programs that were not built", "programs", nil, doctor.Fail, "not beside this program", "make build"},
		{"a state directory that cannot be", "state", []string{"FABRIC_STATE_DIR=/proc/1/x"}, doctor.Fail, "cannot be made", "FABRIC_STATE_DIR"},
		{"an exposed secret", "secrets", []string{"COSIGN_KEY_PATH=" + d.path("exposed.key")}, doctor.Fail, "others may read", "chmod 600"},
		{"a port that is taken", "ports", []string{"FABRIC_PORT_BASE=" + taken, "FABRIC_API_URL=http://" + nowhereNear}, doctor.Fail, taken + " (gateway)", "--port-base"},

		{"no database", "postgres", []string{"POSTGRES_DSN=postgres://u:hvs.hush@" + nowhereNear + "/x"}, doctor.Fail, "nobody listens there", "psql"},
		{"no DSN", "postgres", []string{"POSTGRES_DSN=hvs.hush host="}, doctor.Fail, "cannot be parsed", "psql"},
		{"no migrations", "migrations", []string{"POSTGRES_DSN=" + empty}, doctor.Fail, "is at 0 of", "fabric migrate"},
		{"a database", "postgres", []string{"POSTGRES_DSN=" + dsn}, doctor.OK, "answers", ""},
		{"its migrations", "migrations", []string{"POSTGRES_DSN=" + dsn}, doctor.OK, "the newest", ""},
		{"its clock", "clock", []string{"POSTGRES_DSN=" + dsn}, doctor.OK, "PostgreSQL", ""},
		{"a replica that is none", "replicas", []string{"POSTGRES_DSN=" + dsn, "POSTGRES_REPLICA_DSNS=" + dsn}, doctor.Fail, "no replica", "POSTGRES_REPLICA_DSNS"},
		{"a replica that is away", "replicas", []string{"POSTGRES_DSN=" + dsn, "POSTGRES_REPLICA_DSNS=postgres://u:hvs.hush@" + nowhereNear + "/x"}, doctor.Fail, "nobody listens there", "POSTGRES_REPLICA_DSNS"},
		{"a log that nobody signed", "audit", []string{"POSTGRES_DSN=" + dsn}, doctor.Warn, "nobody has signed", "audit-checkpoint.md"},

		{"no Temporal", "temporal", []string{"TEMPORAL_ADDRESS=" + nowhereNear}, doctor.Fail, "nobody listens there", "TEMPORAL_ADDRESS"},
		{"no queues", "queues", []string{"TEMPORAL_ADDRESS=" + nowhereNear}, doctor.Fail, "nobody listens there", "temporal first"},
		{"no registry", "registry", []string{"GLOBAL_REGISTRY_URL=http://" + nowhereNear}, doctor.Fail, "nobody listens there", "GLOBAL_REGISTRY_URL"},
		{"a registry that is none", "registry", []string{"GLOBAL_REGISTRY_URL=" + answering(404, "")}, doctor.Fail, "404", "GLOBAL_REGISTRY_URL"},
		{"no store", "store", []string{"GLOBAL_S3_ENDPOINT=http://" + nowhereNear + "/bucket", "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=hvs.hush"}, doctor.Fail, "nobody listens there", "AWS_ACCESS_KEY_ID"},
		{"a store that is no folder", "store", []string{"MODEL_STORE_URL=file://" + d.path("good.key")}, doctor.Fail, "no folder", "MODEL_STORE_URL"},
		{"no rules", "rules", []string{"RULES_ENGINE_URL=http://" + nowhereNear}, doctor.Fail, "", "RULES_ENGINE_URL"},
		{"no Prometheus", "prometheus", []string{"PROM_URL=http://" + nowhereNear}, doctor.Fail, "nobody listens there", "PROM_URL"},
		{"a Prometheus that is none", "prometheus", []string{"PROM_URL=" + answering(404, "")}, doctor.Fail, "404", "PROM_URL"},
		{"a Prometheus", "prometheus", []string{"PROM_URL=" + answering(200, "{}")}, doctor.OK, "answers", ""},
		{"no key set", "issuer", []string{"FABRIC_JWKS=" + d.path("none.json"), "FABRIC_ISSUER=i"}, doctor.Fail, "no keys can be had", "FABRIC_JWKS"},
		{"a key set that is none", "issuer", []string{"FABRIC_JWKS=" + answering(200, "<html>"), "FABRIC_ISSUER=i"}, doctor.Fail, "no keys can be had", "FABRIC_JWKS"},
		{"a key set", "issuer", []string{"FABRIC_JWKS=" + jwks, "FABRIC_ISSUER=i"}, doctor.OK, "can be had", ""},
		{"a provider that is none", "issuer", []string{"FABRIC_OIDC_ISSUER=" + pass, "FABRIC_JWKS=" + jwks, "FABRIC_ISSUER=i"}, doctor.Fail, "not as this issuer", "FABRIC_OIDC_ISSUER"},
		{"a token that is none", "token", []string{"FABRIC_TOKEN=hvs.hush"}, doctor.Fail, "no token of a tenant", "fabric token"},
		{"a token that is over soon", "token", []string{token(2 * time.Minute)}, doctor.Warn, "expires in", "fabric token"},
		{"a token", "token", []string{token(time.Hour)}, doctor.OK, "acts for t1", ""},

		{"two keys", "key", []string{"COSIGN_KEY_PATH=" + d.path("good.key"), "FABRIC_PKCS11_URI=pkcs11:x"}, doctor.Fail, "not several", "unset all but one"},
		{"no key file", "key", []string{"COSIGN_KEY_PATH=" + d.path("none.key")}, doctor.Fail, "no such file", "fabric keys generate"},
		{"an exposed key", "key", []string{"COSIGN_KEY_PATH=" + d.path("exposed.key")}, doctor.Fail, "mode 0644", "chmod 600"},
		{"another password", "key", []string{"COSIGN_KEY_PATH=" + d.path("good.key"), "COSIGN_PASSWORD=hvs.hush"}, doctor.Fail, "password", "COSIGN_PASSWORD_FILE"},
		{"a key without its public half", "key", []string{"COSIGN_KEY_PATH=" + d.path("lonely.key")}, doctor.Fail, "lonely.pub", "cosign public-key"},
		{"a key", "key", []string{"COSIGN_KEY_PATH=" + d.path("good.key")}, doctor.OK, "opens and signs", ""},
		{"no log key", "logkey", []string{"FABRIC_LOG_KEY_PATH=" + d.path("none.key")}, doctor.Fail, "no such file", "fabric audit keygen"},
		{"another log's key", "logkey", []string{"FABRIC_LOG_KEY_PATH=" + d.path("log.key"), "FABRIC_LOG_VERIFIER=" + d.path("other.pub")}, doctor.Fail, "pins fabric.example/other", "log.pub"},
		{"a log key", "logkey", []string{"FABRIC_LOG_KEY_PATH=" + d.path("log.key")}, doctor.OK, "fabric.example/log", ""},
		{"a policy without its pin", "trust", []string{"FABRIC_TRUST_POLICY=" + d.path("p")}, doctor.Fail, "needs FABRIC_TRUST_ROOT", "FABRIC_TRUST_ROOT"},
		{"a trust key that is gone", "trust", []string{"FABRIC_TRUST_KEY=" + d.path("none.pub")}, doctor.Fail, "no such file", "FABRIC_TRUST_POLICY"},
		{"a pinned key", "trust", []string{"FABRIC_TRUST_KEY=" + d.path("good.pub")}, doctor.Warn, "for ever", "fabric keys policy init"},

		{"no gateway", "gateway", []string{"FABRIC_API_URL=http://" + nowhereNear}, doctor.Fail, "nobody listens there", "FABRIC_API_URL"},
		{"a gateway that is none", "gateway", []string{"FABRIC_API_URL=" + answering(200, "<html>")}, doctor.Fail, "not as a fabric does", "FABRIC_API_URL"},
		{"a gateway that is ill", "gateway", []string{"FABRIC_API_URL=" + ill}, doctor.Fail, "postgres fail: away", "mend what it names"},
		{"a gateway", "gateway", []string{"FABRIC_API_URL=" + pass}, doctor.OK, "is well", ""},
		{"no router", "router", []string{"FABRIC_ROUTER_URL=http://" + nowhereNear}, doctor.Fail, "nobody listens there", "fabric-router serve"},
		{"a router", "router", []string{"FABRIC_ROUTER_URL=" + pass}, doctor.OK, "is well", ""},
	} {
		found, status := d.with(test.env...).examined(test.check)
		require.Equal(t, test.want, found.Status, "%s: %s", test.name, found.Detail)
		require.Equal(t, map[bool]int{true: exitChecks, false: exitOK}[test.want == doctor.Fail], status, test.name)
		require.Contains(t, found.Detail, test.says, test.name)
		require.Contains(t, found.Fix, test.fix, test.name)
		require.Equal(t, test.want == doctor.Fail || test.want == doctor.Warn, found.Fix != "", "%s: %q", test.name, found.Fix)
	}
}

// The head of a log that runs is held against the key that is pinned.
func TestTheDoctorHoldsTheLogAgainstItsKey(t *testing.T) {
	d, _ := running(t)
	found, _ := d.examined("audit")
	require.Equal(t, doctor.OK, found.Status, found.Detail)
	require.Contains(t, found.Detail, "the head of 5 leaves is signed")
	_, err := logkey.Generate(d.path("other.key"), "fabric.example/log")
	require.NoError(t, err)
	found, status := d.without("FABRIC_LOG_VERIFIER").with("FABRIC_LOG_VERIFIER=" + d.path("other.pub")).examined("audit")
	require.Equal(t, doctor.Fail, found.Status, found.Detail)
	require.Equal(t, exitChecks, status)
	require.Contains(t, found.Fix, "docs/operations/audit-log.md")
	found, _ = d.without("FABRIC_LOG_VERIFIER").examined("audit")
	require.Equal(t, doctor.Warn, found.Status, found.Detail)
	found, _ = d.with("FABRIC_LOG_VERIFIER=" + d.path("none.pub")).examined("audit")
	require.Equal(t, doctor.Fail, found.Status, found.Detail)
}

// A policy that has expired, will soon, or does not let the key sign.
func TestTheDoctorReadsTheTrustPolicy(t *testing.T) {
	d := council(t)
	policy := func(name string, valid time.Duration) *desk {
		d := d.with("FABRIC_TRUST_POLICY=" + d.path(name))
		out := d.ok(d.found(d.root("ann", "bob"), "--valid", valid.String())...)
		_, pin, ok := strings.Cut(out, "FABRIC_TRUST_ROOT=")
		require.True(t, ok, out)
		return d.with("FABRIC_TRUST_ROOT=" + strings.TrimSpace(pin))
	}
	year := policy("year.jsonl", 365*24*time.Hour)
	found, _ := year.examined("trust")
	require.Equal(t, doctor.OK, found.Status, found.Detail)
	found, _ = year.with("COSIGN_KEY_PATH=" + d.path("stranger.key")).examined("trust")
	require.Equal(t, doctor.Fail, found.Status, found.Detail)
	require.Contains(t, found.Fix, "fabric keys list")
	found, _ = policy("week.jsonl", 7*24*time.Hour).examined("trust")
	require.Equal(t, doctor.Warn, found.Status, found.Detail)
	require.Contains(t, found.Fix, "fabric keys rotate")
	over := policy("over.jsonl", time.Second)
	time.Sleep(1100 * time.Millisecond)
	found, _ = over.examined("trust")
	require.Equal(t, doctor.Fail, found.Status, found.Detail)
	require.Contains(t, found.Detail, "expired on")
	found, _ = year.with("FABRIC_TRUST_ROOT=sha256:" + strings.Repeat("0", 64)).examined("trust")
	require.Equal(t, doctor.Fail, found.Status, found.Detail)
}

func TestHowTheDoctorIsCalled(t *testing.T) {
	d := newDesk(t)
	d.fails(exitUsage, "there is no such check", "doctor", "--only", "hart")
	out := d.ok("doctor", "--only", "settings,disk")
	require.Contains(t, out, "settings  ok")
	status, out, log := d.with("VAULT_ADDR=http://v").run("doctor", "--only", "settings")
	require.Equal(t, exitChecks, status)
	require.Contains(t, out, "mend: set VAULT_TOKEN_FILE")
	require.Contains(t, log, "fabric doctor --only settings")
}
