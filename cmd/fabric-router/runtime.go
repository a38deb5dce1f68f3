package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/internal/anchor"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/follow"
	"github.com/atom-fabric/fabric/internal/runtime"
)

func newRuntime(environ []string, log io.Writer) *cobra.Command {
	var listen, region, state string
	var maxWeights int64
	cmd := &cobra.Command{
		Use:   "runtime",
		Short: "Serve the fabric's models in a region by the Open Inference Protocol V2",
		Long: `Pulls the packages that the signed snapshot names for its region, verifies and serves them.

Settings (environment): FABRIC_LISTEN, FABRIC_STATE_DIR, FABRIC_REGION, FABRIC_SNAPSHOT_URL, FABRIC_SNAPSHOT_TOKEN or
FABRIC_SNAPSHOT_TOKEN_FILE, FABRIC_TRUST_POLICY and FABRIC_TRUST_ROOT, or FABRIC_TRUST_KEY (public key file), SIMULATION_MODE.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := load(environ, listen, region, state)
			if err != nil {
				return err
			}
			if c.Region == "" {
				return fmt.Errorf("%w: set FABRIC_REGION", config.ErrSetting)
			}
			return serveModels(cmd.Context(), c, maxWeights, log)
		},
	}
	flags(cmd, &listen, &region, &state)
	cmd.Flags().Int64Var(&maxWeights, "max-weights-bytes", 512<<20, "weights from which a package is refused, in bytes")
	return cmd
}

// serveModels runs a runtime until ctx ends.
func serveModels(ctx context.Context, c config.Config, maxWeights int64, log io.Writer) error {
	tel, err := observe(ctx, c, "runtime-"+c.Region, log)
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
	r, err := runtime.New(runtime.Options{
		Region: c.Region, Kind: policy.Neural, Version: version, Trust: by, Environment: anchor.Environment(c), Dir: filepath.Join(c.StateDir, "packages"), MaxWeights: maxWeights,
		Client: &http.Client{Timeout: 10 * time.Minute}, Log: tel.Log, Registry: tel.Registry, Simulation: c.Simulation(),
		Confirmed: func() time.Time { return follows.State().Confirmed }, Now: time.Now,
	})
	if err != nil {
		return err
	}
	if follows, err = follower(c, by, tel, r.Use, r.Received); err != nil {
		return err
	}
	offline := follows.Load()
	tel.Log.Info("listening", "address", listener.Addr().String(), "region", c.Region, "snapshot", follows.State().Version, "kept", offline)
	return serveUntil(ctx, listener, r.Handler(), tel.Log, nil,
		func(ctx context.Context) error { r.Run(ctx); return nil },
		func(ctx context.Context) error { follows.Run(ctx); return nil })
}
