package main

import (
	"context"
	"fmt"
	"net/http"
	"text/tabwriter"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

// overTime writes a line a round, and below them who was dropped and why.
func overTime(w *tabwriter.Writer, run v1.Run) {
	status := string(run.Status)
	if run.Paused {
		status += ", paused"
	}
	fmt.Fprintf(w, "run %s of model %s: %s %s\n", run.ID, run.ModelID, status, run.Cause)
	head, adapts := "ROUND\tKIND\tSTATUS\tACCURACY\tLOSS\tSITES\tDROPPED\tMS", run.Params.Privacy.Adaptive.Quantile > 0
	if adapts {
		head += "\tCLIP"
	}
	fmt.Fprintln(w, head)
	for _, r := range run.Rounds {
		accepted, selected := 0, 0
		for _, region := range r.Regions {
			accepted, selected = accepted+region.Accepted, selected+region.Selected
		}
		dropped, took := "-", "-"
		if !r.EndedAt.IsZero() {
			dropped, took = fmt.Sprint(selected-accepted), fmt.Sprint(r.EndedAt.Sub(r.StartedAt).Milliseconds())
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%d/%d\t%s\t%s", r.Number, r.Kind, r.Status, percent(r.Metrics), loss(r.Metrics), accepted, selected, dropped, took)
		if adapts {
			fmt.Fprintf(w, "\t%.4g", r.Clip)
		}
		fmt.Fprintln(w)
	}
	for _, r := range run.Rounds {
		for _, region := range r.Regions {
			for _, why := range region.Dropped {
				fmt.Fprintf(w, "round %d dropped %s\n", r.Number, why)
			}
			if region.Cause != "" {
				fmt.Fprintf(w, "round %d lost %s: %s\n", r.Number, region.Region, region.Cause)
			}
		}
	}
}

// holding is the client's call for pause, and with [resumed] for resume.
type holding = func(c *v1.Client, ctx context.Context, id v1.IDPath, params *v1.PauseRunParams, body v1.StopRequest, editors ...v1.RequestEditorFn) (*http.Response, error)

func resumed(c *v1.Client, ctx context.Context, id v1.IDPath, params *v1.PauseRunParams, body v1.StopRequest, editors ...v1.RequestEditorFn) (*http.Response, error) {
	return c.ResumeRun(ctx, id, &v1.ResumeRunParams{Tenant: params.Tenant}, body, editors...)
}

// newHold is the command pause or resume.
func newHold(a *app, name, short, done string, call holding) *cobra.Command {
	var reason string
	cmd := a.command(name+" RUN", short, cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		accepted, err := v1.Fetch[v1.RunAccepted](call(c.Client, cmd.Context(), args[0], &v1.PauseRunParams{Tenant: c.tenant}, v1.StopRequest{Reason: reason}))
		if err != nil {
			return err
		}
		return c.print(accepted, func(w *tabwriter.Writer) { fmt.Fprintf(w, done, accepted.ID) })
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why, shown with the run in the workflow's details")
	return cmd
}
