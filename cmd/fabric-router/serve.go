package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/internal/anchor"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/follow"
	"github.com/atom-fabric/fabric/internal/router"
	"github.com/atom-fabric/fabric/internal/token"
)

func newServe(environ []string, log io.Writer) *cobra.Command {
	var listen, region, state string
	var maxAge time.Duration
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Route calls of models: POST /invoke, GET /router/active, /router/decisions/{id}, /health, /metrics",
		Long: `Routes calls of models to the runtimes that the signed snapshot permits.

Settings (environment): FABRIC_LISTEN, FABRIC_STATE_DIR, FABRIC_REGION (empty for a router that belongs to no region),
FABRIC_SNAPSHOT_URL, FABRIC_SNAPSHOT_TOKEN or FABRIC_SNAPSHOT_TOKEN_FILE, FABRIC_TRUST_POLICY and FABRIC_TRUST_ROOT, or FABRIC_TRUST_KEY (public key file), FABRIC_JWKS
(file or https URL) and FABRIC_ISSUER of the callers' tokens, SIMULATION_MODE.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := load(environ, listen, region, state)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), c, maxAge, log)
		},
	}
	flags(cmd, &listen, &region, &state)
	cmd.Flags().DurationVar(&maxAge, "max-age", time.Hour, "age from which an unconfirmed snapshot is called stale; it goes on being used")
	return cmd
}

// serve runs the router until ctx ends.
func serve(ctx context.Context, c config.Config, maxAge time.Duration, log io.Writer) error {
	verifier, err := callers(c)
	if err != nil {
		return err
	}
	tel, err := observe(ctx, c, "router", log)
	if err != nil {
		return err
	}
	defer tel.Close(context.WithoutCancel(ctx)) //nolint:errcheck // no spans are exported here
	by, err := anchor.From(c, tel.Log)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("FABRIC_LISTEN: %w", err)
	}
	defer listener.Close()

	var follows *follow.Follower
	r, err := router.New(router.Options{
		Region: c.Region, Version: version, Verifier: verifier, Simulation: c.Simulation(), Listener: listener.Addr(), StateDir: c.StateDir,
		Client: router.NewClient(), Log: tel.Log, Registry: tel.Registry,
		Confirmed: func() time.Time { return follows.State().Confirmed }, MaxAge: maxAge, Now: time.Now,
	})
	if err != nil {
		return err
	}
	if follows, err = follower(c, by, tel, r.Use); err != nil {
		return err
	}
	offline := follows.Load()
	tel.Log.Info("listening", "address", listener.Addr().String(), "region", c.Region, "simulation", c.Simulation(), "snapshot", follows.State().Version, "kept", offline)
	return serveUntil(ctx, listener, r.Handler(), tel.Log, r.Run, func(ctx context.Context) error {
		follows.Run(ctx)
		return nil
	})
}

// callers returns who checks the callers' tokens. Without an issuer only
// simulated callers are served, and only in simulation.
func callers(c config.Config) (*token.Verifier, error) {
	if c.JWKS == "" {
		if !c.Simulation() {
			return nil, fmt.Errorf("%w: set FABRIC_JWKS and FABRIC_ISSUER: outside simulation every caller presents a token", config.ErrSetting)
		}
		return nil, nil
	}
	if c.Env == "prod" && c.Issuer == "https://dev.invalid/fabric" {
		return nil, fmt.Errorf("%w: FABRIC_ISSUER: the development issuer is refused in production", config.ErrSetting)
	}
	keys, err := token.NewKeyFile(c.JWKS, filepath.Join(c.StateDir, "callers.jwks.json"), nil, time.Now)
	if err != nil {
		return nil, fmt.Errorf("%w: FABRIC_JWKS: %w", config.ErrSetting, err)
	}
	return token.NewVerifier(keys, c.Issuer, "fabric", time.Now), nil
}
