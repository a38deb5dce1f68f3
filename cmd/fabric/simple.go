package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/internal/issuer"
	"github.com/atom-fabric/fabric/internal/postgres"
	"github.com/atom-fabric/fabric/internal/precheck"
	"github.com/atom-fabric/fabric/internal/registry"
)

func newRegistry(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "registry",
		Short: "Serve the embedded OCI registry on FABRIC_LISTEN, from the state directory",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			if c.Listen == "" {
				return usage(fmt.Errorf("set FABRIC_LISTEN to host:port"))
			}
			log, err := a.logger(cmd.Context(), c)
			if err != nil {
				return err
			}
			r, err := registry.Open(absolute(c.StateDir, registryFolder), log)
			if err != nil {
				return err
			}
			defer r.Close()
			return serve(cmd.Context(), c.Listen, r)
		},
	}
}

func newMigrate(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema up to this version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			return postgres.Migrate(cmd.Context(), c.PostgresDSN.Reveal())
		},
	}
}

func newPrecheck(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "precheck",
		Short: "Say what is set, what is missing, and whether this runs for real; write reports/",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			report, now := precheck.Decide(c), time.Now()
			if err := report.Write(dir, now); err != nil {
				return err
			}
			if err := a.print(report, func(w *tabwriter.Writer) { fmt.Fprint(w, report.Text(now)) }); err != nil {
				return err
			}
			if report.Decision == precheck.Block {
				return fmt.Errorf("%w; see %s/%s", precheck.ErrBlocked, dir, precheck.BlockFile)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "reports", "reports", "directory to write to")
	return cmd
}

func newHealthcheck(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask this machine's gateway whether it is healthy; for containers, which have no shell",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 3*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+strconv.Itoa(c.PortBase)+"/health", nil)
			if err != nil {
				return err
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return &exitError{exitUnavailable, err}
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return &exitError{exitUnavailable, fmt.Errorf("the gateway answers %s", resp.Status)}
			}
			return nil
		},
	}
}

func newToken(a *app) *cobra.Command {
	var tenant, subject string
	var roles []string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Mint a token of the development issuer, for trying things out",
		Long:  "Prints a token that the API of the same state directory accepts, until it is replaced by an identity provider (FABRIC_JWKS).",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			if c.Env == "prod" {
				return usage(fmt.Errorf("FABRIC_ENV=prod: tokens come from your identity provider"))
			}
			i, err := issuer.Open(absolute(c.StateDir, "issuer"), issuerName(c))
			if err != nil {
				return err
			}
			text, err := i.Mint(tenant, subject, roles, ttl)
			if err != nil {
				return usage(err)
			}
			return a.printText(map[string]string{"token": text}, "%s\n", text)
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "tenant of the caller")
	cmd.Flags().StringVar(&subject, "subject", "me", "name of the caller")
	cmd.Flags().StringSliceVar(&roles, "role", []string{"data-scientist"}, "data-scientist, operator, approver, auditor, admin, data-plane")
	cmd.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long it holds, at most 24h")
	must(cmd.MarkFlagRequired("tenant"))
	cmd.AddCommand(newTokenRevoke(a), newTokenRevocations(a))
	return cmd
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		GroupID: "run",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.printText(map[string]string{"version": version, "commit": commit}, "%s (%s)\n", version, commit)
		},
	}
}
