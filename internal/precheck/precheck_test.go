package precheck_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/precheck"
)

var complete = []string{"GLOBAL_REGISTRY_URL=https://r.example", "POSTGRES_DSN=postgres://hunter2@p", "COSIGN_KEY_PATH=/k", "FEDERATION_TOKEN=hunter2hunter2"}

func decide(t *testing.T, environ ...string) precheck.Report {
	t.Helper()
	c, err := config.Load("", environ)
	require.NoError(t, err)
	return precheck.Decide(c)
}

func TestTheDecisionFollowsFromWhatIsMissing(t *testing.T) {
	tests := []struct {
		name     string
		environ  []string
		decision string
		signing  string
	}{
		{"nothing is set", nil, precheck.Simulation, "BLOCKED"},
		{"no registry", complete[1:], precheck.Simulation, "PASS"},
		{"no key", []string{complete[0], complete[1], complete[3]}, precheck.Simulation, "BLOCKED"},
		{"all is set and simulation is asked for", append([]string{"SIMULATION_MODE=true"}, complete...), precheck.Simulation, "PASS"},
		{"production asked for without a database", []string{"SIMULATION_MODE=false", complete[0], complete[2], complete[3]}, precheck.Block, "PASS"},
		{"environment prod with nothing", []string{"FABRIC_ENV=prod"}, precheck.Block, "BLOCKED"},
		{"all is set and nobody approved", complete, precheck.Block, "PASS"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := decide(t, tt.environ...)
			require.Equal(t, tt.decision, r.Decision, r.Why)
			require.Equal(t, tt.signing, r.Signing)
			require.NotEmpty(t, r.Why)
		})
	}
}

// vote signs a statement about a deployment and returns the files of the vote
// and of the voter's public key, as settings.
func vote(t *testing.T, deployment artifact.Digest, kind, decision string) []string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	public, err := artifact.MarshalPublicKey(&key.PublicKey)
	require.NoError(t, err)
	now := time.Now().UTC().Truncate(time.Second)
	statement, err := artifact.NewStatement("deployment", deployment, artifact.PredicateApproval, approval.Predicate{
		Decision: decision, Action: "deployment", Kind: kind, Nonce: "n", Approver: "ann", IssuedAt: now, ExpiresAt: now.Add(time.Hour),
	})
	require.NoError(t, err)
	bundle, err := artifact.SignStatement(rand.Reader, key, statement)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "vote.json"), bundle, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ann.pub"), public, 0o600))
	return append([]string{"FABRIC_PRODUCTION_APPROVAL=" + filepath.Join(dir, "vote.json"), "FABRIC_PRODUCTION_APPROVER=" + filepath.Join(dir, "ann.pub")}, complete...)
}

func TestOnlyASignedVoteForThisDeploymentLeavesSimulation(t *testing.T) {
	deployment := decide(t, complete...).Deployment

	r := decide(t, vote(t, deployment, precheck.KindLeave, "approve")...)
	require.Equal(t, precheck.Proceed, r.Decision, r.Why)
	require.Equal(t, "ann", r.Approver)

	for name, environ := range map[string][]string{
		"a vote for another deployment": vote(t, artifact.DigestOf([]byte("other")), precheck.KindLeave, "approve"),
		"a vote against":                vote(t, deployment, precheck.KindLeave, "reject"),
		"a vote for something else":     vote(t, deployment, "promotion", "approve"),
		"one more variable than voted":  append(vote(t, deployment, precheck.KindLeave, "approve"), "VAULT_ADDR=http://v"),
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, precheck.Block, decide(t, environ...).Decision)
		})
	}
}

func TestFilesHoldNoValueAndTheBlockFileFollowsTheDecision(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, decide(t, complete...).Write(dir, time.Unix(0, 0)))
	block := filepath.Join(dir, precheck.BlockFile)
	require.FileExists(t, block)
	for _, name := range []string{precheck.LogFile, precheck.JSONFile, precheck.BlockFile} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NotContains(t, string(content), "hunter2")
	}
	log, err := os.ReadFile(filepath.Join(dir, precheck.LogFile))
	require.NoError(t, err)
	require.Regexp(t, `POSTGRES_DSN +SET \(critical\)`, string(log))
	require.Regexp(t, `VAULT_ADDR +MISSING`, string(log))

	require.NoError(t, decide(t).Write(dir, time.Unix(0, 0)))
	require.NoFileExists(t, block)
}
