package main

import (
	"encoding/json"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

// newScorecard is what is known of a model, as numbers or as a page.
func newScorecard(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "scorecard", Short: "What is measured of a model: performance, calibration, fairness, drift, resilience, privacy"}
	cmd.AddCommand(newScorecardShow(a), newScorecardReport(a))
	return cmd
}

// A cardFlags says whose card is meant.
type cardFlags struct {
	version int
	region  string
}

func (f *cardFlags) on(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().IntVar(&f.version, "version", 0, "version that is judged (default: the newest run)")
	cmd.Flags().StringVar(&f.region, "region", "", "what one region measured (default: all of them)")
	return cmd
}

func newScorecardShow(a *app) *cobra.Command {
	var which cardFlags
	return which.on(a.command("show MODEL", "Show the scorecard of a model", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		answer, err := v1.Fetch[v1.Scorecard](c.GetScorecard(cmd.Context(), args[0], &v1.GetScorecardParams{Tenant: c.tenant, Version: which.version, Region: which.region}))
		if err != nil {
			return err
		}
		var card scorecard.Card
		if err := json.Unmarshal([]byte(answer.Card), &card); err != nil {
			return fmt.Errorf("the card: %w", err)
		}
		gate := card.Gate()
		return c.print(answer, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "MODEL\tSTATUS\tOVERALL\tPROMOTION\n%s\t%s\t%d\t%s\n\n", answer.ModelID, card.Status, card.Overall, gate.Decision)
			fmt.Fprintf(w, "DIMENSION\tSTATUS\tSCORE\tCRITICAL\n")
			for _, d := range card.Dimensions {
				fmt.Fprintf(w, "%s\t%s\t%d\t%t\n", d.Name, d.Status, d.Score, d.Critical)
			}
			for _, reason := range gate.Reasons {
				fmt.Fprintf(w, "\n%s\n", reason)
			}
		})
	}))
}

func newScorecardReport(a *app) *cobra.Command {
	var which cardFlags
	var file string
	cmd := which.on(a.command("report MODEL", "Write the scorecard of a model as a report: -o html with plots, md, prometheus or json", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		format := c.output
		if !cmd.Flags().Changed("output") {
			format = "html"
		}
		var content []byte
		var err error
		switch format {
		case "json":
			var card v1.Scorecard
			card, err = v1.Fetch[v1.Scorecard](c.GetScorecard(cmd.Context(), args[0], &v1.GetScorecardParams{Tenant: c.tenant, Version: which.version, Region: which.region}))
			content = append([]byte(card.Card), '\n')
		case "html", "md", "prometheus":
			content, err = v1.Content(c.GetScorecardReport(cmd.Context(), args[0], &v1.GetScorecardReportParams{
				Tenant: c.tenant, Version: which.version, Region: which.region, Format: v1.GetScorecardReportParamsFormat(format),
			}))
		default:
			return usage(fmt.Errorf("--output %q: choose html, md, prometheus or json", format))
		}
		if err != nil {
			return err
		}
		if file != "" {
			return os.WriteFile(file, content, 0o644)
		}
		_, err = c.Out.Write(content)
		return err
	}))
	cmd.Annotations = map[string]string{moreForms: "html,md,prometheus,json"}
	cmd.Flags().StringVarP(&file, "file", "f", "", "where to write it (default: standard output)")
	return cmd
}
