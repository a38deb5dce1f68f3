package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
)

func newConsent(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "consent", Short: "Grant the use of features, withdraw it, and see what a withdrawal reached"}
	cmd.AddCommand(newConsentGrant(a), newConsentList(a), newConsentWithdraw(a), newConsentReport(a), newConsentDecide(a), newConsentRequest(a), newConsentRequests(a), newConsentAnswer(a), newConsentSearch(a))
	return cmd
}

func newConsentGrant(a *app) *cobra.Command {
	var body v1.GrantRequest
	var expires time.Duration
	var key string
	cmd := a.command("grant FEATURE GRANTEE", "Let a tenant use a feature", cobra.ExactArgs(2), func(c *caller, cmd *cobra.Command, args []string) error {
		body.FeatureID, body.Grantee = args[0], args[1]
		if expires > 0 {
			body.ExpiresAt = time.Now().Add(expires).UTC().Truncate(time.Second)
		}
		if key != "" {
			if err := c.signGrant(cmd, &body, key); err != nil {
				return err
			}
		}
		g, err := v1.Fetch[v1.Grant](c.GrantConsent(cmd.Context(), &v1.GrantConsentParams{Tenant: c.tenant}, body))
		if err != nil {
			return err
		}
		return c.print(g, func(w *tabwriter.Writer) { grants(w, g) })
	})
	f := cmd.Flags()
	f.StringSliceVar(&body.Actions, "action", []string{"train", "evaluate", "stats"}, "train, evaluate, stats, serve")
	f.StringSliceVar(&body.Purposes, "purpose", nil, "terms of the Data Use Ontology: GRU, HMB, DS-..., NPU, IRB ... (default: any purpose)")
	f.DurationVar(&expires, "expires", 0, "how long it holds, for example 2160h (default: until it is withdrawn)")
	f.StringSliceVar(&body.Constraints.Regions, "region", nil, "regions where the tenant's sites may take part (default: all)")
	f.Float64Var(&body.Constraints.MaxEpsilon, "max-epsilon", 0, "largest epsilon of one round")
	f.IntVar(&body.Constraints.MinCohort, "min-cohort", 0, "fewest sites that are summed together")
	f.IntVar(&body.Constraints.MaxRounds, "max-rounds", 0, "rounds under this grant")
	f.BoolVar(&body.Constraints.NoDerivative, "no-derivative", false, "no other run may start from what was learnt")
	f.StringVar(&body.Evidence, "evidence", "", "sha256:... of what you have on paper; the content stays with you")
	f.StringVar(&key, "key", "", "sign the grant, as an approver of the tenant: "+keyHelp)
	return cmd
}

// signGrant makes the request a statement of the tenant's own: it names the
// epoch that is now, so a withdrawal meanwhile makes it worthless.
func (c *caller) signGrant(cmd *cobra.Command, body *v1.GrantRequest, path string) error {
	private, done, err := c.approverKey(cmd.Context(), path)
	if err != nil {
		return err
	}
	defer done()
	page, err := v1.Fetch[v1.GrantPage](c.ListConsents(cmd.Context(), &v1.ListConsentsParams{Tenant: c.tenant}))
	if err != nil {
		return err
	}
	body.NotBefore = time.Now().UTC().Truncate(time.Second)
	g, err := consent.Grant{
		ID: "own-" + strings.ToLower(rand.Text()), Tenant: c.tenant, Feature: body.FeatureID, Grantee: body.Grantee, Purposes: body.Purposes, Actions: body.Actions,
		Constraints: consent.Constraints{Regions: body.Constraints.Regions, MaxEpsilon: body.Constraints.MaxEpsilon, MinCohort: body.Constraints.MinCohort,
			MaxRounds: body.Constraints.MaxRounds, NoDerivative: body.Constraints.NoDerivative},
		NotBefore: body.NotBefore, ExpiresAt: body.ExpiresAt, Epoch: page.Epoch, Evidence: artifact.Digest(body.Evidence),
	}.Normal()
	if err != nil {
		return usage(err)
	}
	statement, err := g.Statement()
	if err != nil {
		return err
	}
	bundle, err := artifact.SignStatement(rand.Reader, private, statement)
	body.Bundle = string(bundle)
	return err
}

// env returns a variable of the command's environment.
func (a *app) env(name string) string {
	for _, e := range a.environ {
		if value, ok := strings.CutPrefix(e, name+"="); ok {
			return value
		}
	}
	return ""
}

func newConsentList(a *app) *cobra.Command {
	var feature string
	cmd := a.command("list", "Show the grants of the tenant", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		page, err := v1.Fetch[v1.GrantPage](c.ListConsents(cmd.Context(), &v1.ListConsentsParams{Tenant: c.tenant, Feature: feature}))
		if err != nil {
			return err
		}
		return c.print(page, func(w *tabwriter.Writer) {
			grants(w, page.Items...)
			fmt.Fprintf(w, "consent epoch %d\n", page.Epoch)
		})
	})
	cmd.Flags().StringVar(&feature, "feature", "", "of this feature only")
	return cmd
}

