package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

// newFeatureStatistics shows what is published about a feature, and with an
// epsilon publishes it.
func newFeatureStatistics(a *app) *cobra.Command {
	var body v1.StatisticsRequest
	var params v1.GetFeatureStatisticsParams
	var columns []string
	var wait bool
	cmd := a.command("statistics FEATURE", "Show a feature's published statistics; with --epsilon, charge its budget and publish them", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		var err error
		if body.Columns, err = boundsOf(columns); err != nil {
			return usage(err)
		}
		look := func() (v1.FeatureStatistics, error) {
			return v1.Fetch[v1.FeatureStatistics](c.GetFeatureStatistics(cmd.Context(), c.tenant, args[0], &params))
		}
		var s v1.FeatureStatistics
		if cmd.Flags().Changed("epsilon") {
			if params.Owner != "" || params.Version != 0 {
				return usage(errors.New("--epsilon publishes the version in use of an own feature: leave out --owner and --version"))
			}
			s, err = v1.Fetch[v1.FeatureStatistics](c.PublishFeatureStatistics(cmd.Context(), c.tenant, args[0], nil, body))
		} else {
			for _, flag := range []string{"column", "bins", "purpose", "seconds"} {
				if cmd.Flags().Changed(flag) {
					return usage(fmt.Errorf("--%s is for publishing, which needs --epsilon", flag))
				}
			}
			s, err = look()
		}
		for err == nil && wait && s.EndedAt.IsZero() {
			select {
			case <-cmd.Context().Done():
				return cmd.Context().Err()
			case <-time.After(200 * time.Millisecond):
			}
			was := s.Before
			s, err = look()
			s.Before = was
		}
		if err != nil {
			return err
		}
		if err := c.print(s, func(w *tabwriter.Writer) { statistics(w, s) }); err != nil {
			return err
		}
		if wait && s.State == v1.FeatureStatisticsStateFailed {
			return fmt.Errorf("statistics of %s were not published: %s", args[0], s.Cause)
		}
		return nil
	})
	f := cmd.Flags()
	f.Float64Var(&body.Epsilon, "epsilon", 0, "publish: what all figures together may tell of one row, at the delta of the feature's budget")
	f.StringArrayVar(&columns, "column", nil, "column to publish, with its public bounds: NAME=LOW:HIGH, or NAME with those of the feature (default: every column of numbers)")
	f.IntVar(&body.Bins, "bins", 0, "bins of each histogram (default 32)")
	f.StringVar(&body.Purpose, "purpose", "", "term of the Data Use Ontology, where the tenant's own grant asks for one")
	f.IntVar(&body.Seconds, "seconds", 0, "how long sites may take (default 300)")
	f.BoolVar(&wait, "wait", false, "wait for the end")
	f.StringVar(&params.Owner, "owner", "", "owner of the feature, another tenant that grants you stats")
	f.IntVar(&params.Version, "version", 0, "version (default: the one in use)")
	return cmd
}

// boundsOf reads NAME=LOW:HIGH. The last = divides, for a name may hold one.
func boundsOf(columns []string) (out []v1.StatisticsColumn, err error) {
	for _, text := range columns {
		at := strings.LastIndex(text, "=")
		if at < 0 {
			out = append(out, v1.StatisticsColumn{Name: text})
			continue
		}
		low, high, ok := strings.Cut(text[at+1:], ":")
		l, err := strconv.ParseFloat(low, 64)
		h, err2 := strconv.ParseFloat(high, 64)
		if !ok || err != nil || err2 != nil || at == 0 {
			return nil, fmt.Errorf("column %q: NAME=LOW:HIGH, two numbers", text)
		}
		out = append(out, v1.StatisticsColumn{Name: text[:at], Low: &l, High: &h})
	}
	return out, nil
}

func statistics(w *tabwriter.Writer, s v1.FeatureStatistics) {
	fmt.Fprintf(w, "%s/%s version %d: %s\n", s.Tenant, s.FeatureID, s.Version, s.State)
	if s.Cause != "" {
		fmt.Fprintf(w, "%s\n", s.Cause)
	}
	if s.Before {
		fmt.Fprintln(w, "it was asked for before: nothing was charged now, and what was asked for now is not looked at")
	}
	fmt.Fprintf(w, "epsilon %g at delta %g, for all figures together; discrete Gaussian noise, multiplier %.4g; one row is one contributor\n", s.Epsilon, s.Delta, s.NoiseMultiplier)
	fmt.Fprintf(w, "%d of %d sites answered\n", s.SitesAnswered, s.SitesAsked)
	if s.Count == (v1.StatisticsFigure{}) {
		return
	}
	fmt.Fprintf(w, "rows %s\n", interval(s.Count.Value, s.Count.Low, s.Count.High))
	if len(s.Columns) == 0 || len(s.Columns[0].Quantiles) == 0 {
		return
	}
	fmt.Fprintf(w, "each interval holds the exact figure in %g %% of draws of the noise; values are clipped to the bounds\n\nCOLUMN\tBOUNDS\tMEAN\tVARIANCE", 100*s.Level)
	for _, q := range s.Columns[0].Quantiles {
		fmt.Fprintf(w, "\tP%g", 100*q.Share)
	}
	fmt.Fprintln(w)
	for _, c := range s.Columns {
		fmt.Fprintf(w, "%s\t%g..%g\t%s\t%s", c.Name, c.Low, c.High, interval(c.Mean.Value, c.Mean.Low, c.Mean.High), interval(c.Variance.Value, c.Variance.Low, c.Variance.High))
		for _, q := range c.Quantiles {
			fmt.Fprintf(w, "\t%s", interval(q.Value, q.Low, q.High))
		}
		fmt.Fprintln(w)
	}
}

func interval(value, low, high float64) string {
	return fmt.Sprintf("%.4g [%.4g, %.4g]", value, low, high)
}
