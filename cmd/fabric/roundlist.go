package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

// going says whether a run has not come to its end.
func going(run v1.Run) bool { return run.Status == "accepted" || run.Status == "running" }

// runCommand is a command that shows one run as rows draws it.
func (a *app) runCommand(use, short string, rows func(w *tabwriter.Writer, run v1.Run)) *cobra.Command {
	var watch *bool
	cmd := a.command(use, short, cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		return c.see(cmd.Context(), *watch, func(ctx context.Context) (sight, error) {
			run, err := v1.Fetch[v1.Run](c.GetRun(ctx, args[0], &v1.GetRunParams{Tenant: c.tenant}))
			return sight{run, func(w *tabwriter.Writer) { rows(w, run) }, !going(run), outcome("run "+run.ID, string(run.Status), run.Cause)}, err
		})
	})
	watch = a.watchable(cmd, "the run ends")
	return cmd
}

func newRoundList(a *app) *cobra.Command {
	var watch *bool
	cmd := a.command("list", "Show the runs of the tenant, newest first", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		open := map[string]bool{} // runs that were seen going
		return c.see(cmd.Context(), *watch, func(ctx context.Context) (sight, error) {
			page, err := v1.Fetch[v1.RunPage](c.ListRuns(ctx, &v1.ListRunsParams{Tenant: c.tenant}))
			if err != nil {
				return sight{}, err
			}
			s := sight{value: page, over: true, rows: func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "RUN\tMODEL\tSTATUS\tVERSION\tACCURACY\tSTARTED")
				for _, r := range page.Items {
					fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", r.ID, r.ModelID, r.Status, r.Version, percent(r.Metrics), r.CreatedAt.Format(time.RFC3339))
				}
			}}
			for _, r := range page.Items {
				switch {
				case going(r):
					open[r.ID], s.over = true, false
				case open[r.ID] && s.err == nil:
					s.err = outcome("run "+r.ID, string(r.Status), r.Cause)
				}
			}
			return s, nil
		})
	})
	watch = a.watchable(cmd, "none goes on any more")
	return cmd
}
