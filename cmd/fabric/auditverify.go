package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/internal/auditexport"
	"github.com/atom-fabric/fabric/internal/config"
	"github.com/atom-fabric/fabric/internal/postgres"
	"github.com/atom-fabric/fabric/internal/witness"
)

// auditVerify are the flags of fabric audit verify.
type auditVerify struct {
	pin      string
	leaf     string
	kept     string
	database bool
	tenant   string
}

func newAuditVerify(a *app) *cobra.Command {
	var o auditVerify
	cmd := &cobra.Command{
		Use:   "verify [EXPORT-FOLDER|PROOF-FILE]",
		Short: "Check the running log, an export of it, or the proof of one leaf",
		Long: `Without an argument: reads every leaf of the running log, rebuilds the tree, compares it with the signed
checkpoint, and holds what the regions keep (FABRIC_WITNESS_URL) against it. With a folder or a .tlog-proof
file: offline. What to do when it fails: docs/operations/audit-log.md.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			log, err := a.pinnedLog(o.pin)
			if err != nil {
				return err
			}
			switch {
			case o.database:
				return a.verifyDatabase(cmd.Context(), log, o)
			case len(args) == 0:
				return a.refine(cmd, args, a.verifyRunning(cmd.Context(), log, o))
			}
			info, err := os.Stat(args[0])
			switch {
			case err != nil:
				return &exitError{exitNotFound, err}
			case info.IsDir():
				return a.verifyExport(args[0], log)
			default:
				return a.verifyProof(args[0], log, o)
			}
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.pin, "verifier", "", "file with the log's verifier key (default: FABRIC_LOG_VERIFIER)")
	f.StringVar(&o.leaf, "leaf", "", "file with the exact bytes of the leaf that a proof is of")
	f.StringVar(&o.kept, "kept", "", "file of the checkpoint that you keep: the log must extend it, and its newest one takes its place")
	f.BoolVar(&o.database, "database", false, "read the tables themselves, with POSTGRES_DSN: leaves of every tenant, and every stored hash")
	f.StringVar(&o.tenant, "tenant", "", "tenant to act for (default: FABRIC_TENANT; a token decides it by itself)")
	return cmd
}

func (a *app) verifyExport(dir string, log *audit.Verifier) error {
	result, err := auditexport.Verify(dir, log)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrChain, dir, err)
	}
	if !result.Pinned {
		fmt.Fprintf(a.Err, "no verifier key is pinned: the export agrees with itself under %s\n", result.Verifier)
	}
	return a.print(result, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "OK\t%s\t%d leaves\t%d with their content\troot %s\n", result.Origin, result.Size, result.Shown, result.Root)
	})
}

func (a *app) verifyProof(path string, log *audit.Verifier, o auditVerify) error {
	if log == nil {
		return usage(errNoVerifier)
	}
	if o.leaf == "" {
		return usage(errors.New("--leaf: name the file with the leaf that the proof is of"))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	body, err := os.ReadFile(o.leaf)
	if err != nil {
		return usage(err)
	}
	proof, err := audit.ParseTranscript(string(text))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrChain, path, err)
	}
	point, err := proof.Verify(*log, body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrChain, err)
	}
	shown := struct {
		Origin string     `json:"origin"`
		Index  int64      `json:"index"`
		Size   int64      `json:"size"`
		Root   audit.Hash `json:"root"`
	}{point.Origin, proof.Index, point.Size, point.Root}
	return a.print(shown, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "OK\t%s\tleaf %d of %d\n", point.Origin, proof.Index, point.Size)
	})
}

// verifyRunning checks the log behind the API, and the regions' copies.
func (a *app) verifyRunning(ctx context.Context, log *audit.Verifier, o auditVerify) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	if o.tenant != "" {
		c.tenant = o.tenant
	}
	settings, err := a.config()
	if err != nil {
		return err
	}
	check, err := c.rebuild(ctx, log)
	if err != nil {
		return err
	}
	gateway := witness.Gateway{URL: settings.APIURL, Token: settings.Token, Client: &http.Client{Timeout: 30 * time.Second}}
	if log == nil {
		fmt.Fprintf(a.Err, "the signature was not checked: %v\n", errNoVerifier)
	} else {
		if check.Kept, err = extends(ctx, gateway, *log, o.kept, check.note); err != nil {
			return err
		}
		if check.Regions, err = a.askRegions(ctx, settings, gateway, *log, check.note); err != nil {
			return err
		}
	}
	return a.print(check, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "OK\t%d leaves\t%d with their content\troot %s\n", check.Size, check.Shown, check.Root)
		if check.Kept > 0 {
			fmt.Fprintf(w, "OK\textends the %d leaves that you kept\n", check.Kept)
		}
		for _, region := range slices.Sorted(maps.Keys(check.Regions)) {
			fmt.Fprintf(w, "%s\t%s\n", region, check.Regions[region])
		}
	})
}

// extends holds the newest checkpoint against the one in a file, and keeps it
// there. It returns the size of the one that was kept.
func extends(ctx context.Context, gateway witness.Gateway, log audit.Verifier, path, newest string) (int64, error) {
	if path == "" {
		return 0, nil
	}
	if missing(path) {
		return 0, os.WriteFile(path, []byte(newest), 0o644)
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		return 0, usage(err)
	}
	before, err := log.Open(string(kept))
	if err != nil {
		return 0, usage(fmt.Errorf("--kept %s: %w", path, err))
	}
	if err := follow(ctx, gateway, log, string(kept), newest); err != nil {
		return 0, fmt.Errorf("%w: the checkpoint in %s: %w", ErrChain, path, err)
	}
	return before.Size, os.WriteFile(path, []byte(newest), 0o644)
}

// follow says whether two checkpoints are of one history, as the gateway tells it.
func follow(ctx context.Context, gateway witness.Gateway, log audit.Verifier, one, other string) error {
	first, err := log.Open(one)
	if err != nil {
		return err
	}
	second, err := log.Open(other)
	if err != nil {
		return err
	}
	var step audit.Step
	if from, to := min(first.Size, second.Size), max(first.Size, second.Size); from != to {
		if step, err = gateway.Step(ctx, from, to); err != nil {
			return err
		}
	}
	_, err = audit.Follow(log, one, other, step)
	return err
}

// askRegions holds what every region keeps against the log. A region that is
// away is shown; one that holds evidence, or another history, is a failure.
func (a *app) askRegions(ctx context.Context, settings config.Config, gateway witness.Gateway, log audit.Verifier, newest string) (map[string]string, error) {
	bases, err := regionURLs("FABRIC_WITNESS_URL", settings.WitnessURL)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	var bad error
	for _, region := range slices.Sorted(maps.Keys(bases)) {
		report, err := witness.Remote{Region: region, URL: bases[region], Client: gateway.Client}.Report(ctx)
		switch {
		case err != nil:
			found[region] = "not asked: it " + err.Error()
			continue
		case report.Split != nil && report.Split.Check(log) == nil:
			err = fmt.Errorf("it holds evidence: %w", audit.ErrSplit)
		case report.Note == "":
			found[region] = "keeps no checkpoint yet"
			continue
		default:
			err = follow(ctx, gateway, log, report.Note, newest)
		}
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("%w: region %s: %w", ErrChain, region, err))
			continue
		}
		point, err := log.Open(report.Note)
		if err != nil {
			return nil, err
		}
		found[region] = fmt.Sprintf("keeps %d leaves of the same history", point.Size)
		if report.Reason != "" {
			found[region] += "; its last look failed: " + report.Reason
		}
	}
	return found, bad
}

// verifyDatabase reads every row: what an operator does who holds the DSN.
func (a *app) verifyDatabase(ctx context.Context, log *audit.Verifier, o auditVerify) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	if c.PostgresDSN == "" {
		return usage(errors.New("--database: set POSTGRES_DSN"))
	}
	var kept []audit.Checkpoint
	if o.kept != "" {
		if log == nil {
			return usage(errNoVerifier)
		}
		text, err := os.ReadFile(o.kept)
		if err != nil {
			return usage(err)
		}
		point, err := log.Open(string(text))
		if err != nil {
			return usage(fmt.Errorf("--kept %s: %w", o.kept, err))
		}
		kept = append(kept, point)
	}
	db, err := postgres.Open(ctx, postgres.Options{DSN: c.PostgresDSN.Reveal()})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.AuditLog().VerifyAll(ctx, kept...); err != nil {
		return err
	}
	point, err := db.AuditLog().Checkpoint(ctx)
	if err != nil {
		return err
	}
	if log != nil && point.Note != "" {
		if _, err := log.Open(point.Note); err != nil {
			return fmt.Errorf("%w: the stored checkpoint: %w", ErrChain, err)
		}
	}
	shown := auditCheck{Origin: point.Origin, Size: point.Size, Root: point.Root, Shown: point.Size, Signed: log != nil && point.Note != ""}
	return a.print(shown, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "OK\t%d leaves and every stored hash\troot %s\n", shown.Size, shown.Root)
	})
}