func grants(w *tabwriter.Writer, list ...v1.Grant) {
	fmt.Fprintln(w, "GRANT\tFEATURE\tGRANTEE\tSTATE\tEPOCH\tACTIONS\tPURPOSES\tUNTIL\tROUNDS")
	for _, g := range list {
		until := "withdrawn"
		if !g.ExpiresAt.IsZero() {
			until = g.ExpiresAt.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%d\n", g.GrantID, g.FeatureID, g.Grantee, g.State, g.Epoch,
			strings.Join(g.Actions, ","), orAny(g.Purposes), until, g.Used)
	}
}

func orAny(list []string) string {
	if len(list) == 0 {
		return "any"
	}
	return strings.Join(list, ",")
}

func newConsentWithdraw(a *app) *cobra.Command {
	var body v1.WithdrawalRequest
	var wait bool
	cmd := a.command("withdraw FEATURE", "Show what withdrawing consent would reach; with --apply, withdraw it", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		body.FeatureID = args[0]
		w, err := v1.Fetch[v1.Withdrawal](c.WithdrawGrants(cmd.Context(), &v1.WithdrawGrantsParams{Tenant: c.tenant}, body))
		if err != nil {
			return err
		}
		for wait && body.Apply && w.ReportedAt.IsZero() {
			select {
			case <-cmd.Context().Done():
				return cmd.Context().Err()
			case <-time.After(200 * time.Millisecond):
			}
			if w, err = v1.Fetch[v1.Withdrawal](c.GetWithdrawal(cmd.Context(), w.Epoch, &v1.GetWithdrawalParams{Tenant: c.tenant})); err != nil {
				return err
			}
		}
		return c.print(w, func(out *tabwriter.Writer) {
			switch {
			case w.Preview:
				fmt.Fprintf(out, "%s\nNothing was changed. To withdraw: fabric consent withdraw %s --apply\n", w.Markdown, args[0])
			case w.Markdown != "":
				fmt.Fprintln(out, w.Markdown)
			default:
				fmt.Fprintf(out, "withdrawn: epoch %d, grants %s; its report: fabric consent report %d\n", w.Epoch, strings.Join(w.Grants, ","), w.Epoch)
			}
		})
	})
	f := cmd.Flags()
	f.StringSliceVar(&body.Grantees, "grantee", nil, "only from these tenants (default: from all)")
	f.StringVar(&body.Reason, "reason", "", "why; it is in the report")
	f.BoolVar(&body.Apply, "apply", false, "withdraw; without it nothing changes")
	f.BoolVar(&wait, "wait", false, "wait for the signed report")
	return cmd
}

func newConsentReport(a *app) *cobra.Command {
	var dir string
	cmd := a.command("report EPOCH", "Show the propagation report of a withdrawal; with --out, write JSON, Markdown and its signature", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		epoch, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return usage(fmt.Errorf("epoch %q: a number", args[0]))
		}
		w, err := v1.Fetch[v1.Withdrawal](c.GetWithdrawal(cmd.Context(), epoch, &v1.GetWithdrawalParams{Tenant: c.tenant}))
		if err != nil {
			return err
		}
		if w.ReportedAt.IsZero() {
			return &exitError{exitUnavailable, errors.New("the report is not written yet; try again in a second")}
		}
		if dir != "" {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			for name, text := range map[string]string{"withdrawal.json": string(w.Report), "withdrawal.md": w.Markdown, "withdrawal.bundle.json": w.Bundle} {
				if err := os.WriteFile(dir+"/"+name, []byte(text), 0o644); err != nil {
					return err
				}
			}
		}
		return c.print(w, func(out *tabwriter.Writer) {
			fmt.Fprintln(out, w.Markdown)
			if w.Decision != "" {
				fmt.Fprintf(out, "decided %s by %s: %s\n", w.Decision, w.DecidedBy, w.DecidedFor)
			}
		})
	})
	cmd.Flags().StringVar(&dir, "out", "", "directory to write the report to")
	return cmd
}

func newConsentDecide(a *app) *cobra.Command {
	var body v1.WithdrawalDecision
	var decision string
	cmd := a.command("decide EPOCH", "Decide what becomes of what was learnt before a withdrawal", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		epoch, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return usage(fmt.Errorf("epoch %q: a number", args[0]))
		}
		body.Decision = v1.WithdrawalDecisionDecision(decision)
		w, err := v1.Fetch[v1.Withdrawal](c.DecideWithdrawal(cmd.Context(), epoch, &v1.DecideWithdrawalParams{Tenant: c.tenant}, body))
		if err != nil {
			return err
		}
		return c.print(w, func(out *tabwriter.Writer) {
			fmt.Fprintf(out, "EPOCH\tFEATURE\tDECISION\n%d\t%s\t%s\n", w.Epoch, w.FeatureID, w.Decision)
		})
	})
	cmd.Flags().StringVar(&decision, "decision", "", "stop (what was learnt stays), retrain or retire (tainted versions stay blocked)")
	cmd.Flags().StringVar(&body.Reason, "reason", "", "why")
	must(cmd.MarkFlagRequired("decision"))
	return cmd
}

