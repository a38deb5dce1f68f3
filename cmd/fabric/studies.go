package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/tuning"
)

func newStudy(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "study",
		Short: "Look for training parameters by real runs: start studies, watch and stop them",
		Long: "A study tries points of a space by training runs over the sites, each admitted and charged as every run is.\n" +
			"Its runs publish nothing; its best point becomes a suggestion. Over simulations: fabric simulate --study FILE.",
	}
	cmd.AddCommand(newStudyStart(a), newStudyList(a), newStudyShow(a), newStudyStop(a))
	return cmd
}

func newStudyStart(a *app) *cobra.Command {
	var file, params, environment string
	var request v1.StudyRequest
	var p v1.RunParams
	var choice paramFlags
	var watch bool
	cmd := a.command("start MODEL", "Start the study of a file (docs/reference/study.md) over the sites of the tenants", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		study, err := readStudy(file)
		if err != nil {
			return err
		}
		if err := study.OfRuns(); err != nil {
			return usage(fmt.Errorf("%s: %w", file, err))
		}
		request.ModelID, request.Environment = args[0], v1.StudyEnvironment(environment)
		asked(study, &request)
		run := v1.RunRequest{}
		if err := choice.complete(&p, &run); err != nil {
			return usage(err)
		}
		if err := over(params, p, &request.Params); err != nil {
			return usage(err)
		}
		request.From = run.From
		accepted, err := v1.Fetch[v1.RunAccepted](c.StartStudy(cmd.Context(), &v1.StartStudyParams{Tenant: c.tenant}, request))
		if err != nil {
			return err
		}
		if watch {
			return c.see(cmd.Context(), true, c.study(accepted.ID))
		}
		return c.print(accepted, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "STUDY\tWORKFLOW\tTRACE\n%s\t%s\t%s\n", accepted.ID, accepted.WorkflowID, accepted.TraceID)
		})
	})
	f := cmd.Flags()
	f.StringVar(&file, "file", "", "the study (JSON): space, metric, trials")
	f.StringSliceVar(&request.Tenants, "tenants", nil, "tenants whose sites take part")
	f.StringVar(&environment, "environment", "dev", "what the suggestion is for: dev or staging")
	f.IntVar(&request.BudgetRounds, "budget-rounds", 0, "train rounds that all runs together may use (default: no limit)")
	f.StringSliceVar(&request.WarmStart.Studies, "warm-start", nil, "earlier studies of the model to learn from")
	f.BoolVar(&request.WarmStart.Runs, "warm-start-runs", false, "learn from the finished runs of the model")
	f.BoolVar(&request.Apply, "apply", false, "apply the suggestion, through the same gate as any plan")
	f.StringVar(&params, "params", "", "file with the parameters of the runs as JSON; flags win over it")
	f.BoolVar(&watch, "watch", false, "wait for the end and show the trials")
	choice.declare(cmd, &p)
	must(cmd.MarkFlagRequired("file"))
	must(cmd.MarkFlagRequired("tenants"))
	return cmd
}

// asked writes a study as the API reads it.
func asked(study tuning.Study, request *v1.StudyRequest) {
	for _, d := range study.Space {
		request.Space = append(request.Space, v1.StudyDimension{
			Name: v1.StudyDimensionName(d.Name), Kind: v1.StudyDimensionKind(d.Kind), Low: d.Low, High: d.High, Log: d.Log, Values: d.Values,
		})
	}
	for _, limit := range study.Constraints {
		request.Constraints = append(request.Constraints, v1.StudyConstraint{Metric: v1.StudyMetric(limit.Metric), AtMost: limit.AtMost})
	}
	for _, point := range study.Enqueued {
		var settings v1.StudyPoint
		for _, s := range study.Space.Settings(point) {
			settings = append(settings, v1.StudySetting{Name: s.Name, Value: s.Value})
		}
		request.Enqueued = append(request.Enqueued, settings)
	}
	if h := study.Halving; h != nil {
		request.Halving = v1.StudyHalving{First: h.First, Factor: h.Factor}
	}
	request.Metric, request.Goal = v1.StudyMetric(study.Metric), v1.StudyGoal(study.Goal)
	request.Trials, request.Parallel, request.Repeats, request.Seed = study.Trials, study.Parallel, study.Repeats, int64(study.Seed)
}

