package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/canary"
)

// canaryFlags are what of a rollout's design is said on the command line.
type canaryFlags struct {
	shares, shadow        string
	margin, latency, risk float64
	answers, planned      int
	copies                int
	bake, look, deadline  time.Duration
}

func (c *canaryFlags) add(f *pflag.FlagSet) {
	f.StringVar(&c.shares, "canary", "", "shares of the answers in percent, as 1,5,25,50,100; \"usual\" or \"none\" (default: usual in production, else none)")
	f.StringVar(&c.shadow, "shadow", "", "before the first share, send the version a copy of so many percent of the requests, as 10%, and discard its answers (default: none)")
	f.IntVar(&c.copies, "shadow-answers", 0, "copies in a region before its shadow may pass (default: as --answers)")
	f.Float64Var(&c.margin, "margin", 0, "errors may be up by so many percentage points (default 2)")
	f.Float64Var(&c.latency, "latency-margin", 0, "the mean latency may be up by so many percent (default 20)")
	f.IntVar(&c.answers, "answers", 0, "answers on either side before a step may pass (default 500)")
	f.IntVar(&c.planned, "planned-answers", 0, "answers of both sides at which the test is sharpest (default: four times --answers)")
	f.Float64Var(&c.risk, "alpha", 0, "chance of a false alarm in the whole rollout, in percent (default 5)")
	f.DurationVar(&c.bake, "bake", 0, "time that a step takes at least (default 30m)")
	f.DurationVar(&c.look, "look", 0, "time between two looks (default 5m)")
	f.DurationVar(&c.deadline, "deadline", 0, "time after which a person is asked about a step (default 4h)")
}

// request returns what was said, and nothing for what was not.
func (c *canaryFlags) request() (v1.CanaryRequest, error) {
	out := v1.CanaryRequest{
		BakeSeconds: int(c.bake / time.Second), LookSeconds: int(c.look / time.Second), DeadlineSeconds: int(c.deadline / time.Second),
		Answers: c.answers, PlannedAnswers: c.planned,
		ErrorMarginBp: basis(c.margin), LatencyMarginBp: basis(c.latency), AlphaBp: basis(c.risk),
		ShadowAnswers: c.copies,
	}
	if c.shadow != "" {
		share, ok := shareOf(strings.TrimSuffix(c.shadow, "%"))
		if !ok {
			return out, usage(fmt.Errorf("--shadow: %q is no share in percent", c.shadow))
		}
		out.ShadowBp = share
	}
	switch c.shares {
	case "":
	case "none":
		out.None = true
	case "usual":
		out.Usual = true
	default:
		for _, text := range strings.Split(c.shares, ",") {
			share, ok := shareOf(text)
			if !ok {
				return out, usage(fmt.Errorf("--canary: %q is no share in percent", text))
			}
			out.SharesBp = append(out.SharesBp, share)
		}
	}
	return out, nil
}

// shareOf reads a share of more than nothing in percent, as basis points.
func shareOf(text string) (bp int, ok bool) {
	share, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	return basis(share), err == nil && share > 0 && share <= 100
}

// basis returns percent as basis points.
func basis(percent float64) int { return int(math.Round(100 * percent)) }

func newRollout(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "rollout", Short: "See and steer the rollout of a promotion"}
	var watch *bool
	show := a.command("show PROMOTION", "Show where a rollout is, and what each step showed", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		return c.see(cmd.Context(), *watch, func(ctx context.Context) (sight, error) {
			r, err := v1.Fetch[v1.Rollout](c.GetCanary(ctx, args[0], &v1.GetCanaryParams{Tenant: c.tenant}))
			return sight{r, func(w *tabwriter.Writer) { rolloutRows(w, r) }, ended(r.State), outcome("rollout "+r.ID, r.State, "")}, err
		})
	})
	watch = a.watchable(show, "it has ended; one that went back ends with status 1")
	cmd.AddCommand(show)
	for _, s := range []struct{ do, short string }{
		{"pause", "Hold the share where it is; what fails still goes back"},
		{"resume", "Go on with the step, with a new deadline"},
		{"abort", "Go back to what served before, at once"},
	} {
		var reason string
		one := a.command(s.do+" PROMOTION", s.short, cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
			state, err := v1.Fetch[v1.RolloutState](c.SteerCanary(cmd.Context(), args[0], &v1.SteerCanaryParams{Tenant: c.tenant}, v1.SteerRequest{Do: v1.SteerRequestDo(s.do), Reason: reason}))
			if err != nil {
				return err
			}
			return c.print(state, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "%s: %s at %s\n", args[0], map[string]string{"pause": "paused", "resume": "goes on", "abort": "goes back"}[s.do], stepOf(state.Step))
			})
		})
		one.Flags().StringVar(&reason, "reason", "", "why, for the record")
		cmd.AddCommand(one)
	}
	return cmd
}

