package main

import (
	"errors"
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/privacy"
)

func newBudget(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "budget", Short: "Limit what rounds may learn from a feature, and see what is left"}

	var delta float64
	set := a.command("set FEATURE EPSILON", "Set the privacy budget of a feature of the tenant", cobra.ExactArgs(2), func(c *caller, cmd *cobra.Command, args []string) error {
		epsilon, err := strconv.ParseFloat(args[1], 64)
		if err != nil {
			return usage(fmt.Errorf("EPSILON: %w", errors.Unwrap(err)))
		}
		if err := (privacy.Budget{EpsilonLimit: epsilon, Delta: delta}).Validate(); err != nil {
			return usage(err)
		}
		b, err := v1.Fetch[v1.PrivacyBudget](c.SetPrivacyBudget(cmd.Context(), args[0], &v1.SetPrivacyBudgetParams{Tenant: c.tenant},
			v1.PrivacyBudgetRequest{Epsilon: epsilon, Delta: delta}))
		if err != nil {
			return err
		}
		return c.print(b, func(w *tabwriter.Writer) { budgets(w, b) })
	})
	set.Flags().Float64Var(&delta, "delta", privacy.DefaultDelta, "probability that the bound does not cover, below one over the number of contributors")

	list := a.command("list", "Show the privacy budgets of the tenant's features and what is left", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		all := v1.PrivacyBudgetPage{Items: []v1.PrivacyBudget{}}
		for cursor := ""; ; {
			page, err := v1.Fetch[v1.PrivacyBudgetPage](c.ListPrivacyBudgets(cmd.Context(), &v1.ListPrivacyBudgetsParams{Tenant: c.tenant, Cursor: cursor}))
			if err != nil {
				return err
			}
			all.Items, all.Simulated = append(all.Items, page.Items...), page.Simulated
			if cursor = page.Next; cursor == "" {
				break
			}
		}
		return c.print(all, func(w *tabwriter.Writer) { budgets(w, all.Items...) })
	})
	cmd.AddCommand(set, list)
	return cmd
}

func budgets(w *tabwriter.Writer, list ...v1.PrivacyBudget) {
	fmt.Fprintln(w, "TENANT\tFEATURE\tLIMIT\tDELTA\tSPENT\tRESERVED\tLEFT\tROUNDS\tSET BY")
	for _, b := range list {
		by := b.SetBy
		if b.Default {
			by = "(default)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%g\t%s\t%s\t%s\t%d\t%s\n", b.Tenant, b.Feature, privacy.Amount(b.EpsilonLimit), b.Delta,
			privacy.Amount(b.Spent), privacy.Amount(b.Reserved), privacy.Amount(b.Left), b.Entries, by)
	}
}
