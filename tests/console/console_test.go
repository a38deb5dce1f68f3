//go:build browser

// Package browser decides in the console as people do, in Chromium, on the
// whole system: it is started as somebody at a terminal does, and what was
// decided is checked afterwards without the console.
//
// Invariant: nothing of the system is replaced, and no browser trusts a page
// more than a person's would: a breach of the content-security policy, an error
// of a script or a finding of axe on any page fails.
package browser

import (
	"cmp"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/cosign"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/tests/harness"
)

// script is in every text that a person may choose.
const script = `<script>document.title="owned"</script><img src=x onerror="document.title='owned'">`

// facts are what the browsers are told.
type facts struct {
	URL       string   `json:"url"`
	Tenant    string   `json:"tenant"`
	Model     string   `json:"model"`
	Older     int      `json:"older"` // version that serves
	Newer     int      `json:"newer"`
	Run       string   `json:"run"`
	Rollout   string   `json:"rollout"`
	Proposal  string   `json:"proposal"`
	Pages     []string `json:"pages"`     // that are looked at in any case
	Approvers []person `json:"approvers"` // enrol their browsers' keys
	Outsider  string   `json:"outsider"`  // reads, and may not decide
	Shots     string   `json:"shots"`     // folder of the pictures
	Chromium  string   `json:"chromium"`
	Modules   string   `json:"modules"`
	Script    string   `json:"script"`
	Token     string   `json:"token"` // of the lead, to make something happen behind the pages' back
}

type person struct {
	Name string `json:"name"`
	Role string `json:"role"`
}

func TestConsole(t *testing.T) {
	modules := os.Getenv("CONSOLE_MODULES")
	require.NotEmpty(t, modules, "run make e2e-console")
	s := harness.Up(t, harness.State(t), harness.FreeBase(t))
	began := time.Now()
	c := set(t, s)
	t.Logf("the scene is set after %.0f s", time.Since(began).Seconds())
	f := facts{
		URL: s.Gateway(), Tenant: demo.Consortium, Model: demo.Model, Older: c.first.Version, Newer: c.second.Version,
		Run: c.run.ID, Rollout: c.rollout, Proposal: c.proposal, Pages: c.pages(),
		Approvers: []person{{"osei", "owner"}, {"lund", "risk"}, {"ines", "owner"}}, Outsider: "kim",
		Shots: t.TempDir(), Chromium: cmp.Or(os.Getenv("CHROMIUM"), "/usr/bin/chromium"), Modules: modules, Script: script,
		Token: s.Token(t, demo.Consortium, "mira", "data-scientist", "operator", "admin"),
	}
	told, err := json.Marshal(f)
	require.NoError(t, err)
	result := filepath.Join(t.TempDir(), "result.json")
	cmd := exec.CommandContext(t.Context(), "node", "main.mjs", result)
	cmd.Env = append(os.Environ(), "CONSOLE_FACTS="+string(told))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	ran := cmd.Run()
	if keep := os.Getenv("CONSOLE_SHOTS"); keep != "" {
		small(t, f.Shots, keep)
	}
	require.NoError(t, ran, "the browsers")

	var got outcome
	text, err := os.ReadFile(result)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &got))
	require.Len(t, got.Voters, 2)
	t.Run("what was signed in the browser verifies without us", func(t *testing.T) { verified(t, s, c.lead, got.Promotion, got.Voters) })
	if path := os.Getenv("CONSOLE_REPORT"); path != "" && !t.Failed() {
		require.NoError(t, os.WriteFile(path, []byte(got.report(harness.Describe(t))), 0o644))
	}
}

// verified checks each vote with the stock cosign, and the log with the
// command line.
func verified(t *testing.T, s *harness.System, lead *v1.Client, promotion string, voters []string) {
	ballot, err := v1.Fetch[v1.Ballot](lead.GetApproval(t.Context(), promotion, &v1.GetApprovalParams{}))
	require.NoError(t, err)
	require.EqualValues(t, "approved", ballot.Outcome)
	require.Len(t, ballot.Votes, 2, "one for each, however often the button was pressed")
	people, err := v1.Fetch[v1.ApproverList](lead.ListApprovers(t.Context(), &v1.ListApproversParams{}))
	require.NoError(t, err)
	keys := map[string]string{}
	for _, a := range people.Items {
		keys[a.Key] = a.PublicKey
	}
	dir := t.TempDir()
	files := cosign.Files{Key: filepath.Join(dir, "voter.pub"), Bundle: filepath.Join(dir, "vote.json"), TrustedRoot: filepath.Join(dir, "root.json"), Content: ballot.PlanDigest}
	require.NoError(t, os.WriteFile(files.TrustedRoot, []byte(cosign.TrustedRoot), 0o600))
	var statements []string
	for _, vote := range ballot.Votes {
		require.Contains(t, voters, vote.Approver)
		bundle, err := v1.Fetch[v1.VoteRequest](lead.GetVote(t.Context(), promotion, vote.Statement, &v1.GetVoteParams{}))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(files.Bundle, []byte(bundle.Bundle), 0o600))
		good := 0
		for _, public := range keys {
			require.NoError(t, os.WriteFile(files.Key, []byte(public), 0o600))
			cmd := exec.CommandContext(t.Context(), "sh", "-c", cosign.VerifyAttestationCommand(files, artifact.PredicateApproval))
			cmd.Env = append(os.Environ(), "PATH="+harness.Programs(t)+":"+os.Getenv("PATH"), "HTTPS_PROXY=http://127.0.0.1:1")
			if out, err := cmd.CombinedOutput(); err == nil {
				require.Contains(t, string(out), "Verified OK")
				good++
			}
		}
		require.Equal(t, 1, good, "exactly one registered key has signed the vote of %s", vote.Approver)
		statements = append(statements, vote.Statement)
	}
	token := s.Token(t, demo.Consortium, "auditor", "auditor")
	out, status := s.Fabric(t, token, "audit", "verify")
	require.Equal(t, 0, status, out)
	export := filepath.Join(dir, "export")
	out, status = s.Fabric(t, token, "audit", "export", "--out", export)
	require.Equal(t, 0, status, out)
	leaves, err := os.ReadFile(filepath.Join(export, "leaves.jsonl"))
	require.NoError(t, err)
	for _, statement := range statements {
		require.Equal(t, 1, strings.Count(string(leaves), `"statement":"`+statement), "one leaf for the vote, however often the button was pressed")
	}
	out, status = s.Fabric(t, token, "audit", "verify", export)
	require.Equal(t, 0, status, out)
	require.Equal(t, http.StatusOK, get(t, s.Gateway()+"/health"))
}

func get(t *testing.T, url string) int {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}
