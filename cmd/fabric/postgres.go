package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/internal/pgserver"
)

// newPostgres runs the machine's PostgreSQL as a child of a process of its
// own, so that whatever supervises this process supervises the server.
func newPostgres(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "postgres",
		Short: "Run the machine's PostgreSQL programs on the state directory, on a Unix socket",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.postgres(cmd.Context()) },
	}
}

func (a *app) postgres(ctx context.Context) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	opts, err := postgresOptions(c.StateDir)
	if err != nil {
		return err
	}
	if opts.Logger, err = a.logger(ctx, c); err != nil {
		return err
	}
	server, err := pgserver.Start(ctx, opts)
	if err != nil {
		return err
	}
	select {
	case <-server.Done():
		return server.Err()
	case <-ctx.Done():
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		return server.Stop(stop)
	}
}

// postgresOptions says what to run and where, for the server and for whoever
// connects to it.
func postgresOptions(state string) (pgserver.Options, error) {
	binaries, err := pgserver.Find()
	if err != nil {
		return pgserver.Options{}, err
	}
	dir, err := pgserver.Place(absolute(state, "pg"))
	if err != nil {
		return pgserver.Options{}, err
	}
	return pgserver.Options{Dir: dir, Binaries: binaries}, nil
}
