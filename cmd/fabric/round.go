package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

func newRound(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "round", Short: "Start federated rounds, watch them converge, hold and stop them"}

	var tenants []string
	var file string
	var p v1.RunParams
	var choice paramFlags
	var watch bool
	start := a.command("start MODEL", "Start a training run over the sites of the tenants", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		request := v1.RunRequest{ModelID: args[0], Tenants: tenants}
		if err := choice.complete(&p, &request); err != nil {
			return usage(err)
		}
		if err := over(file, p, &request.Params); err != nil {
			return usage(err)
		}
		accepted, err := v1.Fetch[v1.RunAccepted](c.StartRun(cmd.Context(), nil, request))
		if err != nil {
			return err
		}
		if watch {
			run, err := c.watch(cmd.Context(), accepted.ID, func(r v1.Round) { c.progress(r) })
			if err != nil {
				return err
			}
			return c.printRun(run)
		}
		return c.print(accepted, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "RUN\tWORKFLOW\tTRACE\n%s\t%s\t%s\n", accepted.ID, accepted.WorkflowID, accepted.TraceID)
		})
	})
	f := start.Flags()
	f.StringSliceVar(&tenants, "tenants", nil, "tenants whose sites take part")
	f.StringVar(&file, "params", "", "file with the parameters as JSON; flags win over it")
	choice.declare(start, &p)
	f.BoolVar(&watch, "watch", false, "wait for the end and show each round")
	must(start.MarkFlagRequired("tenants"))

	status := a.runCommand("status RUN", "Show a run with its rounds", runRows)
	follow := a.command("watch RUN", "Follow a run until it ends", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		run, err := c.watch(cmd.Context(), args[0], func(r v1.Round) { c.progress(r) })
		if err != nil {
			return err
		}
		return c.printRun(run)
	})
	list := newRoundList(a)
	var reason string
	stop := a.command("stop RUN", "End a run after its open round", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		accepted, err := v1.Fetch[v1.RunAccepted](c.StopRun(cmd.Context(), args[0], &v1.StopRunParams{Tenant: c.tenant}, v1.StopRequest{Reason: reason}))
		if err != nil {
			return err
		}
		return c.print(accepted, func(w *tabwriter.Writer) { fmt.Fprintf(w, "%s ends after its open round\n", accepted.ID) })
	})
	stop.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	show := a.runCommand("show RUN", "Show how a run went over its rounds: accuracy, loss, sites, who was dropped", overTime)
	cmd.AddCommand(start, status, follow, list, stop, show,
		newHold(a, "pause", "Let a run begin no further round; the open one ends", "%s holds before its next round\n", (*v1.Client).PauseRun),
		newHold(a, "resume", "Let a paused run go on", "%s goes on\n", resumed))
	return cmd
}

// must ends the program when a command is declared wrongly, which no input can cause.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// watch polls a run until it ends and calls seen once for each round that closed.
func (c *caller) watch(ctx context.Context, id string, seen func(v1.Round)) (v1.Run, error) {
	told := 0
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		run, err := v1.Fetch[v1.Run](c.GetRun(ctx, id, &v1.GetRunParams{Tenant: c.tenant}))
		if err != nil {
			return run, err
		}
		for told < len(run.Rounds) && run.Rounds[told].Status != "open" {
			seen(run.Rounds[told])
			told++
		}
		switch run.Status {
		case "completed":
			return run, nil
		case "failed":
			return run, fmt.Errorf("run %s failed: %s", run.ID, run.Cause)
		case "stopped":
			return run, nil
		}
		select {
		case <-ctx.Done():
			return run, ctx.Err()
		case <-tick.C:
		}
	}
}

// progress prints one closed round to standard error.
func (c *caller) progress(r v1.Round) {
	accepted, selected := 0, 0
	for _, region := range r.Regions {
		accepted, selected = accepted+region.Accepted, selected+region.Selected
	}
	fmt.Fprintf(c.notes(), "round %d %s: %d of %d sites, accuracy %s, loss %s, %d ms %s\n", r.Number, r.Kind, accepted, selected,
		percent(r.Metrics), loss(r.Metrics), r.EndedAt.Sub(r.StartedAt).Milliseconds(), r.Cause)
}

func (c *caller) printRun(run v1.Run) error {
	return c.print(run, func(w *tabwriter.Writer) { runRows(w, run) })
}

func runRows(w *tabwriter.Writer, run v1.Run) {
	fmt.Fprintf(w, "run %s of model %s: %s %s\n", run.ID, run.ModelID, run.Status, run.Cause)
	fmt.Fprintln(w, "ROUND\tKIND\tSTATUS\tSITES\tACCURACY\tLOSS\tWEIGHTS\tMS")
	for _, r := range run.Rounds {
		accepted, selected := 0, 0
		for _, region := range r.Regions {
			accepted, selected = accepted+region.Accepted, selected+region.Selected
		}
		took := "-"
		if !r.EndedAt.IsZero() {
			took = fmt.Sprint(r.EndedAt.Sub(r.StartedAt).Milliseconds())
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%d/%d\t%s\t%s\t%s\t%s\n", r.Number, r.Kind, r.Status, accepted, selected, percent(r.Metrics), loss(r.Metrics), short(r.Weights), took)
	}
}
