package main

import (
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
)

func newModel(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "model", Short: "List models and their versions, send, fetch, verify and compare packages, move aliases"}

	list := a.command("list", "Show the models of the tenant", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		page, err := v1.Fetch[v1.ModelPage](c.ListModels(cmd.Context(), &v1.ListModelsParams{Tenant: c.tenant}))
		if err != nil {
			return err
		}
		return c.print(page, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "MODEL\tLATEST\tPRODUCTION\tSTAGING\tDEV")
			for _, m := range page.Items {
				fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\n", m.ID, m.Latest, m.Champions["production"], m.Champions["staging"], m.Champions["dev"])
			}
		})
	})
	show := a.command("show MODEL", "Show a model with its versions", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		m, err := v1.Fetch[v1.Model](c.GetModel(cmd.Context(), args[0], &v1.GetModelParams{Tenant: c.tenant}))
		if err != nil {
			return err
		}
		return c.print(m, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "VERSION\tTAINTED\tPACKAGE\tWEIGHTS\tRUN\tROUND\tACCURACY\tREGISTERED")
			for _, v := range m.Versions {
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", v.Version, tainted(v), short(v.Package.Digest), short(v.Weights.Digest), v.Run, v.Round, percent(v.Metrics), v.RegisteredAt.Format(time.RFC3339))
			}
			for _, v := range m.Versions {
				for _, why := range v.Tainted {
					fmt.Fprintf(w, "version %d: %s\n", v.Version, why)
				}
			}
		})
	})

	cmd.AddCommand(list, show, newModelPull(a), newModelExport(a), newModelPush(a), newModelVerify(a), newModelDiff(a), newModelAlias(a), newModelHistory(a), newReplicas(a), newReplicate(a))
	return cmd
}

// tainted says in a word whether a withdrawal of consent reaches a version.
func tainted(v v1.ModelVersion) string {
	switch {
	case v.Blocked:
		return "yes, blocked"
	case len(v.Tainted) > 0:
		return "yes"
	}
	return "no"
}

// streaming returns a client without a limit on how long a body takes; its
// calls end with their context.
func (c *caller) streaming() (*v1.Client, error) {
	settings, err := c.config()
	if err != nil {
		return nil, err
	}
	return v1.New(strings.TrimRight(settings.APIURL, "/"), settings.Token.Reveal(), &http.Client{})
}