func newConsentRequest(a *app) *cobra.Command {
	var body v1.AccessRequestBody
	cmd := a.command("request OWNER FEATURE", "Ask another tenant for the use of a feature", cobra.ExactArgs(2), func(c *caller, cmd *cobra.Command, args []string) error {
		body.Owner, body.FeatureID = args[0], args[1]
		r, err := v1.Fetch[v1.AccessRequest](c.RequestAccess(cmd.Context(), &v1.RequestAccessParams{Tenant: c.tenant}, body))
		if err != nil {
			return err
		}
		return c.print(r, func(w *tabwriter.Writer) { accesses(w, r) })
	})
	f := cmd.Flags()
	f.StringVar(&body.Purpose, "purpose", "", "term of the Data Use Ontology: GRU, HMB, POA or DS-<disease>")
	f.StringSliceVar(&body.Actions, "action", []string{"train", "evaluate", "stats"}, "train, evaluate, stats, serve")
	f.IntVar(&body.Days, "days", 90, "for how long")
	f.StringVar(&body.Reason, "reason", "", "what for, in words")
	must(cmd.MarkFlagRequired("purpose"))
	must(cmd.MarkFlagRequired("reason"))
	return cmd
}

func newConsentRequests(a *app) *cobra.Command {
	return a.command("requests", "Show requests for access, made and received", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		list, err := v1.Fetch[v1.AccessRequestList](c.ListAccessRequests(cmd.Context(), &v1.ListAccessRequestsParams{Tenant: c.tenant}))
		if err != nil {
			return err
		}
		return c.print(list, func(w *tabwriter.Writer) { accesses(w, list.Items...) })
	})
}

func newConsentAnswer(a *app) *cobra.Command {
	var body v1.AccessDecision
	cmd := a.command("answer REQUEST approve|reject|revoke", "Decide a request for access", cobra.ExactArgs(2), func(c *caller, cmd *cobra.Command, args []string) error {
		body.Decision = v1.AccessDecisionDecision(args[1])
		r, err := v1.Fetch[v1.AccessRequest](c.DecideAccess(cmd.Context(), args[0], &v1.DecideAccessParams{Tenant: c.tenant}, body))
		if err != nil {
			return err
		}
		return c.print(r, func(w *tabwriter.Writer) { accesses(w, r) })
	})
	cmd.Flags().StringVar(&body.Reason, "reason", "", "why")
	return cmd
}

func accesses(w *tabwriter.Writer, list ...v1.AccessRequest) {
	fmt.Fprintln(w, "REQUEST\tOWNER\tFEATURE\tREQUESTER\tPURPOSE\tACTIONS\tDAYS\tSTATE\tGRANT")
	for _, r := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", r.ID, r.Owner, r.FeatureID, r.Requester, r.Purpose, strings.Join(r.Actions, ","), r.Days, r.State, r.GrantID)
	}
}

func newConsentSearch(a *app) *cobra.Command {
	return a.command("search [WORDS]", "Find features of every tenant; of others it is shown that they exist", cobra.MaximumNArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		params := &v1.DiscoverFeaturesParams{Tenant: c.tenant}
		if len(args) > 0 {
			params.Q = args[0]
		}
		page, err := v1.Fetch[v1.FeatureCardPage](c.DiscoverFeatures(cmd.Context(), params))
		if err != nil {
			return err
		}
		return c.print(page, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "TENANT\tFEATURE\tACCESS\tTAGS\tDESCRIPTION")
			for _, f := range page.Items {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.Tenant, f.FeatureID, f.Access, strings.Join(f.Tags, ","), f.Description)
			}
		})
	})
}

func newLineage(a *app) *cobra.Command {
	var send string
	cmd := a.command("lineage RUN", "Show the lineage of a run as OpenLineage events, one a line", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		events, err := v1.Fetch[v1.LineageEvents](c.GetRunLineage(cmd.Context(), args[0], &v1.GetRunLineageParams{Tenant: c.tenant}))
		if err != nil {
			return err
		}
		if send == "" {
			return c.print(events, func(w *tabwriter.Writer) {
				for _, e := range events.Events {
					fmt.Fprintf(w, "%s\n", e)
				}
			})
		}
		for _, e := range events.Events {
			if err := post(cmd, send, e); err != nil {
				return err
			}
		}
		return nil
	})
	cmd.Flags().StringVar(&send, "send", "", "URL of a collector (POST /api/v1/lineage), instead of printing them")
	return cmd
}

// post hands one event to a collector.
func post(cmd *cobra.Command, url string, event []byte) error {
	req, err := http.NewRequestWithContext(cmd.Context(), http.MethodPost, url, strings.NewReader(string(event)))
	if err != nil {
		return usage(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return &exitError{exitUnavailable, err}
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return &exitError{exitFailure, fmt.Errorf("the collector answers %s", resp.Status)}
	}
	return nil
}
