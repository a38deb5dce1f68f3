// Command temporal is the development Temporal server: frontend, history,
// matching, worker and Web UI in one process over one SQLite file. It stands in
// for the real cluster wherever TEMPORAL_ADDRESS is not set: `fabric up` starts
// it, and so do the end-to-end tests, through the SDK's own
// testsuite.StartDevServer, because it understands the argument list of
// `temporal server start-dev`.
//
// It lives in a Go module of its own. The server brings some three hundred
// indirect requirements and ten times the product's build time, and no process
// that we ship links it.
//
// Two lines on standard output say that it is ready; whoever starts it may wait
// for them. Everything else goes to standard error:
//
//	frontend 127.0.0.1:7233
//	ui http://127.0.0.1:8233
//
// Invariant: when the frontend's port answers, the namespaces and search
// attributes that were asked for are in place, and everything that an earlier
// process on the same file acknowledged is still there. The server admits
// whoever can reach it, so it listens on loopback addresses only and refuses
// any other.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit statuses, the same as those of the fabric command.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnavailable = 69
)

func main() {
	// A second signal kills: NotifyContext restores the default action as soon
	// as stop is called, which run does when the first one arrives.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without its globals: it serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	opts, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "error: %v\n", err)
		return exitUsage
	}
	srv, err := start(ctx, opts)
	switch {
	case err != nil && ctx.Err() != nil:
		return exitOK // told to stop before it had started
	case errors.Is(err, errInUse):
		fmt.Fprintf(stderr, "error: %v\n", err)
		return exitUnavailable
	case err != nil:
		fmt.Fprintf(stderr, "error: %v\n", err)
		return exitFailed
	}
	fmt.Fprintf(stdout, "frontend %s\n", srv.frontend)
	if srv.ui != "" {
		fmt.Fprintf(stdout, "ui http://%s\n", srv.ui)
	}
	<-ctx.Done()
	if err := srv.stop(); err != nil {
		fmt.Fprintf(stderr, "error: stop: %v\n", err)
		return exitFailed
	}
	return exitOK
}
