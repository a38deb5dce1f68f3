package report_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/precheck"
	"github.com/atom-fabric/fabric/internal/report"
)

var update = flag.Bool("update", false, "write testdata/golden anew")

// canaries are secrets in every place that a fact has room for.
var canaries = []string{
	"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl", // JWT
	"hunter2-of-the-database",                              // password in a DSN
	"MHcCAQEEIJ4canarykeycanarykeycanarykey",               // inside PEM
	"canary-opaque-federation-token",                       // known by its name in a command
	"canary-known-only-by-value",                           // known by value
	"canary-field-value",                                   // known by the field's name
	"ann.example@clinic.example",                           // personal
}

func facts() report.Facts {
	pem := "-----BEGIN EC PRIVATE KEY-----\n" + canaries[2] + "\n-----END EC PRIVATE KEY-----"
	f := report.Facts{
		Commit: "0123456789ab", Version: "9.0.0-phaseI.1", At: time.Date(2026, 11, 23, 10, 0, 0, 0, time.FixedZone("CET", 3600)),
		Precheck: precheck.Report{
			Decision: precheck.Simulation, Why: []string{"no registry or no database was given: the embedded ones serve"}, Signing: "BLOCKED",
			Environment: "dev", Deployment: artifact.DigestOf([]byte("deployment")),
			Variables: []precheck.Variable{{Name: "GLOBAL_REGISTRY_URL", State: "MISSING", Critical: true}, {Name: "PROM_URL", State: "SET"}},
		},
		Tests: []report.TestRun{
			{Package: "github.com/atom-fabric/fabric/workflows", Passed: 9, Failed: 1, Excerpts: []string{"--- FAIL: TestRound\n    dial postgres://fabric:" + canaries[1] + "@db/fabric\n"}},
			{Package: "github.com/atom-fabric/fabric/api", Passed: 40, Skipped: 2, Excerpts: []string{"ok  \tgithub.com/atom-fabric/fabric/api\t1.2s"}},
			{Package: "github.com/atom-fabric/fabric/domain/catalog", Passed: 12, Excerpts: []string{"ok  \tgithub.com/atom-fabric/fabric/domain/catalog\t0.1s"}},
		},
		Calls: []report.Call{
			{"I.1.1", "Register a feature", "curl -H 'Authorization: Bearer " + canaries[0] + "' -X POST :9001/features/register", 201, `{"feature_id":"f1","tenant":"t1","api_key":"` + canaries[5] + `","n":12345678901234567890}`},
			{"I.1.2", "Start a round", "FEDERATION_TOKEN=" + canaries[3] + " FEDERATION_TOKEN_FILE=/run/secrets/f fabric-site run", 202, `{"id":"run-1","owner":"` + canaries[6] + `"}`},
			{"I.1.3", "Upload | a package", "fabric model upload", 201, pem + "\n```\nnot the end"},
			{"I.1.4", "Ask", "curl :9004/invoke", 200, `{"output":[0.1],"note":"` + canaries[4] + `"}`},
			{"I.1.5", "Health", "curl :9005/health", 0, ""},
			{"I.1.6", "Metrics", "curl :9006/metrics", 200, "# HELP go_goroutines\n" + strings.Repeat("go_goroutines 7\n", 100)},
		},
		AuditHashes: []string{string(artifact.DigestOf([]byte("root")))},
		NextSteps:   []string{"give a signing key"},
		Secrets:     []config.Secret{config.Secret(canaries[4]), ""},
	}
	for _, id := range []string{"P1", "P2", "P3", "P4", "P5", "P6", "P7"} {
		f.Policies = append(f.Policies, report.Policy{ID: id, Verdict: report.Pass, Why: "tests of " + id + " passed"})
	}
	f.Policies[1] = report.Policy{ID: "P2", Verdict: report.Blocked, Why: "a generated development key signs"}
	return f
}

