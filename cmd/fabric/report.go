package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/precheck"
	"github.com/atom-fabric/fabric/internal/report"
)

func newReport(a *app) *cobra.Command {
	var o upOptions
	var dir, tests string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Run the system, make the contract's calls, and write reports/ from what was seen",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.report(cmd.Context(), o, dir, tests) },
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&dir, "reports", "reports", "directory to write to")
	cmd.Flags().StringVar(&tests, "tests", "", "file with the output of: go test -json ./...")
	return cmd
}

// report collects facts from a running system and writes them.
func (a *app) report(ctx context.Context, o upOptions, dir, tests string) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	facts := report.Facts{Secrets: []config.Secret{c.PostgresDSN, c.CosignPassword, c.FederationTok, c.Token, c.S3SecretKey}, Commit: commit, Version: version, At: time.Now().UTC(), Precheck: precheck.Decide(c)}
	if err := facts.Precheck.Write(dir, facts.At); err != nil {
		return err
	}
	if tests != "" {
		file, err := os.Open(tests)
		if err != nil {
			return usage(err)
		}
		defer file.Close()
		if facts.Tests, err = report.ParseGoTestJSON(file); err != nil {
			return err
		}
	}
	s, err := a.start(ctx, o, a.Err)
	if err != nil {
		return err
	}
	defer s.Stop()
	d, err := s.demo(a, 10)
	if err != nil {
		return err
	}
	shown := d.Run(ctx) // a step that does not hold is a fact too
	if facts.Calls, err = s.calls(ctx); err != nil {
		return err
	}
	facts.AuditHashes, err = s.auditHashes(ctx)
	if err != nil {
		return err
	}
	if err := s.pictures(ctx, dir); err != nil {
		return err
	}
	facts.Policies = verdicts(c, facts, shown)
	if shown != nil {
		facts.Blockers = append(facts.Blockers, "the demonstration: "+shown.Error())
	}
	if facts.Precheck.Decision != precheck.Proceed {
		facts.Blockers = append(facts.Blockers, facts.Precheck.Why...)
		facts.NextSteps = append(facts.NextSteps, "set what precheck calls missing, then have a person approve leaving simulation: fabric approve --deployment "+string(facts.Precheck.Deployment))
	}
	if len(facts.Tests) == 0 {
		facts.NextSteps = append(facts.NextSteps, "run the tests into the report: make reports")
	}
	if err := facts.Write(dir); err != nil {
		return err
	}
	return a.printText(map[string]string{"reports": dir}, "wrote %s\n", dir)
}

// calls makes the contract's verification calls, as a person would by curl.
func (s *system) calls(ctx context.Context) ([]report.Call, error) {
	var calls []report.Call
	ask := func(service, title, method string, port int, path, body string) error {
		url := s.plan.Service(port) + path
		call := report.Call{Service: service, Title: title, Command: "curl " + url}
		if method == http.MethodPost {
			call.Command = fmt.Sprintf("curl -X POST %s -d '%s'", url, body)
		}
		req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
		if err != nil {
			return err
		}
		if method == http.MethodPost {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded") // what curl -d says
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			call.Body = err.Error()
			calls = append(calls, call)
			return nil
		}
		defer resp.Body.Close()
		content, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		if err != nil {
			return err
		}
		if path == "/metrics" {
			content = fmt.Appendf(nil, "%d metric families and more", bytes.Count(content, []byte("# TYPE")))
		}
		call.Status, call.Body = resp.StatusCode, string(content)
		calls = append(calls, call)
		return nil
	}
	for _, v := range []struct {
		service, title, method string
		port                   int
		path, body             string
	}{
		{"I.1.1", "register a feature", http.MethodPost, 1, "/features/register", `{"tenant":"t1","feature_id":"f1","schema":{},"consented":true}`},
		{"I.1.1", "list features", http.MethodGet, 1, "/features/t1", ""},
		{"I.1.2", "start a round", http.MethodPost, 2, "/train/round", `{"model_id":"m1","tenants":["t1"]}`},
		{"I.1.3", "list models", http.MethodGet, 3, "/models?tenant=t1", ""},
		{"I.1.4", "invoke", http.MethodPost, 4, "/invoke", `{"tenant":"t1","model_id":"m1","input":{}}`},
		{"I.1.5", "policies", http.MethodGet, 5, "/policies?tenant=t1", ""},
		{"I.1.6", "scorecard", http.MethodGet, 6, "/scorecards/m1?tenant=t1", ""},
	} {
		if err := ask(v.service, v.title, v.method, v.port, v.path, v.body); err != nil {
			return nil, err
		}
	}
	for n := 1; n <= 6; n++ {
		for _, path := range []string{"/health", "/metrics"} {
			if err := ask(fmt.Sprintf("I.1.%d", n), path, http.MethodGet, n, path, ""); err != nil {
				return nil, err
			}
		}
	}
	return calls, nil
}

// auditHashes reads the checkpoint as it stands.
func (s *system) auditHashes(ctx context.Context) ([]string, error) {
	client, err := v1.New(s.plan.Gateway(), "", &http.Client{Timeout: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	checkpoint, err := v1.Fetch[v1.Checkpoint](client.AuditCheckpoint(ctx))
	if err != nil {
		return nil, err
	}
	return []string{fmt.Sprintf("root of %d leaves: %s", checkpoint.Size, checkpoint.Root)}, nil
}

// verdicts says of each policy whether this run showed it.
func verdicts(c config.Config, f report.Facts, shown error) []report.Policy {
	failed := 0
	for _, t := range f.Tests {
		failed += t.Failed
	}
	healthy := true
	for _, call := range f.Calls {
		if (call.Title == "/health" || call.Title == "/metrics") && call.Status != http.StatusOK {
			healthy = false
		}
	}
	say := func(id string, ok bool, pass, blocked string) report.Policy {
		if ok {
			return report.Policy{ID: id, Verdict: report.Pass, Why: pass}
		}
		return report.Policy{ID: id, Verdict: report.Blocked, Why: blocked}
	}
	demo := shown == nil
	tested := demo && len(f.Tests) > 0 && failed == 0
	return []report.Policy{
		say("P1", demo, "the demonstration: a round that names a feature without consent was refused, no row left a site", "the demonstration did not hold"),
		say("P2", demo && f.Precheck.Signing == "PASS", "what was exchanged was signed with the given key and verified", "no signing key was given: a generated development key signed; or the demonstration did not hold"),
		say("P3", demo, "the demonstration: plans changed nothing, the requester's vote did not count, signed votes of others did", "the demonstration did not hold"),
		say("P4", healthy, "every service answered /health and /metrics", "a service did not answer /health or /metrics with 200"),
		say("P5", tested, "the isolation matrix and the catalogue lint passed", "no complete test run was given, or a test failed"),
		say("P6", false, "", "the routing budget is measured by make bench, not here"),
		say("P7", tested, "the tests of promotion and its way back passed", "no complete test run was given, or a test failed"),
	}
}
