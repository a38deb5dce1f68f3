package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/internal/issuer"
)

func newDemo(a *app) *cobra.Command {
	var o upOptions
	var rounds int
	var governance bool
	var seed uint64
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the main road on real data, with the evidence of each step, and stop",
		Long: `Starts the whole system as fabric up does, lets five hospitals in three regions train a tumour
classifier, lets people approve it with their own keys, routes answers, and traces one back.
The state stays: fabric up afterwards shows every run in the Temporal Web UI.

With --governance a region's inputs drift: the policy loop proposes to close it, people sign, the policy
goes region by region; then a promotion whose canary regresses goes back by itself. The callers and the
hospitals' rows are simulated. It begins anew each time, in the folder governance of the state directory.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if governance {
				return a.govern(cmd.Context(), o, seed)
			}
			return a.demonstrate(cmd.Context(), o, rounds)
		},
	}
	o.flags(cmd)
	cmd.Flags().IntVar(&rounds, "rounds", 12, "train rounds")
	cmd.Flags().BoolVar(&governance, "governance", false, "show how drift becomes a policy, and a bad version goes back")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "with --governance: of what is simulated")
	return cmd
}

func (a *app) demonstrate(ctx context.Context, o upOptions, rounds int) error {
	return a.show(ctx, o, func(s *system) (demonstration, error) { return s.demo(a, rounds) })
}

// demonstration is a story told on a running system, step by step.
type demonstration interface {
	Run(ctx context.Context) error
}

// show starts a system, runs a demonstration on it, and stops it.
func (a *app) show(ctx context.Context, o upOptions, prepare func(*system) (demonstration, error)) error {
	began := time.Now()
	s, err := a.start(ctx, o, a.Err)
	if err != nil {
		return err
	}
	defer s.Stop()
	s.Table(a.Out, time.Since(began))
	d, err := prepare(s)
	if err != nil {
		return err
	}
	if err := d.Run(ctx); err != nil {
		return fmt.Errorf("%w; the logs are in %s", err, s.plan.Path("logs"))
	}
	_, err = fmt.Fprintf(a.Out, "look around: %s up --state %s\n", filepath.Join(s.plan.Bin, "fabric"), s.plan.State)
	return err
}

// demo prepares the demonstration on a running system.
func (s *system) demo(a *app, rounds int) (*demo.Demo, error) {
	i, err := issuer.Open(s.plan.Path("issuer"), s.plan.Config.Issuer)
	if err != nil {
		return nil, err
	}
	return demo.New(s.demonstration(a, i, rounds))
}

// demonstration is what both demonstrations are given.
func (s *system) demonstration(a *app, i *issuer.Issuer, rounds int) demo.Options {
	return demo.Options{
		Out: a.Out, Gateway: s.plan.Gateway(), State: s.plan.State, Trust: s.plan.TrustKey(), Cosign: stockCosign(s.plan.Bin), Rounds: rounds,
		Mint: func(tenant, who string, roles ...string) (string, error) {
			return i.Mint(tenant, who, roles, time.Hour)
		},
		Trace: func(ctx context.Context, token, header, pack string) error {
			if pack != "" {
				return s.run(ctx, a, a.Out, nowhere, token, "trace", header, "--evidence", pack)
			}
			return s.run(ctx, a, a.Out, s.plan.Gateway(), token, "trace", header)
		},
		Evidence: func(ctx context.Context, token, promotion, pack string) error {
			return s.run(ctx, a, io.Discard, s.plan.Gateway(), token, "evidence", promotion, "--file", pack)
		},
	}
}

// nowhere is where nobody answers: what is said to ask nobody is shown to.
const nowhere = "http://127.0.0.1:1"

// run runs a command of this program as an auditor of the system would.
func (s *system) run(ctx context.Context, a *app, out io.Writer, url, token string, args ...string) error {
	environ := append(slices.Clone(a.environ), "FABRIC_API_URL="+url, "FABRIC_TOKEN="+token, "FABRIC_STATE_DIR="+s.plan.State)
	environ = append(environ, s.plan.Trust()...)
	var failed bytes.Buffer
	if status := run(ctx, args, streams{In: a.In, Out: out, Err: &failed}, environ); status != exitOK {
		return fmt.Errorf("fabric %s: %s", args[0], bytes.TrimSpace(failed.Bytes()))
	}
	return nil
}

// stockCosign finds the cosign program beside ours or on PATH.
func stockCosign(bin string) string {
	beside := filepath.Join(bin, "cosign")
	if _, err := os.Stat(beside); err == nil {
		return beside
	}
	found, err := exec.LookPath("cosign")
	if err != nil {
		return ""
	}
	return found
}
