// Command fabric-router is the data plane: `serve` routes calls of models to
// runtimes, `runtime` is the runtime of a region. Both follow the signed
// snapshot of the control plane and go on without it.
//
// Invariant: nothing is served by a snapshot or a package that the trusted key
// has not signed; no control plane, database or signing key is linked in.
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
	exitOK    = 0
	exitError = 1
	exitUsage = 64 // a flag or a setting is wrong
)

// errUsage says that the command line is wrong.
var errUsage = errors.New("bad command line")

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
	if errors.Is(err, errUsage) || errors.Is(err, config.ErrSetting) {
		return exitUsage
	}
	return exitError
}

func newRoot(environ []string, log io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "fabric-router",
		Short:         "The data plane: routes calls of models to runtimes, and is the runtime of a region",
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
	root.AddCommand(newServe(environ, log), newRuntime(environ, log), &cobra.Command{
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
