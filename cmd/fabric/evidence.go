package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/evidence"
	"github.com/atom-fabric/fabric/internal/anchor"
)

// packTakes is how long a pack may take to be made.
const packTakes = 30 * time.Second

func newEvidence(a *app) *cobra.Command {
	var file string
	cmd := a.command("evidence PROMOTION", "Fetch the evidence pack of an applied promotion, verified", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		packed, bundle, err := c.evidence(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		chain, err := c.verifyPack(packed, bundle)
		if err != nil {
			return err
		}
		if file == "" {
			file = args[0] + ".evidence.zip"
		}
		for path, content := range map[string][]byte{file: packed, file + ".bundle.json": bundle} {
			if err := os.WriteFile(path, content, 0o644); err != nil {
				return err
			}
		}
		return c.print(chain.Links, func(w *tabwriter.Writer) {
			showLinks(w, chain.Links)
			fmt.Fprintf(w, "\nFILE\t%s (%d bytes)\ncheck it offline:\n  fabric verify %s\n", file, len(packed), file)
		})
	})
	cmd.Flags().StringVarP(&file, "file", "f", "", "where to write the pack; its bundle goes beside it (default: PROMOTION.evidence.zip)")
	return cmd
}

func newVerify(a *app) *cobra.Command {
	return a.command("verify EVIDENCE.ZIP", "Verify an evidence pack, offline, with the keys that this machine pins", cobra.ExactArgs(1), func(c *caller, _ *cobra.Command, args []string) error {
		packed, bundle, err := readPack(args[0])
		if err != nil {
			return err
		}
		chain, err := c.verifyPack(packed, bundle)
		if printed := c.print(chain.Links, func(w *tabwriter.Writer) { showLinks(w, chain.Links) }); printed != nil {
			return printed
		}
		return err
	})
}

func showLinks(w *tabwriter.Writer, links []evidence.Link) {
	if len(links) == 0 {
		return
	}
	fmt.Fprintln(w, "LINK\tWHICH\tVERIFIED BY")
	for _, l := range links {
		fmt.Fprintf(w, "%s\t%s\t%s\n", l.What, l.Which, l.Evidence)
	}
}

// evidence fetches the pack of a promotion and the bundle over it. The pack is
// made after the promotion was applied, so it is waited for.
func (c *caller) evidence(ctx context.Context, promotion string) (packed, bundle []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, packTakes)
	defer cancel()
	for {
		packed, err = v1.Content(c.GetEvidence(ctx, promotion, &v1.GetEvidenceParams{Tenant: c.tenant}))
		var problem *v1.ProblemError
		if !errors.As(err, &problem) || problem.Code != "not_ready" {
			break
		}
		select {
		case <-ctx.Done():
			return nil, nil, err
		case <-time.After(200 * time.Millisecond):
		}
	}
	if err != nil {
		return nil, nil, err
	}
	bundle, err = v1.Content(c.GetEvidence(ctx, promotion, &v1.GetEvidenceParams{Tenant: c.tenant, Part: "bundle"}))
	return packed, bundle, err
}

// verifyPack walks through a pack. It asks nobody. The bundle may be absent:
// then nothing says that the pack is whole, and the links say so.
func (c *caller) verifyPack(packed, bundle []byte) (evidence.Chain, error) {
	settings, err := c.app.config()
	if err != nil {
		return evidence.Chain{}, err
	}
	w, err := c.app.referee()
	if err != nil {
		return evidence.Chain{}, err
	}
	log, err := logVerifier(settings)
	if err != nil {
		return evidence.Chain{}, err
	}
	if log == nil {
		return evidence.Chain{}, usage(errors.New("set FABRIC_LOG_VERIFIER to the file with the audit log's verifier key (fabric up keeps it at <state>/keys/log.pub)"))
	}
	pack, err := evidence.Decode(packed)
	if err != nil {
		return evidence.Chain{}, fmt.Errorf("%w: %w", ErrChain, err)
	}
	chain, err := pack.Verify(evidence.Trust{Keys: w.judge, Environment: anchor.Environment(settings), Log: *log, Now: w.now})
	if err != nil {
		return chain, fmt.Errorf("%w: %w", ErrChain, err)
	}
	whole := evidence.Link{What: "whole", Which: "NOT SHOWN", Evidence: "no bundle over the pack beside it"}
	if bundle != nil {
		var said evidence.Statement
		verified, err := w.open(bundle, artifact.PredicateEvidence, artifact.DigestOf(packed), place{})
		if err == nil {
			err = artifact.DecodeStrict(verified.Predicate, &said)
		}
		if err == nil && said.Promotion != chain.Promotion {
			err = errors.New("the bundle is over the pack of another promotion")
		}
		if err != nil {
			return chain, fmt.Errorf("%w: the pack: %w", ErrChain, err)
		}
		whole = evidence.Link{What: "whole", Which: "pack " + artifact.DigestOf(packed).Short(), Evidence: "statement by key " + verified.Key.Short() + " over the pack"}
	}
	chain.Links = append(chain.Links, whole)
	return chain, nil
}
