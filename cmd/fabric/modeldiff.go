package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
)

// A compared model is one side of a comparison.
type compared struct {
	content     io.ReadCloser
	size        int64
	annotations map[string]string // of a package
}

// A metaDiff is an annotation that two packages have different values of.
type metaDiff struct {
	Key    string `json:"key"`
	Before string `json:"before"`
	After  string `json:"after"`
}

func newModelDiff(a *app) *cobra.Command {
	return a.command("diff BEFORE AFTER", "Compare two models: tensors added, removed, reshaped, changed, and by how much; each is a file, a pulled folder, MODEL:VERSION or MODEL@ALIAS",
		cobra.ExactArgs(2), func(c *caller, cmd *cobra.Command, args []string) error {
			before, err := c.side(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer before.content.Close()
			after, err := c.side(cmd.Context(), args[1])
			if err != nil {
				return err
			}
			defer after.content.Close()
			show := c.meter("compare", before.size+after.size)
			left, errA := artifact.NewTensorReader(io.TeeReader(before.content, show))
			right, errB := artifact.NewTensorReader(io.TeeReader(after.content, show))
			if err := errors.Join(errA, errB); err != nil {
				return err
			}
			diff, err := modelpack.Diff(left, right)
			show.end()
			if err != nil {
				return err
			}
			out := struct {
				modelpack.Difference
				Metadata []metaDiff `json:"metadata"`
			}{diff, metadata(before.annotations, after.annotations)}
			return c.print(out, func(w *tabwriter.Writer) {
				fmt.Fprintln(w, "TENSOR\tCHANGE\tBEFORE\tAFTER\tNORM\tRELATIVE\tMAX")
				for _, t := range diff.Tensors {
					if t.Change == "same" {
						continue
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.6g\t%.6g\t%.6g\n", t.Name, t.Change, t.Before, t.After, t.Norm, relative(t.Norm, t.Base), t.MaxAbs)
				}
				for _, m := range out.Metadata {
					fmt.Fprintf(w, "%s\tmetadata\t%s\t%s\n", m.Key, m.Before, m.After)
				}
				fmt.Fprintf(w, "all\t%d tensors\t\t\t%.6g\t%.6g\n", len(diff.Tensors), diff.Norm, relative(diff.Norm, diff.Base))
			})
		})
}

// relative is 0 where there is nothing to be relative to.
func relative(norm, base float64) float64 {
	if base == 0 {
		return 0
	}
	return norm / base
}

func metadata(before, after map[string]string) []metaDiff {
	out := []metaDiff{}
	all := maps.Clone(before)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, after)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if before[key] != after[key] {
			out = append(out, metaDiff{key, before[key], after[key]})
		}
	}
	return out
}

// side opens what an argument names: a file or a folder if there is one, else a
// version, verified like one that is pulled.
func (c *caller) side(ctx context.Context, arg string) (compared, error) {
	info, err := os.Stat(arg)
	switch {
	case err == nil && info.IsDir():
		p, err := readPackage(arg)
		if err != nil {
			return compared{}, usage(err)
		}
		parsed, err := modelpack.ParseManifest(p.manifest)
		if err != nil {
			return compared{}, usage(err)
		}
		return open(filepath.Join(arg, modelFolder, modelpack.WeightsFile), parsed.Annotations)
	case err == nil:
		return open(arg, nil)
	}
	model, version, alias := aliasOf(arg)
	ref := modelRef{model: model, alias: alias, environment: "production"}
	if version != "" {
		if ref.version, err = strconv.Atoi(version); err != nil || ref.version < 1 {
			return compared{}, usage(fmt.Errorf("%s: name a file, a folder, MODEL:VERSION or MODEL@ALIAS", arg))
		}
	}
	w, err := c.referee(ctx)
	if err != nil {
		return compared{}, err
	}
	p, number, err := c.fetched(ctx, w, ref)
	if err != nil {
		return compared{}, err
	}
	client, err := c.streaming()
	if err != nil {
		return compared{}, err
	}
	body, err := v1.Stream(client.DownloadModel(ctx, model, c.part(modelRef{model: model, version: number}, "weights")))
	if err != nil {
		return compared{}, err
	}
	d := p.parsed.Weights
	return compared{content: struct {
		io.Reader
		io.Closer
	}{artifact.Expect(artifact.Limit(body, d.SizeBytes), d.Digest), body}, size: d.SizeBytes, annotations: p.parsed.Annotations}, nil
}

func open(path string, annotations map[string]string) (compared, error) {
	f, err := os.Open(path)
	if err != nil {
		return compared{}, usage(err)
	}
	info, err := f.Stat()
	if err != nil {
		return compared{}, errors.Join(err, f.Close())
	}
	return compared{content: f, size: info.Size(), annotations: annotations}, nil
}