func stepOf(s v1.RolloutStep) canary.Step {
	return canary.Step{Number: s.Number, Region: s.Region, ShareBP: s.ShareBp, MirrorBP: s.MirrorBp}
}

func rolloutRows(w *tabwriter.Writer, r v1.Rollout) {
	fmt.Fprintf(w, "%s: %s", r.ID, r.State)
	if r.Step.Number > 0 {
		fmt.Fprintf(w, ", step %d, %s", r.Step.Number, stepOf(r.Step))
	}
	if r.Paused {
		fmt.Fprint(w, ", paused")
	}
	fmt.Fprintln(w)
	if len(r.Looks) > 0 {
		fmt.Fprintln(w, "\nSTEP\tMETRIC\tVERDICT\tWORSE BY\tBOUNDS\tMARGIN\tANSWERS")
	}
	for _, text := range r.Looks {
		var look canary.Look
		if json.Unmarshal(text, &look) != nil {
			continue
		}
		for _, f := range look.Findings {
			fmt.Fprintf(w, "%s\t%s\t%s\t%+.2f %%\t[%+.2f, %+.2f]\t%.2f\t%d / %d\n", look.Step, f.Metric, f.Verdict,
				100*f.Estimate, 100*f.Low, 100*f.High, 100*f.Margin, look.Control.Answers, look.Canary.Answers)
		}
	}
	fmt.Fprintln(w, "\nWHEN\tSTEP\tWHAT\tVERDICT\tWHO\tWORDS")
	for _, f := range r.Facts {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", f.At.Format(time.RFC3339), stepOf(f.Step), f.Kind, f.Verdict, f.Actor, f.Words)
	}
}

func newModelHistory(a *app) *cobra.Command {
	var at string
	cmd := a.command("history MODEL", "Show what a model answered at a time, region by region, and who had let it", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		params := &v1.GetModelHistoryParams{Tenant: c.tenant}
		if at != "" {
			when, err := time.Parse(time.RFC3339, at)
			if err != nil {
				return usage(fmt.Errorf("--at: %q is no time of RFC 3339, as 2026-11-23T08:00:00Z", at))
			}
			params.At = when
		}
		h, err := v1.Fetch[v1.ModelHistory](c.GetModelHistory(cmd.Context(), args[0], params))
		if err != nil {
			return err
		}
		return c.print(h, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "%s at %s: snapshot %d (%s), published %s\n\nENVIRONMENT\tREGION\tSHARE\tVERSION\tPACKAGE\tBY\tASKED BY\tAPPROVED BY\n",
				args[0], h.At.Format(time.RFC3339), h.Snapshot, short(h.SnapshotDigest), h.PublishedAt.Format(time.RFC3339))
			for _, s := range h.Serving {
				var who []string
				for _, v := range s.Mover.Approvals {
					who = append(who, v.Approver+" ("+v.Role+")")
				}
				fmt.Fprintf(w, "%s\t%s\t%g %%\t%d\t%s\t%s\t%s\t%s\n", s.Environment, s.Region, float64(s.ShareBp)/100, s.Version, short(s.Package),
					s.Mover.Action, s.Mover.Requester, strings.Join(who, ", "))
			}
		})
	})
	cmd.Flags().StringVar(&at, "at", "", "a time of RFC 3339 (default: now)")
	return cmd
}
