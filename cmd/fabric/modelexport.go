package main

import (
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/onnx"
)

// An exported model, as a file for another runtime.
type exported struct {
	Model         string          `json:"model"`
	Version       int             `json:"version"`
	Package       artifact.Digest `json:"package"` // that was verified, and that it was made from
	WeightsDigest artifact.Digest `json:"weightsDigest"`
	File          string          `json:"file"`
	Digest        artifact.Digest `json:"digest"`
}

func newModelExport(a *app) *cobra.Command {
	ref := modelRef{}
	var file string
	cmd := a.command("export MODEL", "Write a version as ONNX, from its verified package", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		ref.model = args[0]
		dir, err := os.MkdirTemp("", "fabric-export-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		got, err := c.pull(cmd.Context(), ref, dir)
		if err != nil {
			return err
		}
		weights, err := os.ReadFile(got.Weights)
		if err != nil {
			return err
		}
		content, err := onnx.Encode(ref.model, weights)
		if err != nil {
			return err
		}
		if file == "" {
			file = fmt.Sprintf("%s-%d.onnx", filepath.Base(ref.model), got.Version)
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			return err
		}
		out := exported{Model: ref.model, Version: got.Version, Package: got.Package, WeightsDigest: got.WeightsDigest, File: file, Digest: artifact.DigestOf(content)}
		return c.print(out, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "FILE\t%s\nDIGEST\t%s\nMADE FROM\tpackage %s, weights %s\n", out.File, out.Digest, out.Package, out.WeightsDigest)
		})
	})
	cmd.Long = "The file is not signed: who needs that keeps the package. The same version always makes the same bytes."
	f := cmd.Flags()
	f.IntVar(&ref.version, "version", 0, "version (default: the newest)")
	f.StringVar(&ref.alias, "alias", "", "the version that this alias names")
	f.StringVar(&ref.environment, "environment", "production", "environment of the alias")
	f.StringVar(&file, "onnx", "", "file to write (default: MODEL-VERSION.onnx)")
	return cmd
}
