package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

// newReplicas shows what each region's mirror holds of a version.
func newReplicas(a *app) *cobra.Command {
	var version int
	var watch *bool
	cmd := a.command("replicas MODEL", "Show what each region's mirror holds of a version", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		return c.see(cmd.Context(), *watch, func(ctx context.Context) (sight, error) {
			list, err := v1.Fetch[v1.ReplicaList](c.ListReplicas(ctx, args[0], &v1.ListReplicasParams{Version: version, Tenant: c.tenant}))
			s := sight{value: list, over: true, rows: func(w *tabwriter.Writer) { replicaRows(w, list) }}
			for _, r := range list.Items {
				s.over = s.over && r.State != "asked"
				if r.State == "failed" && s.err == nil {
					s.err = outcome("region "+r.Region, string(r.State), r.Cause)
				}
			}
			return s, err
		})
	})
	watch = a.watchable(cmd, "every region holds it, or has failed")
	cmd.Flags().IntVar(&version, "version", 0, "version (default: the newest)")
	return cmd
}

func replicaRows(w *tabwriter.Writer, list v1.ReplicaList) {
	fmt.Fprintf(w, "%s version %d, package %s\n\nREGION\tSTATE\tLAYERS\tREFERRERS\tBYTES\tVERIFIED\tREGISTRY\tCAUSE\n", list.ModelID, list.Version, short(list.Package))
	for _, r := range list.Items {
		checked := "-"
		if !r.CheckedAt.IsZero() {
			checked = r.CheckedAt.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\n", r.Region, r.State, r.Layers, r.Referrers, r.SizeBytes, checked, cmp.Or(r.Registry, "-"), r.Cause)
	}
}

// newReplicate copies a version to mirrors again, and has it verified there.
func newReplicate(a *app) *cobra.Command {
	var version int
	var regions []string
	cmd := a.command("replicate MODEL", "Copy a version to the regions' mirrors and verify it there, again where it is held", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		accepted, err := v1.Fetch[v1.ReplicationAccepted](c.ReplicateModel(cmd.Context(), args[0], &v1.ReplicateModelParams{Tenant: c.tenant},
			v1.ReplicationRequest{Version: version, Regions: regions}))
		if err != nil {
			return err
		}
		return c.print(accepted, func(w *tabwriter.Writer) {
			if len(accepted.Regions) == 0 {
				fmt.Fprintln(w, "every region has one under way already")
			} else {
				fmt.Fprintf(w, "started to\t%s\n", strings.Join(accepted.Regions, ", "))
			}
			fmt.Fprintf(w, "see how it goes:\n  fabric model replicas %s --version %d\n", args[0], version)
		})
	})
	cmd.Flags().IntVar(&version, "version", 0, "version")
	cmd.Flags().StringSliceVar(&regions, "region", nil, "regions (default: all)")
	must(cmd.MarkFlagRequired("version"))
	return cmd
}

// newRollback goes back to the version that served before.
func newRollback(a *app) *cobra.Command {
	var environment, plan string
	var regions []string
	var wait bool
	cmd := a.command("rollback MODEL", "Plan the way back to the version that served before; with --apply PLAN, do exactly that", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		body := v1.RollbackRequest{Environment: v1.Environment(environment), Regions: regions}
		if plan == "" {
			planned, err := v1.Fetch[v1.Planned](c.RollbackModel(cmd.Context(), args[0], &v1.RollbackModelParams{Tenant: c.tenant}, body))
			if err != nil {
				return err
			}
			return c.printPlan(planned, fmt.Sprintf("fabric rollback %s --environment %s --apply %s", args[0], environment, planned.PlanDigest))
		}
		body.Apply, body.PlanDigest = true, plan
		accepted, err := v1.Fetch[v1.ActionAccepted](c.RollbackModel(cmd.Context(), args[0], &v1.RollbackModelParams{Tenant: c.tenant}, body))
		if err != nil {
			return err
		}
		return c.follow(cmd.Context(), accepted, "ROLLBACK", wait, c.promotion(accepted.ID))
	})
	f := cmd.Flags()
	f.StringVar(&environment, "environment", "production", "dev, staging or production")
	f.StringSliceVar(&regions, "region", nil, "regions (default: all)")
	f.StringVar(&plan, "apply", "", "digest of the plan to apply; without it nothing changes")
	f.BoolVar(&wait, "wait", false, "wait until it is applied, rejected or expired")
	return cmd
}
