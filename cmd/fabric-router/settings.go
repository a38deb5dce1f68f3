package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/anchor"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/follow"
	"github.com/atom-fabric/fabric/internal/inbound"
	"github.com/atom-fabric/fabric/internal/router"
	"github.com/atom-fabric/fabric/internal/telemetry"
)

// pollWait is how long a poll for a newer snapshot may wait for one.
const pollWait = 20 * time.Second

// load reads the settings, in which flags win over the environment.
func load(environ []string, listen, region, state string) (config.Config, error) {
	c, err := config.Load("", environ)
	if err != nil {
		return config.Config{}, err
	}
	for _, flag := range []struct {
		value string
		into  *string
	}{{listen, &c.Listen}, {region, &c.Region}, {state, &c.StateDir}} {
		if flag.value != "" {
			*flag.into = flag.value
		}
	}
	if c.Listen == "" {
		return config.Config{}, fmt.Errorf("%w: set FABRIC_LISTEN to host:port", config.ErrSetting)
	}
	return c, nil
}

// flags adds the flags that both commands have.
func flags(cmd *cobra.Command, listen, region, state *string) {
	cmd.Flags().StringVar(listen, "listen", "", "host:port to answer on (FABRIC_LISTEN)")
	cmd.Flags().StringVar(region, "region", "", "region that this process is in (FABRIC_REGION)")
	cmd.Flags().StringVar(state, "state-dir", "", "directory that it keeps its files in (FABRIC_STATE_DIR)")
}

// observe makes the log and the metrics of a process.
func observe(ctx context.Context, c config.Config, service string, log io.Writer) (*telemetry.Telemetry, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, fmt.Errorf("%w: FABRIC_LOG_LEVEL is debug, info, warn or error", config.ErrSetting)
	}
	return telemetry.New(ctx, service, telemetry.Options{Out: log, Level: level})
}

// snapshotURL returns where the snapshot is: at /snapshot of the gateway, or
// where the setting says itself.
func snapshotURL(c config.Config) (string, error) {
	base := c.SnapshotURL
	if base == "" {
		base = c.APIURL
	}
	at, err := url.Parse(base)
	if err != nil || at.Host == "" {
		return "", fmt.Errorf("%w: FABRIC_SNAPSHOT_URL is not a URL", config.ErrSetting)
	}
	if !strings.HasSuffix(at.Path, "/snapshot") {
		at = at.JoinPath("snapshot")
	}
	return at.String(), nil
}

// follower returns a follower that gives snapshots to use, and tells received
// what it was sent.
func follower(c config.Config, by trust.Source, tel *telemetry.Telemetry, use func(routing.Snapshot) error, received func(int64)) (*follow.Follower, error) {
	at, err := snapshotURL(c)
	if err != nil {
		return nil, err
	}
	return follow.New(follow.Options{
		URL: at, Token: c.SnapshotToken, Trust: by, Environment: anchor.Environment(c), Dir: filepath.Join(c.StateDir, "snapshots"), Wait: pollWait,
		Client: &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: time.Minute,
		}},
		Log: tel.Log, Registry: tel.Registry, Now: time.Now, Use: use, Received: received,
	})
}

// idleDrain is how long connections on which nothing comes stay open while the
// process drains: longer than a client that is in the middle of things pauses.
const idleDrain = 5 * time.Second

// serveUntil answers on the listener, and runs the loops, until ctx ends or one
// of them fails, or until a successor that replace starts has the listener.
// Then connections in use get their last answer, idle ones five seconds, and
// requests that are under way ten more. A nil replace: there is no successor.
func serveUntil(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger, replace func(context.Context) error, loops ...func(context.Context) error) error {
	var drain router.Drain
	server := inbound.New(ctx, &http.Server{
		Handler: drain.Handler(handler), ConnState: drain.Count, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 90 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	})
	// The loops outlive the server: a decision that is made while it drains is
	// still recorded.
	loopCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, groupCtx := errgroup.WithContext(ctx)
	for _, loop := range loops {
		group.Go(func() error { return loop(loopCtx) })
	}
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) && !drain.Draining() {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		defer stop()
		replaced := succeeded(groupCtx, log, replace)
		drain.Begin()
		if replaced {
			// Closing our copy of the listener leaves the successor's open.
			if err := listener.Close(); err != nil {
				return err
			}
			drain.Wait(groupCtx, idleDrain)
		}
		ends, cancel := context.WithTimeout(loopCtx, 10*time.Second)
		defer cancel()
		if err := server.Shutdown(ends); err != nil {
			return errors.Join(fmt.Errorf("drain: %w", err), server.Close())
		}
		return nil
	})
	return group.Wait()
}

// succeeded returns true when a successor serves, which SIGHUP or SIGUSR2 asks
// for, and false when ctx ended. A successor that fails changes nothing.
func succeeded(ctx context.Context, log *slog.Logger, replace func(context.Context) error) bool {
	if replace == nil {
		<-ctx.Done()
		return false
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGHUP, syscall.SIGUSR2)
	defer signal.Stop(asked)
	for {
		select {
		case <-ctx.Done():
			return false
		case <-asked:
			if err := replace(ctx); err != nil {
				log.Error("no successor; this process goes on", "err", err)
				continue
			}
			return true
		}
	}
}
