package main

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/promotion"
)

func newPromote(a *app) *cobra.Command {
	var version int
	var environment, plan string
	var regions []string
	var wait, dry bool
	var canary canaryFlags
	cmd := a.command("promote MODEL", "Plan what a promotion would change; with --apply PLAN, do exactly that", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		body := v1.PromotionRequest{Version: version, Environment: v1.Environment(environment), Regions: regions}
		var err error
		if body.Canary, err = canary.request(); err != nil {
			return err
		}
		if plan == "" {
			planned, err := v1.Fetch[v1.Planned](c.PromoteModel(cmd.Context(), args[0], &v1.PromoteModelParams{Tenant: c.tenant}, body))
			if err != nil {
				return err
			}
			return c.printPlan(planned, fmt.Sprintf("fabric promote %s --version %d --environment %s --apply %s", args[0], version, environment, planned.PlanDigest))
		}
		body.Apply, body.PlanDigest, body.DryRun = true, plan, dry
		if dry {
			checked, err := v1.Fetch[v1.Planned](c.PromoteModel(cmd.Context(), args[0], &v1.PromoteModelParams{Tenant: c.tenant}, body))
			if err != nil {
				return err
			}
			return c.print(checked, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "dry run of plan %s: nothing has changed, and these hold\n", checked.PlanDigest)
				for _, what := range checked.Checked {
					fmt.Fprintf(w, "ok\t%s\n", what)
				}
			})
		}
		accepted, err := v1.Fetch[v1.ActionAccepted](c.PromoteModel(cmd.Context(), args[0], &v1.PromoteModelParams{Tenant: c.tenant}, body))
		if err != nil {
			return err
		}
		if !wait {
			return c.print(accepted, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "PROMOTION\tWORKFLOW\n%s\t%s\n", accepted.ID, accepted.WorkflowID)
			})
		}
		action, err := c.settled(cmd.Context(), func(ctx context.Context) (v1.Action, error) {
			return v1.Fetch[v1.Action](c.GetPromotion(ctx, accepted.ID, &v1.GetPromotionParams{Tenant: c.tenant}))
		})
		if err != nil {
			return err
		}
		return c.printAction(action)
	})
	f := cmd.Flags()
	f.IntVar(&version, "version", 0, "version to serve")
	f.StringVar(&environment, "environment", "staging", "dev, staging or production")
	f.StringSliceVar(&regions, "region", nil, "regions in rollout order (default: all)")
	f.StringVar(&plan, "apply", "", "digest of the plan to apply; without it nothing changes")
	f.BoolVar(&dry, "dry-run", false, "with --apply: check everything that it checks, against what runs now, and start nothing")
	canary.add(f)
	f.BoolVar(&wait, "wait", false, "wait until it is applied, rejected or expired")
	must(cmd.MarkFlagRequired("version"))
	cmd.AddCommand(a.actionStatus("status PROMOTION", "Show how a promotion or rollback stands", (*caller).promotion))
	return cmd
}

// printPlan shows what an apply would do, and the command that does it.
func (c *caller) printPlan(p v1.Planned, next string) error {
	var plan promotion.Plan
	if err := json.Unmarshal(p.Plan, &plan); err != nil {
		return fmt.Errorf("plan %s: %w", p.PlanDigest, err)
	}
	return c.print(p, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "dry run: nothing has changed\nplan\t%s\nrisk\t%d of 100\napprovals\t%d of roles %v\n\nCHANGES\tFROM\tTO\n", p.PlanDigest, p.Risk, p.ApprovalsNeeded, p.ApproverRoles)
		for _, d := range plan.Diff {
			fmt.Fprintf(w, "%s\t%s\t%s\n", d.What, d.From, d.To)
		}
		if len(p.RiskParts) > 0 {
			fmt.Fprintln(w, "\nRISK\tFACTOR\tPOINTS")
		}
		for _, r := range p.RiskParts {
			if r.Points > 0 {
				fmt.Fprintf(w, "%s\t%.3g\t%d\n", r.Factor, float64(r.Mille)/1000, r.Points)
			}
		}
		fmt.Fprintf(w, "\nto do exactly this:\n  %s\n", next)
	})
}

// settled polls an action until it is neither planned nor started.
func (c *caller) settled(ctx context.Context, get func(context.Context) (v1.Action, error)) (v1.Action, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		action, err := get(ctx)
		if err != nil || ended(action.State) {
			return action, err
		}
		select {
		case <-ctx.Done():
			return action, ctx.Err()
		case <-tick.C:
		}
	}
}

// printAction shows an action that has been waited for; one that came to
// something else than was asked for is an error.
func (c *caller) printAction(action v1.Action) error {
	if err := c.print(action, func(w *tabwriter.Writer) { actionRows(w, action) }); err != nil {
		return err
	}
	return outcome(string(action.Kind)+" "+action.ID, action.State, action.Cause)
}

func actionRows(w *tabwriter.Writer, action v1.Action) {
	fmt.Fprintf(w, "%s %s: %s %s\nrequested by\t%s\nplan\t%s\nrisk\t%d of 100, %d approvals\n", action.Kind, action.ID, action.State, action.Cause, action.Requester, action.PlanDigest, action.Risk, action.ApprovalsNeeded)
	var plan promotion.Plan
	if action.Kind == promotion.KindTuning && json.Unmarshal(action.Plan, &plan) == nil && len(plan.Diff) > 0 {
		fmt.Fprintln(w, "\nCHANGES\tFROM\tTO")
		for _, d := range plan.Diff {
			fmt.Fprintf(w, "%s\t%s\t%s\n", d.What, d.From, d.To)
		}
	}
	if len(action.Evidence) > 0 {
		fmt.Fprintln(w, "\nREGION\tSNAPSHOT\tPACKAGE\tPOLICY")
	}
	for _, e := range action.Evidence {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", e.Region, e.Snapshot, short(e.Package), short(e.Policy))
	}
}