func TestReportsAreAsKept(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, facts().Write(dir))
	if *update {
		require.NoError(t, facts().Write("testdata/golden"))
	}
	written, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, entry := range written {
		names = append(names, entry.Name())
		got, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		require.NoError(t, err)
		want, err := os.ReadFile(filepath.Join("testdata/golden", entry.Name()))
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), "%s; go test ./internal/report -update writes them anew", entry.Name())
	}
	require.Equal(t, []string{ // the contract's names
		"I.1.1_feature_catalog.md", "I.1.2_federated_trainer.md", "I.1.3_model_exchange_bus.md",
		"I.1.4_inference_router.md", "I.1.5_policy_feedback_loop.md", "I.1.6_fabric_scorecard.md", "PhaseI.1_Snapshot.json",
	}, names)
}

func TestNoSecretIsWritten(t *testing.T) {
	f := facts()
	for _, canary := range canaries {
		f.NextSteps = append(f.NextSteps, "see password="+canary)
	}
	files, err := f.Render()
	require.NoError(t, err)
	var all strings.Builder
	for _, file := range files {
		all.Write(file.Content)
	}
	for _, canary := range canaries {
		require.NotContains(t, all.String(), canary)
	}
	require.Contains(t, all.String(), "FEDERATION_TOKEN_FILE=/run/secrets/f", "where a secret is may be said")
	require.Contains(t, all.String(), "12345678901234567890", "numbers stay what they are")
}

func TestTheOrderOfTheFactsDoesNotMatter(t *testing.T) {
	a, err := facts().Render()
	require.NoError(t, err)
	turned := facts()
	slices.Reverse(turned.Tests)
	slices.Reverse(turned.Calls)
	b, err := turned.Render()
	require.NoError(t, err)
	require.Equal(t, a, b)
	require.Equal(t, "github.com/atom-fabric/fabric/api", turned.Tests[1].Package, "the caller's facts are left alone")
}

func TestTheSnapshotStandsForThePages(t *testing.T) {
	files, err := facts().Render()
	require.NoError(t, err)
	var snapshot struct {
		TestsFailed int      `json:"testsFailed"`
		Blockers    []string `json:"blockers"`
		Services    []struct {
			Report string          `json:"report"`
			Digest artifact.Digest `json:"digest"`
		} `json:"services"`
	}
	require.NoError(t, json.Unmarshal(files[6].Content, &snapshot))
	require.Len(t, snapshot.Services, 6)
	for i, s := range snapshot.Services {
		require.Equal(t, files[i].Name, s.Report)
		require.Equal(t, artifact.DigestOf(files[i].Content), s.Digest)
	}
	require.Equal(t, 1, snapshot.TestsFailed)
	require.Equal(t, []string{"failed tests in workflows: 1"}, snapshot.Blockers, "a failed test blocks without being told to")
}

func TestFactsThatMisleadAreRefused(t *testing.T) {
	tests := []struct {
		name string
		edit func(*report.Facts)
	}{
		{"no commit", func(f *report.Facts) { f.Commit = "" }},
		{"no time", func(f *report.Facts) { f.At = time.Time{} }},
		{"no precheck", func(f *report.Facts) { f.Precheck = precheck.Report{} }},
		{"no tests", func(f *report.Facts) { f.Tests = nil }},
		{"a service that nobody called", func(f *report.Facts) { f.Calls = f.Calls[1:] }},
		{"a call of no service", func(f *report.Facts) { f.Calls[0].Service = "I.1.7" }},
		{"a policy is missing", func(f *report.Facts) { f.Policies = f.Policies[:6] }},
		{"a policy twice", func(f *report.Facts) { f.Policies[3].ID = "P3" }},
		{"another verdict", func(f *report.Facts) { f.Policies[0].Verdict = "OK" }},
		{"a verdict without a reason", func(f *report.Facts) { f.Policies[0].Why = "" }},
		{"P2 passes without a key", func(f *report.Facts) { f.Policies[1].Verdict = report.Pass }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "reports")
			f := facts()
			tt.edit(&f)
			require.ErrorIs(t, f.Write(dir), report.ErrFacts)
			require.NoDirExists(t, dir)
		})
	}
}
