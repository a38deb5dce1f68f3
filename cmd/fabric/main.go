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
	"strings"
	"syscall"
	"time"

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

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, os.Environ()))
}

// run is main without its process.
func run(ctx context.Context, args []string, io streams, environ []string) int {
	if err := stray(newRoot(io, environ), args); err != nil {
		fmt.Fprintln(io.Err, "error: "+err.Error())
		return exitUsage
	}
	root := newRoot(io, environ)
	root.SetArgs(args)
	began := beginnings(root)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	hint := ""
	if !*began { // a command, an argument or a flag that is not as it should be
		err = usage(err)
		hint = "\n  " + cmd.CommandPath() + " --help says how"
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	fmt.Fprintln(io.Err, "error: "+strings.TrimRight(err.Error(), "\n")+hint)
	return status(err)
}

// stray is the word that stands where a group of commands has none of its name:
// the library shows the group's help then, as if all were well. Parsing leaves
// its marks on the tree.
func stray(root *cobra.Command, args []string) error {
	cmd, rest, err := root.Find(args)
	if err != nil || cmd.Runnable() || cmd.ParseFlags(rest) != nil {
		return nil // the library says it
	}
	words := cmd.Flags().Args()
	if len(words) == 0 {
		return nil
	}
	meant := ""
	if alike := cmd.SuggestionsFor(words[0]); len(alike) > 0 {
		meant = "; did you mean " + strings.Join(alike, ", ") + "?"
	}
	return fmt.Errorf("unknown command %q for %q%s\n  %s --help says which there are", words[0], cmd.CommandPath(), meant, cmd.CommandPath())
}

// An app is what every command is given.
type app struct {
	streams
	environ []string
	file    string // configuration file
	output  string // "table", "json", "yaml", or what the command says
	quiet   bool   // nothing but data and errors
	timeout time.Duration
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
	root.PersistentFlags().StringVarP(&a.output, "output", "o", asTable, "table, json or yaml")
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "say nothing of how it gets on; data and errors only")
	root.PersistentFlags().DurationVar(&a.timeout, "timeout", 0, "give up after this time, with status 124; what was started goes on (default: never)")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if a.timeout > 0 {
			ctx, cancel := context.WithTimeout(cmd.Context(), a.timeout)
			context.AfterFunc(ctx, cancel) // the process ends with the command
			cmd.SetContext(ctx)
		}
		return a.checkForm(cmd)
	}
	root.AddGroup(
		&cobra.Group{ID: "try", Title: "Try it:"},
		&cobra.Group{ID: "use", Title: "Use it:"},
		&cobra.Group{ID: "run", Title: "Run it:"},
	)
	for _, c := range []struct {
		group string
		make  func(*app) *cobra.Command
	}{
		{"try", newUp}, {"try", newDemo}, {"try", newTour}, {"try", newSimulate}, {"try", newToken},
		{"use", newFeature}, {"use", newConsent}, {"use", newLineage}, {"use", newBudget}, {"use", newRound}, {"use", newModel}, {"use", newPromote}, {"use", newRollout}, {"use", newRollback}, {"use", newSnapshot}, {"use", newApprovals}, {"use", newApprove},
		{"use", newApprover}, {"use", newInvoke}, {"use", newTrace}, {"use", newEvidence}, {"use", newVerify}, {"use", newPolicy}, {"use", newProposals}, {"use", newScorecard}, {"use", newPlot}, {"use", newStudy}, {"use", newTune}, {"use", newAudit}, {"use", newKeys},
		{"run", newAPI}, {"run", newWorker}, {"run", newRegistry}, {"run", newPostgres}, {"run", newMigrate},
		{"run", newDoctor}, {"run", newPrecheck}, {"run", newReport}, {"run", newConfig}, {"run", newHealthcheck},
	} {
		cmd := c.make(a)
		cmd.GroupID = c.group
		root.AddCommand(cmd)
	}
	root.AddCommand(newVersion(a))
	exemplify(root)
	a.complete(root)
	return root
}

// config loads the settings of this command.
func (a *app) config() (config.Config, error) {
	return config.Load(a.file, a.environ)
}
