package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/internal/opa"
)

// newProposals shows what the policy loop proposes, and has it evaluate.
func newProposals(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "proposals", Short: "Show what the policy loop proposes, with its evidence and its replay"}
	list, show := newProposalList(a), newProposalShow(a)
	var window, baseline int
	var environment string
	var shadow bool
	evaluate := a.command("evaluate", "Evaluate the policy loop now; with --shadow it proposes nothing", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		accepted, err := v1.Fetch[v1.EvaluationAccepted](c.EvaluatePolicy(cmd.Context(), &v1.EvaluatePolicyParams{Tenant: c.tenant}, v1.EvaluationRequest{
			WindowSeconds: window, BaselineWindows: baseline, Environment: v1.Environment(environment), Shadow: shadow,
		}))
		if err != nil {
			return err
		}
		return c.print(accepted, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "EVALUATION\tWORKFLOW\n%s\t%s\n", accepted.ID, accepted.WorkflowID)
		})
	})
	evaluate.Flags().IntVar(&window, "window", 3600, "length of a window in seconds")
	evaluate.Flags().IntVar(&baseline, "baseline", 24, "windows of the baseline, before the last three")
	evaluate.Flags().StringVar(&environment, "environment", "production", "what the policy governs: dev, staging or production")
	evaluate.Flags().BoolVar(&shadow, "shadow", false, "evaluate and replay, propose nothing")
	cmd.AddCommand(list, show, evaluate)
	return cmd
}

func newProposalList(a *app) *cobra.Command {
	var watch *bool
	cmd := a.command("list", "List the proposals, newest first", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		return c.see(cmd.Context(), *watch, func(ctx context.Context) (sight, error) {
			page, err := v1.Fetch[v1.ProposalPage](c.ListProposals(ctx, &v1.ListProposalsParams{Tenant: c.tenant}))
			return sight{value: page, rows: func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "PROPOSAL\tDIRECTION\tTEMPLATE\tTARGET\tFROM\tTO\tRISK\tSTATE\tAPPROVAL\tEXPIRES")
				for _, p := range page.Items {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\n", p.ID, p.Direction, p.Template, p.Target, p.From, p.To, p.Risk, p.State, p.Approval, p.ExpiresAt.Format("2006-01-02 15:04"))
				}
			}}, err
		})
	})
	watch = a.watchable(cmd, "Ctrl-C")
	return cmd
}

func newProposalShow(a *app) *cobra.Command {
	var watch *bool
	cmd := a.command("show PROPOSAL", "Show a proposal: its statistics, the decisions that would flip, how far it came in each region", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		return c.see(cmd.Context(), *watch, func(ctx context.Context) (sight, error) {
			p, err := v1.Fetch[v1.Proposal](c.GetProposal(ctx, args[0], &v1.GetProposalParams{Tenant: c.tenant}))
			if err != nil {
				return sight{}, err
			}
			regions, err := v1.Fetch[v1.RolloutRegions](c.ListRolloutRegions(ctx, args[0], &v1.ListRolloutRegionsParams{Tenant: c.tenant}))
			if err != nil {
				return sight{}, err
			}
			var said struct {
				Replay policy.Impact `json:"replay"`
			}
			if err := json.Unmarshal(p.Predicate, &said); err != nil {
				return sight{}, err
			}
			return sight{p, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "%s\nstate %s  risk %d  approval %s  expires %s\n%s\n", p.Summary, p.State, p.Risk, p.Approval, p.ExpiresAt.Format("2006-01-02 15:04"), p.Cause)
				fmt.Fprintf(w, "replay: %d decisions, %d would open, %d would close\n", said.Replay.Decisions, said.Replay.Opened, said.Replay.Closed)
				flips(w, said.Replay.Flips)
				stages(w, regions)
			}, ended(p.State), outcome("proposal "+p.ID, p.State, p.Cause)}, nil
		})
	})
	watch = a.watchable(cmd, "it is applied, rejected or expired")
	return cmd
}

// flips prints the table of a replay, each row with its example.
func flips(w *tabwriter.Writer, all []policy.Flip) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no decision flips")
		return
	}
	fmt.Fprintln(w, "FLIP\tQUESTION\tTENANT\tREGION\tPURPOSE\tCOUNT\tEXAMPLE\tBECAUSE")
	for _, f := range all {
		way := "allow->deny"
		if f.Opens {
			way = "deny->allow"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", way, f.Question, f.Tenant, f.Region, f.Purpose, f.Count, f.Example.ID, strings.Join(f.Example.Reasons, "; "))
	}
}

func stages(w *tabwriter.Writer, regions v1.RolloutRegions) {
	if len(regions.Items) == 0 {
		return
	}
	fmt.Fprintln(w, "REGION\tSTATE\tREVISION\tSNAPSHOT\tAT\tWHY")
	for _, r := range regions.Items {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\n", r.Region, r.State, r.Revision, r.Snapshot, r.At.Format("15:04:05"), r.Why)
	}
}

