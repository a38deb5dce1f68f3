package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/domain/chart"
	"github.com/atom-fabric/fabric/domain/scorecard"
	"github.com/atom-fabric/fabric/web/plot"
)

func newPlot(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plot",
		Short: "Draw a run, a scorecard, a rollout or the routes as an SVG picture",
		Long: `Each picture is one SVG file with its style inside: it opens in a browser, follows light and dark, and
says in words what it shows to those who do not see it. The console draws the same ones.`,
	}
	var loss bool
	convergence := a.picture("convergence RUN", "Draw how a run converges: accuracy over its rounds, or its loss", cobra.ExactArgs(1), func(ctx context.Context, c *caller, args []string) (chart.Drawing, error) {
		run, err := v1.Fetch[v1.Run](c.GetRun(ctx, args[0], &v1.GetRunParams{Tenant: c.tenant}))
		if loss {
			return plot.Loss(run), err
		}
		return plot.Accuracy(run), err
	})
	convergence.Flags().BoolVar(&loss, "loss", false, "the loss instead of the accuracy")

	privacy := a.picture("privacy RUN", "Draw the epsilon that a run has spent, against its limit", cobra.ExactArgs(1), func(ctx context.Context, c *caller, args []string) (chart.Drawing, error) {
		progress, err := v1.Fetch[v1.RunProgress](c.GetRunProgress(ctx, args[0], &v1.GetRunProgressParams{Tenant: c.tenant}))
		return plot.Privacy(progress), err
	})

	var which cardFlags
	drift := which.on(a.picture("drift MODEL", "Draw the drift of a model's inputs and answers, each figure with its interval and limit", cobra.ExactArgs(1), func(ctx context.Context, c *caller, args []string) (chart.Drawing, error) {
		answer, err := v1.Fetch[v1.Scorecard](c.GetScorecard(ctx, args[0], &v1.GetScorecardParams{Tenant: c.tenant, Version: which.version, Region: which.region}))
		if err != nil {
			return nil, err
		}
		var card scorecard.Card
		if err := json.Unmarshal([]byte(answer.Card), &card); err != nil {
			return nil, fmt.Errorf("the card: %w", err)
		}
		return plot.Drift(args[0], card), nil
	}))

	var metric string
	rollout := a.picture("canary PROMOTION", "Draw a rollout's confidence sequence against its margin, step by step", cobra.ExactArgs(1), func(ctx context.Context, c *caller, args []string) (chart.Drawing, error) {
		r, err := v1.Fetch[v1.Rollout](c.GetCanary(ctx, args[0], &v1.GetCanaryParams{Tenant: c.tenant}))
		if err != nil {
			return nil, err
		}
		looks := make([]canary.Look, len(r.Looks))
		for i, text := range r.Looks {
			if err := json.Unmarshal(text, &looks[i]); err != nil {
				return nil, fmt.Errorf("look of %s: %w", args[0], err)
			}
		}
		return sequenceOf(looks, metric)
	})
	rollout.Flags().StringVar(&metric, "metric", "", "guardrail that is drawn (default: the first)")

	routing := a.picture("routing", "Draw the latency between regions and endpoints against the budget of P6", cobra.NoArgs, func(ctx context.Context, c *caller, _ []string) (chart.Drawing, error) {
		m, err := v1.Fetch[v1.RegionMap](c.ListRegions(ctx, &v1.ListRegionsParams{Tenant: c.tenant}))
		return plot.Routing(m), err
	})
	cmd.AddCommand(convergence, privacy, drift, rollout, routing)
	return cmd
}

// sequenceOf is the drawing of one guardrail of a rollout.
func sequenceOf(looks []canary.Look, metric string) (chart.Drawing, error) {
	names, drawn := plot.Metrics(looks), plot.Canary(looks)
	at := 0
	if metric != "" {
		at = slices.Index(names, metric)
	}
	switch {
	case len(drawn) == 0:
		return nil, errors.New("the rollout has not looked at anything yet\n  follow it with: fabric rollout show PROMOTION --watch")
	case at < 0:
		return nil, usage(fmt.Errorf("--metric %q: the rollout looks at %s", metric, strings.Join(names, ", ")))
	}
	return drawn[at], nil
}

// picture is a command that fetches something and draws it.
func (a *app) picture(use, short string, args cobra.PositionalArgs, draw func(ctx context.Context, c *caller, args []string) (chart.Drawing, error)) *cobra.Command {
	var file string
	cmd := a.command(use, short, args, func(c *caller, cmd *cobra.Command, args []string) error {
		drawing, err := draw(cmd.Context(), c, args)
		if err != nil {
			return err
		}
		svg := chart.File(drawing)
		if file == "" {
			_, err := c.Out.Write(svg)
			return err
		}
		if err := os.WriteFile(file, svg, 0o644); err != nil {
			return usage(err)
		}
		return c.print(map[string]string{"file": file}, func(w *tabwriter.Writer) { fmt.Fprintf(w, "wrote %s\n", file) })
	})
	cmd.Flags().StringVarP(&file, "file", "f", "", "SVG file to write (default: standard output)")
	return cmd
}
