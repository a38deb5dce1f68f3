package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/internal/config"
)

func newConfig(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Show settings, where each came from, and an example file"}
	cmd.AddCommand(&cobra.Command{
		Use:   "example",
		Short: "Print a configuration file that names every setting",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(a.Out, config.Example())
			return err
		},
	})
	cmd.AddCommand(&cobra.Command{
		Use:   "show",
		Short: "Print which settings are given and from where; no value of a secret, ever",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.showConfig() },
	})
	return cmd
}

func (a *app) showConfig() error {
	c, err := a.config()
	if err != nil {
		return err
	}
	type row struct {
		Name   string `json:"name"`
		Set    bool   `json:"set"`
		Origin string `json:"origin"`
		Doc    string `json:"doc"`
	}
	var rows []row
	for _, f := range config.Fields() {
		rows = append(rows, row{f.Env, c.Set(f.Env), c.Origin(f.Env), f.Doc})
	}
	return a.print(rows, func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "SETTING\tORIGIN\tMEANING")
		for _, r := range rows {
			fmt.Fprintf(w, "%s\t%s\t%s\n", r.Name, r.Origin, r.Doc)
		}
	})
}