// document reads a policy document from a file.
func document(file string) (v1.PolicyDocument, error) {
	var d v1.PolicyDocument
	text, err := os.ReadFile(file)
	if err != nil {
		return d, usage(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return d, usage(fmt.Errorf("%s: %w", file, err))
	}
	return d, nil
}

// policyMore are the commands of the policy hub beside propose.
func policyMore(a *app) []*cobra.Command {
	var file, out string
	var days int
	replay := a.command("replay", "Decide what was logged again under a policy document and the one in force: every flip", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		d, err := document(file)
		if err != nil {
			return err
		}
		got, err := v1.Fetch[v1.ReplayResult](c.ReplayPolicy(cmd.Context(), &v1.ReplayPolicyParams{Tenant: c.tenant}, v1.ReplayRequest{Document: d, Days: days}))
		if err != nil {
			return err
		}
		return c.print(got, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "%d decisions: %d would open, %d would close, %d undecided; loosens: %t %s\n", got.Decisions, got.Opened, got.Closed, got.Undecided, got.Loosens, got.Why)
			all := make([]policy.Flip, len(got.Flips))
			for i, f := range got.Flips {
				all[i] = policy.Flip{Question: f.Question, Tenant: f.Tenant, Region: f.Region, Purpose: f.Purpose, Opens: f.Opens, Count: f.Count, Example: policy.Example{ID: f.Example.ID, Reasons: f.Example.Reasons}}
			}
			flips(w, all)
		})
	})
	replay.Flags().StringVar(&file, "file", "", "the policy document (JSON)")
	replay.Flags().IntVar(&days, "days", 7, "how far back")
	must(replay.MarkFlagRequired("file"))
	decisions := a.command("decisions", "Show what the rules decided, newest first; inputs are masked", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		page, err := v1.Fetch[v1.VerdictPage](c.ListVerdicts(cmd.Context(), &v1.ListVerdictsParams{Tenant: c.tenant}))
		if err != nil {
			return err
		}
		return c.print(page, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "DECISION\tAT\tQUESTION\tREVISION\tALLOWED\tREASONS")
			for _, d := range page.Items {
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%t\t%s\n", d.ID, d.At.Format("2006-01-02 15:04:05"), d.Question, d.Revision, d.Allowed, strings.Join(d.Reasons, "; "))
			}
		})
	})
	bundle := a.command("bundle", "Write the bundle of the rules over a policy document, as a stock OPA loads it", cobra.NoArgs, func(c *caller, _ *cobra.Command, _ []string) error {
		text, err := os.ReadFile(file)
		if err != nil {
			return usage(err)
		}
		d, err := policy.Parse(text)
		if err != nil {
			return usage(fmt.Errorf("%s: %w", file, err))
		}
		archive, err := opa.Replayer{}.Pack(d)
		if err != nil {
			return err
		}
		if err := os.WriteFile(out, archive, 0o600); err != nil {
			return usage(err)
		}
		return c.print(map[string]any{"file": out, "revision": d.Revision}, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "%s: revision %d; serve it with: opa run --server --bundle %s\n", out, d.Revision, out)
		})
	})
	bundle.Flags().StringVar(&file, "file", "", "the policy document (JSON)")
	bundle.Flags().StringVar(&out, "out", "bundle.tar.gz", "where to write it")
	must(bundle.MarkFlagRequired("file"))
	var reason string
	steer := a.command("steer ROLLOUT pause|resume|abort", "Pause, resume or abort a rollout that watches a region", cobra.ExactArgs(2), func(c *caller, cmd *cobra.Command, args []string) error {
		got, err := v1.Fetch[v1.PolicySteered](c.SteerPolicy(cmd.Context(), args[0], &v1.SteerPolicyParams{Tenant: c.tenant}, v1.PolicySteer{Do: v1.PolicySteerDo(args[1]), Reason: reason}))
		if err != nil {
			return err
		}
		return c.print(got, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "REGION\tVERDICT\tPAUSED\n%s\t%s\t%t\n", got.Region, got.Verdict, got.Paused)
		})
	})
	steer.Flags().StringVar(&reason, "reason", "", "why, for the record")
	regions := a.command("regions ROLLOUT", "Show how far a rollout came in each region: published, delivered, verified, active", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		got, err := v1.Fetch[v1.RolloutRegions](c.ListRolloutRegions(cmd.Context(), args[0], &v1.ListRolloutRegionsParams{Tenant: c.tenant}))
		if err != nil {
			return err
		}
		return c.print(got, func(w *tabwriter.Writer) { stages(w, got) })
	})
	return []*cobra.Command{replay, decisions, bundle, steer, regions}
}
