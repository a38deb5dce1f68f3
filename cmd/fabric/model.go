package main

import (
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/cosign"
)

func newModel(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "model", Short: "List models and their versions, fetch and verify packages"}

	list := a.command("list", "Show the models of the tenant", cobra.NoArgs, func(c *caller, cmd *cobra.Command, _ []string) error {
		page, err := v1.Fetch[v1.ModelPage](c.ListModels(cmd.Context(), &v1.ListModelsParams{Tenant: c.tenant}))
		if err != nil {
			return err
		}
		return c.print(page, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "MODEL\tLATEST\tPRODUCTION\tSTAGING\tDEV")
			for _, m := range page.Items {
				fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\n", m.ID, m.Latest, m.Champions["production"], m.Champions["staging"], m.Champions["dev"])
			}
		})
	})
	show := a.command("show MODEL", "Show a model with its versions", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		m, err := v1.Fetch[v1.Model](c.GetModel(cmd.Context(), args[0], &v1.GetModelParams{Tenant: c.tenant}))
		if err != nil {
			return err
		}
		return c.print(m, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "VERSION\tPACKAGE\tWEIGHTS\tRUN\tROUND\tACCURACY\tREGISTERED")
			for _, v := range m.Versions {
				fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\t%s\n", v.Version, short(v.Package.Digest), short(v.Weights.Digest), v.Run, v.Round, percent(v.Metrics), v.RegisteredAt.Format(time.RFC3339))
			}
		})
	})

	var version int
	var dir string
	pull := a.command("pull MODEL", "Fetch a version's package manifest, bundle and weights, verified, into a folder", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		got, err := c.pull(cmd, args[0], version, dir)
		if err != nil {
			return err
		}
		return c.print(got, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "FILE\t%s\nFILE\t%s\nFILE\t%s\n", got.Manifest, got.Bundle, got.Weights)
			fmt.Fprintf(w, "verified: package %s, weights %s\nverify it yourself, offline:\n  %s\n", got.Package, got.WeightsDigest, got.Command)
		})
	})
	pull.Flags().IntVar(&version, "version", 0, "version (default: the newest)")
	pull.Flags().StringVar(&dir, "dir", ".", "folder to write to")
	cmd.AddCommand(list, show, pull)
	return cmd
}

// A pulled package, as files.
type pulled struct {
	Version       int             `json:"version"`
	Manifest      string          `json:"manifest"`
	Bundle        string          `json:"bundle"`
	Weights       string          `json:"weights"`
	TrustedRoot   string          `json:"trustedRoot"` // empty, as the cosign CLI wants it
	Package       artifact.Digest `json:"package"`
	WeightsDigest artifact.Digest `json:"weightsDigest"`
	Command       string          `json:"command"` // what verifies it with the stock cosign
}

// pull fetches a version and writes nothing that does not verify with the
// pinned public key.
func (c *caller) pull(cmd *cobra.Command, model string, version int, dir string) (pulled, error) {
	ctx := cmd.Context()
	settings, err := c.config()
	if err != nil {
		return pulled{}, err
	}
	key, err := c.trustedKey()
	if err != nil {
		return pulled{}, err
	}
	part := func(name string) ([]byte, error) {
		return v1.Content(c.DownloadModel(ctx, model, &v1.DownloadModelParams{Version: version, Tenant: c.tenant, Part: v1.DownloadModelParamsPart(name)}))
	}
	manifest, err := part("manifest")
	if err != nil {
		return pulled{}, err
	}
	weights, err := part("weights")
	if err != nil {
		return pulled{}, err
	}
	bundle, err := v1.Content(c.GetModelBundle(ctx, model, &v1.GetModelBundleParams{Version: version, Tenant: c.tenant}))
	if err != nil {
		return pulled{}, err
	}
	out := pulled{Version: version, Package: artifact.DigestOf(manifest), WeightsDigest: artifact.DigestOf(weights)}
	verified, err := artifact.VerifyBundle(keys(key), bundle, artifact.PredicateModelPackage, out.Package)
	if err != nil {
		return pulled{}, fmt.Errorf("model %s version %d does not verify, nothing was written: %w", model, version, err)
	}
	if err := namesWeights(verified.Predicate, out.WeightsDigest); err != nil {
		return pulled{}, fmt.Errorf("model %s version %d, nothing was written: %w", model, version, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return pulled{}, err
	}
	for _, f := range []struct {
		path    *string
		name    string
		content []byte
	}{{&out.Manifest, "manifest.json", manifest}, {&out.Bundle, "bundle.json", bundle}, {&out.Weights, "weights.safetensors", weights}, {&out.TrustedRoot, "trusted-root.json", []byte(cosign.TrustedRoot)}} {
		*f.path = filepath.Join(dir, f.name)
		if err := os.WriteFile(*f.path, f.content, 0o644); err != nil {
			return pulled{}, err
		}
	}
	out.Command = cosign.VerifyCommand(cosign.Files{Key: settings.TrustKey, Bundle: out.Bundle, TrustedRoot: out.TrustedRoot, Content: out.Manifest})
	return out, nil
}