func newStudyList(a *app) *cobra.Command {
	var status, model string
	cmd := a.command("list", "Show the studies of the tenant, newest first", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		page, err := v1.Fetch[v1.StudyPage](c.ListStudies(cmd.Context(), &v1.ListStudiesParams{Tenant: c.tenant, Status: v1.ListStudiesParamsStatus(status), Model: model}))
		if err != nil {
			return err
		}
		return c.print(page, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "STUDY\tMODEL\tENVIRONMENT\tSTATUS\tTRIALS\tBEST\tROUNDS\tSTARTED")
			for _, s := range page.Items {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d/%d\t%s\t%d\t%s\n", s.ID, s.ModelID, s.Environment, s.Status, s.Made, s.Trials, bestOf(s), s.Spent.Rounds, s.CreatedAt.Format(time.RFC3339))
			}
		})
	})
	cmd.Flags().StringVar(&status, "status", "", "only those that stand so: running, completed, stopped, exhausted or failed")
	cmd.Flags().StringVar(&model, "model", "", "only those of this model")
	return cmd
}

func newStudyShow(a *app) *cobra.Command {
	var watch *bool
	cmd := a.command("show STUDY", "Show a study with its trials, the best of them, and what they cost", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		return c.see(cmd.Context(), *watch, c.study(args[0]))
	})
	watch = a.watchable(cmd, "the study ends")
	return cmd
}

func newStudyStop(a *app) *cobra.Command {
	var reason string
	cmd := a.command("stop STUDY", "Begin no further trial; the runs under way end after their open round", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		accepted, err := v1.Fetch[v1.RunAccepted](c.StopStudy(cmd.Context(), args[0], &v1.StopStudyParams{Tenant: c.tenant}, v1.StopRequest{Reason: reason}))
		if err != nil {
			return err
		}
		return c.print(accepted, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "%s ends when the open rounds of its runs have\n", accepted.ID)
		})
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return cmd
}

// study looks at a study.
func (c *caller) study(id string) func(context.Context) (sight, error) {
	return func(ctx context.Context) (sight, error) {
		s, err := v1.Fetch[v1.Study](c.GetStudy(ctx, id, &v1.GetStudyParams{Tenant: c.tenant}))
		over := s.Status != tuning.StudyRunning
		var failed error
		if s.Status == tuning.StudyFailed {
			failed = fmt.Errorf("study %s failed: %s", s.ID, s.Cause)
		}
		return sight{s, func(w *tabwriter.Writer) { studyRows(w, s) }, over, failed}, err
	}
}

func studyRows(w *tabwriter.Writer, s v1.Study) {
	fmt.Fprintf(w, "study %s of model %s in %s: %s %s\n", s.ID, s.ModelID, s.Environment, s.Status, s.Cause)
	budget := ""
	if s.BudgetRounds > 0 {
		budget = fmt.Sprintf(" of %d", s.BudgetRounds)
	}
	fmt.Fprintf(w, "spent: %d%s train rounds in %d runs, epsilon %s; %d more are held\n", s.Spent.Rounds, budget, s.Spent.Runs, figure(s.Spent.Epsilon), s.Spent.Held)
	if s.Suggestion != "" {
		fmt.Fprintf(w, "suggestion: %s\n", s.Suggestion)
	}
	fmt.Fprintf(w, "TRIAL\tSTATE\t%s\tROUNDS\tPOINT\tRUNS\tCAUSE\n", strings.ToUpper(string(s.Metric)))
	for _, t := range s.Results {
		name, value := strconv.Itoa(t.Number), "-"
		if t.Number == s.Best {
			name += " best"
		}
		if t.Value != nil {
			value = figure(*t.Value)
		}
		if t.Feasible != nil && !*t.Feasible {
			value += " (breaks a constraint)"
		}
		var point []string
		for _, p := range t.Parameters {
			point = append(point, p.Name+"="+p.Value)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", name, t.State, value, t.Rounds, strings.Join(point, " "), cmp.Or(strings.Join(t.Runs, ","), "-"), t.Cause)
	}
}

// bestOf is the number of a study's best trial.
func bestOf(s v1.Study) string {
	if s.Best == 0 {
		return "-"
	}
	return strconv.Itoa(s.Best)
}

func figure(x float64) string { return strconv.FormatFloat(x, 'g', 4, 64) }
