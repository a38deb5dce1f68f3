// Command fabric-site is the agent beside private rows. It dials out, obeys
// signed orders, and sends updates and counts.
//
// Invariant: it listens on nothing, and holds no key but its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/site/agent"

	// A container image holds nothing but the program.
	_ "time/tzdata"

	_ "golang.org/x/crypto/x509roots/fallback"
)

// Set by the build.
var (
	version = "9.0.0-phaseI.1"
	commit  = "unknown"
)

// Exit statuses, as in sysexits.h where it has a word.
const (
	exitOK      = 0
	exitError   = 1
	exitUsage   = 64 // a flag or a setting is wrong
	exitRefused = 77 // the fabric will not have this site
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run is main without its process.
func run(ctx context.Context, args, environ []string, out, log io.Writer) int {
	root := newRoot(environ, log)
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(log)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(log, "error: "+err.Error())
	switch {
	case errors.Is(err, errUsage), errors.Is(err, agent.ErrOptions), errors.Is(err, config.ErrSetting):
		return exitUsage
	case errors.Is(err, agent.ErrRefused):
		return exitRefused
	}
	return exitError
}

// errUsage says that the command line is wrong.
var errUsage = errors.New("bad command line")

func newRoot(environ []string, log io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "fabric-site",
		Short:         "The agent of one site: trains on private rows, sends updates, never rows",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%w: unknown command %q", errUsage, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(newRun(environ, log), &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s (%s)\n", version, commit)
			return err
		},
	})
	return root
}
