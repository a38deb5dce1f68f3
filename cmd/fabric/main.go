// Command fabric is the control plane of federated learning, the commands that
// people give it, and the whole system on one machine for whoever tries it.
//
// Invariant: data goes to standard output, progress and errors to standard
// error, and the exit status says what kind of failure it was.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/internal/config"
)

// Set by the build.
var (
	version = "9.0.0-phaseI.1"
	commit  = "unknown"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, os.Environ()))
}

// run is main without its process.
func run(ctx context.Context, args []string, io streams, environ []string) int {
	root := newRoot(io, environ)
	root.SetArgs(args)
	began := beginnings(root)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if !*began { // a command, an argument or a flag that is not as it should be
		err = usage(err)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	fmt.Fprintln(io.Err, "error: "+err.Error())
	return status(err)
}

// An app is what every command is given.
type app struct {
	streams
	environ []string
	file    string // configuration file
	output  string // "table" or "json"
}

func newRoot(io streams, environ []string) *cobra.Command {
	a := &app{streams: io, environ: environ}
	root := &cobra.Command{
		Use:           "fabric",
		Short:         "Durable control plane for federated learning across regions and organisations",
		Version:       version + " (" + commit + ")",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(io.Out)
	root.SetErr(io.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.PersistentFlags().StringVar(&a.file, "config", "", "configuration file (YAML); the environment wins over it")
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "table", "table or json")
	root.AddGroup(
		&cobra.Group{ID: "try", Title: "Try it:"},
		&cobra.Group{ID: "use", Title: "Use it:"},
		&cobra.Group{ID: "run", Title: "Run it:"},
	)
	for _, c := range []struct {
		group string
		make  func(*app) *cobra.Command
	}{
		{"try", newUp}, {"try", newDemo}, {"try", newSimulate}, {"try", newToken},
		{"use", newFeature}, {"use", newConsent}, {"use", newLineage}, {"use", newBudget}, {"use", newRound}, {"use", newModel}, {"use", newPromote}, {"use", newRollout}, {"use", newRollback}, {"use", newSnapshot}, {"use", newApprovals}, {"use", newApprove},
		{"use", newApprover}, {"use", newInvoke}, {"use", newTrace}, {"use", newEvidence}, {"use", newVerify}, {"use", newPolicy}, {"use", newProposals}, {"use", newScorecard}, {"use", newTune}, {"use", newAudit}, {"use", newKeys},
		{"run", newAPI}, {"run", newWorker}, {"run", newRegistry}, {"run", newPostgres}, {"run", newMigrate},
		{"run", newPrecheck}, {"run", newReport}, {"run", newConfig}, {"run", newHealthcheck},
	} {
		cmd := c.make(a)
		cmd.GroupID = c.group
		root.AddCommand(cmd)
	}
	return root
}

// config loads the settings of this command.
func (a *app) config() (config.Config, error) {
	return config.Load(a.file, a.environ)
}
