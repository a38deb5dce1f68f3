package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

func newPolicy(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Show the routing policy, propose a change, roll it out region by region"}
	show := a.command("show", "Show the revisions and what each region runs", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		page, err := v1.Fetch[v1.PolicyPage](c.ListPolicies(cmd.Context(), &v1.ListPoliciesParams{Tenant: c.tenant}))
		if err != nil {
			return err
		}
		return c.print(page, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "REGION\tREVISION\tDIGEST")
			for _, r := range page.Regions {
				fmt.Fprintf(w, "%s\t%d\t%s\n", r.Region, r.Revision, short(r.Digest))
			}
		})
	})
	var file, plan string
	var regions []string
	var wait bool
	propose := a.command("propose", "Plan a rollout of a policy document; with --apply PLAN, do exactly that", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		text, err := os.ReadFile(file)
		if err != nil {
			return usage(err)
		}
		body := v1.PolicyProposal{Regions: regions}
		if err := json.Unmarshal(text, &body.Document); err != nil {
			return usage(fmt.Errorf("%s: %w", file, err))
		}
		params := &v1.ProposePolicyParams{Tenant: c.tenant}
		if plan == "" {
			planned, err := v1.Fetch[v1.Planned](c.ProposePolicy(cmd.Context(), params, body))
			if err != nil {
				return err
			}
			return c.printPlan(planned, fmt.Sprintf("fabric policy propose --file %s --apply %s", file, planned.PlanDigest))
		}
		body.Apply, body.PlanDigest = true, plan
		accepted, err := v1.Fetch[v1.ActionAccepted](c.ProposePolicy(cmd.Context(), params, body))
		if err != nil {
			return err
		}
		if !wait {
			return c.print(accepted, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "ROLLOUT\tWORKFLOW\n%s\t%s\n", accepted.ID, accepted.WorkflowID)
			})
		}
		action, err := c.settled(cmd.Context(), c.rollout(accepted.ID))
		if err != nil {
			return err
		}
		return c.printAction(action)
	})
	f := propose.Flags()
	f.StringVar(&file, "file", "", "the policy document (JSON)")
	f.StringSliceVar(&regions, "region", nil, "regions in rollout order (default: all)")
	f.StringVar(&plan, "apply", "", "digest of the plan to apply; without it nothing changes")
	f.BoolVar(&wait, "wait", false, "wait until it is applied, rejected or expired")
	must(propose.MarkFlagRequired("file"))
	status := a.actionStatus("status ROLLOUT", "Show how a rollout stands", (*caller).rollout)
	cmd.AddCommand(show, propose, status)
	cmd.AddCommand(policyMore(a)...)
	return cmd
}

// rollout asks how the rollout of a policy stands.
func (c *caller) rollout(id string) func(context.Context) (v1.Action, error) {
	return func(ctx context.Context) (v1.Action, error) {
		return v1.Fetch[v1.Action](c.GetRollout(ctx, id, &v1.GetRolloutParams{Tenant: c.tenant}))
	}
}

func newTune(a *app) *cobra.Command {
	var environment, study string
	var apply bool
	cmd := a.command("tune MODEL", "Compute a scorecard and one suggestion; outside production it may be applied at once", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		accepted, err := v1.Fetch[v1.ActionAccepted](c.SuggestTuning(cmd.Context(), &v1.SuggestTuningParams{Tenant: c.tenant}, v1.TuningRequest{ModelID: args[0], Environment: v1.Environment(environment), Apply: apply, Study: study}))
		if err != nil {
			return err
		}
		action, err := c.settled(cmd.Context(), func(ctx context.Context) (v1.Action, error) {
			return v1.Fetch[v1.Action](c.GetSuggestion(ctx, accepted.ID, &v1.GetSuggestionParams{Tenant: c.tenant}))
		})
		if err != nil {
			return err
		}
		return c.printAction(action)
	})
	cmd.Flags().StringVar(&environment, "environment", "dev", "dev, staging or production")
	cmd.Flags().BoolVar(&apply, "apply", false, "apply the suggestion: by itself outside production, else with an approver")
	cmd.Flags().StringVar(&study, "study", "", "suggest the best trial of this study, which is over")
	return cmd
}

func newInvoke(a *app) *cobra.Command {
	var input, preferences string
	cmd := a.command("invoke MODEL", "Ask a model through the router", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		text, err := os.ReadFile(input)
		if err != nil {
			return usage(err)
		}
		body := v1.InvokeRequest{Tenant: c.tenant, ModelID: args[0], Input: v1.JSON(text)}
		if preferences != "" {
			body.Preferences = v1.JSON(preferences)
		}
		answer, err := v1.Fetch[v1.Invocation](c.Invoke(cmd.Context(), body))
		if err != nil {
			return err
		}
		return c.print(answer, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "REGION\tENDPOINT\tVERSION\tOUTPUT\n%s\t%s\t%d\t%s\n", answer.Region, answer.Endpoint, answer.Version, answer.Output)
			fmt.Fprintf(w, "decision\t%s\naudit\t%s\n", answer.Decision, answer.Audit)
		})
	})
	cmd.Flags().StringVar(&input, "input", "", `file with the input as JSON: {"data": [[...]]} or the "inputs" of the Open Inference Protocol`)
	cmd.Flags().StringVar(&preferences, "preferences", "", `JSON, for example {"region": "eu", "explain": true}`)
	must(cmd.MarkFlagRequired("input"))
	return cmd
}
