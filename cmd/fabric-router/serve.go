package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Route calls of models: POST /invoke, GET /router/active, /router/decisions/{id}, /health, /metrics",
		Long: `Routes calls of models to the runtimes that the signed snapshot permits. On SIGHUP or SIGUSR2 it starts its program anew, hands its
listener over, and ends when its last request is answered: no connection is refused meanwhile.

Settings (environment): FABRIC_LISTEN, FABRIC_STATE_DIR, FABRIC_REGION (empty for a router that belongs to no region),
FABRIC_SNAPSHOT_URL, FABRIC_SNAPSHOT_TOKEN or FABRIC_SNAPSHOT_TOKEN_FILE, FABRIC_TRUST_POLICY and FABRIC_TRUST_ROOT, or FABRIC_TRUST_KEY (public key file), FABRIC_JWKS
(file or https URL) and FABRIC_ISSUER of the callers' tokens, SIMULATION_MODE.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := load(environ, listen, region, state)
			if err != nil {
				return err
			}
			o.environ, o.args = environ, os.Args[1:]
			return serve(cmd.Context(), c, o, log)
		},
	}
	flags(cmd, &listen, &region, &state)
	cmd.Flags().DurationVar(&o.maxAge, "max-age", time.Hour, "age from which an unconfirmed snapshot is called stale; it goes on being used")
	cmd.Flags().Int64Var(&o.spoolBytes, "spool-bytes", 64<<20, "decision records that are kept on disk, in bytes; the oldest go first")
	cmd.Flags().StringSliceVar(&o.strict, "strict-records", nil, "tenants whose calls are answered when their record is on disk, and not before; * for all")
	return cmd
}

// serveOptions are the flags of serve.
type serveOptions struct {
	maxAge     time.Duration
	spoolBytes int64
	strict     []string
	environ    []string // of the process
	args       []string // that the process was started with
}

// serve runs the router until ctx ends.
func serve(ctx context.Context, c config.Config, o serveOptions, log io.Writer) error {
	verifier, keys, err := callers(c)
	if err != nil {
		return err
	}
	sink, err := decisions(c)
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
	listener, err := router.Listen(c.Listen, o.environ)
	if err != nil {
		return fmt.Errorf("FABRIC_LISTEN: %w", err)
	}
	defer listener.Close()

	var follows *follow.Follower
	r, err := router.New(router.Options{
		Region: c.Region, Version: version, Verifier: verifier, Simulation: c.Simulation(), Listener: listener.Addr(), StateDir: c.StateDir,
		Client: router.NewClient(nil), Log: tel.Log, Registry: tel.Registry,
		Confirmed: func() time.Time { return follows.State().Confirmed }, MaxAge: o.maxAge, Now: time.Now,
		Sink: sink, Gone: listener.Gone, Beside: listener.Beside, SpoolBytes: o.spoolBytes, Strict: o.strict,
	})
	if err != nil {
		return err
	}
	if follows, err = follower(c, by, tel, r.Use, nil); err != nil {
		return err
	}
	offline := follows.Load()
	tel.Log.Info("listening", "address", listener.Addr().String(), "region", c.Region, "simulation", c.Simulation(), "snapshot", follows.State().Version, "kept", offline)
	replace := func(ctx context.Context) error {
		program, err := os.Executable()
		if err != nil {
			return err
		}
		pid, err := (&router.Successor{Program: program, Args: o.args, Environ: o.environ, Log: log, Within: time.Minute}).Start(ctx, listener)
		if err == nil {
			tel.Log.Info("successor", "pid", pid)
		}
		return err
	}
	return serveUntil(ctx, listener, r.Handler(), tel.Log, replace, r.Run, func(ctx context.Context) error {
		follows.Run(ctx)
		return nil
	}, func(ctx context.Context) error {
		collect(ctx, o.environ)
		return nil
	}, func(ctx context.Context) error {
		// A predecessor goes on until this process can decide.
		return listener.Ready(ctx, r.Decides)
	}, func(ctx context.Context) error {
		if keys != nil {
			keys.Run(ctx)
		}
		return nil
	})
}

// decisions returns where decision records are shipped to: beside the snapshot.
func decisions(c config.Config) (router.Sink, error) {
	at, err := snapshotURL(c)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: time.Minute,
	}}
	return router.NewSink(client, strings.TrimSuffix(at, "snapshot")+"decisions", c.SnapshotToken.Reveal()), nil
}

// callers returns who checks the callers' tokens. Without an issuer only
// simulated callers are served, and only in simulation.
func callers(c config.Config) (*token.Verifier, *token.KeyFile, error) {
	if c.JWKS == "" {
		if !c.Simulation() {
			return nil, nil, fmt.Errorf("%w: set FABRIC_JWKS and FABRIC_ISSUER: outside simulation every caller presents a token", config.ErrSetting)
		}
		return nil, nil, nil
	}
	if c.Env == "prod" && c.Issuer == "https://dev.invalid/fabric" {
		return nil, nil, fmt.Errorf("%w: FABRIC_ISSUER: the development issuer is refused in production", config.ErrSetting)
	}
	keys, err := token.NewKeyFile(c.JWKS, filepath.Join(c.StateDir, "callers.jwks.json"), nil, time.Now)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: FABRIC_JWKS: %w", config.ErrSetting, err)
	}
	return token.NewVerifier(keys, c.Issuer, "fabric", time.Now), keys, nil
}
