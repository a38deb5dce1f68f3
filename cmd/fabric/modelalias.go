package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
)

func newModelAlias(a *app) *cobra.Command {
	var environment, keyPath, at string
	var version int
	var history bool
	cmd := a.command("alias MODEL [ALIAS]", "Show where aliases stand or stood; with --to, sign a move of one and make it", cobra.RangeArgs(1, 2), func(c *caller, cmd *cobra.Command, args []string) error {
		if version == 0 {
			return c.listAliases(cmd, args[0], at, history)
		}
		if len(args) != 2 {
			return usage(errors.New("name the alias that is to move"))
		}
		key, done, err := c.signingKey(cmd.Context(), keyPath)
		if err != nil {
			return err
		}
		defer done()
		heads, err := v1.Fetch[v1.AliasList](c.ListAliases(cmd.Context(), args[0], &v1.ListAliasesParams{Tenant: c.tenant}))
		if err != nil {
			return err
		}
		var head modelpack.Head
		for _, h := range heads.Items {
			if string(h.Environment) == environment && h.Alias == args[1] {
				head = modelpack.Head{Sequence: h.Sequence, Version: h.Version, Package: artifact.Digest(h.Package)}
			}
		}
		manifest, err := v1.Content(c.DownloadModel(cmd.Context(), args[0], c.part(modelRef{model: args[0], version: version}, "manifest")))
		if err != nil {
			return err
		}
		if c.tenant == "" {
			return usage(errors.New("name the tenant: --tenant or FABRIC_TENANT"))
		}
		move := head.Next(c.tenant, args[0], environment, args[1], version, time.Now())
		statement, err := artifact.NewStatement(args[0], artifact.DigestOf(manifest), artifact.PredicateAlias, move)
		if err != nil {
			return err
		}
		bundle, err := artifact.SignStatement(rand.Reader, key, statement)
		if err != nil {
			return err
		}
		moved, err := v1.Fetch[v1.Alias](c.MoveAlias(cmd.Context(), args[0], &v1.MoveAliasParams{Tenant: c.tenant}, v1.AliasMove{Version: version, Bundle: string(bundle)}))
		if err != nil {
			return err
		}
		return c.printAliases(v1.AliasList{Items: []v1.Alias{moved}})
	})
	f := cmd.Flags()
	f.IntVar(&version, "to", 0, "version that the alias is to name")
	f.StringVar(&environment, "environment", "production", "dev, staging or production")
	f.StringVar(&keyPath, "key", "", keyHelp+" (default: COSIGN_KEY_PATH or FABRIC_PKCS11_URI)")
	f.StringVar(&at, "at", "", "where the aliases stood at this time (RFC 3339)")
	f.BoolVar(&history, "history", false, "the last hundred moves, newest first")
	return cmd
}

func (c *caller) listAliases(cmd *cobra.Command, model, at string, history bool) error {
	params := &v1.ListAliasesParams{Tenant: c.tenant, History: history}
	if at != "" {
		var err error
		if params.At, err = time.Parse(time.RFC3339, at); err != nil {
			return usage(fmt.Errorf("--at: %w", err))
		}
	}
	list, err := v1.Fetch[v1.AliasList](c.ListAliases(cmd.Context(), model, params))
	if err != nil {
		return err
	}
	return c.printAliases(list)
}

func (c *caller) printAliases(list v1.AliasList) error {
	return c.print(list, func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "ENVIRONMENT\tALIAS\tVERSION\tPACKAGE\tMOVE\tBY\tAT")
		for _, a := range list.Items {
			by := a.Actor
			if a.Action != "" {
				by = a.Action
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%s\t%s\n", a.Environment, a.Alias, a.Version, short(a.Package), a.Sequence, by, a.At.Format(time.RFC3339))
		}
	})
}
