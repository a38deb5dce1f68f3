package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/internal/cosign"
)

// A modelRef names a version by number or by alias; by neither, the newest.
type modelRef struct {
	model, alias, environment string
	version                   int
}

func newModelPull(a *app) *cobra.Command {
	ref := modelRef{}
	var dir string
	cmd := a.command("pull MODEL", "Fetch a version's package, verified, into a folder", cobra.ExactArgs(1), func(c *caller, cmd *cobra.Command, args []string) error {
		ref.model = args[0]
		got, err := c.pull(cmd.Context(), ref, dir)
		if err != nil {
			return err
		}
		return c.print(got, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "FILE\t%s\nFILE\t%s\nFILE\t%s\n", got.Manifest, got.Bundle, got.Weights)
			fmt.Fprintf(w, "verified: package %s, weights %s\nverify it yourself, offline:\n  %s\n  fabric model verify %s\n", got.Package, got.WeightsDigest, got.Command, dir)
		})
	})
	f := cmd.Flags()
	f.IntVar(&ref.version, "version", 0, "version (default: the newest)")
	f.StringVar(&ref.alias, "alias", "", "the version that this alias names")
	f.StringVar(&ref.environment, "environment", "production", "environment of the alias")
	f.StringVar(&dir, "dir", ".", "folder to write to")
	return cmd
}

// A pulled package, as files.
type pulled struct {
	Version       int             `json:"version"`
	Manifest      string          `json:"manifest"`
	Bundle        string          `json:"bundle"`
	Signature     string          `json:"signature"`
	OMS           string          `json:"oms"`
	Weights       string          `json:"weights"`
	TrustedRoot   string          `json:"trustedRoot"` // empty, as the cosign CLI wants it
	Package       artifact.Digest `json:"package"`
	WeightsDigest artifact.Digest `json:"weightsDigest"`
	Command       string          `json:"command"` // what verifies it with the stock cosign
}

// fetched returns what is signed about a version, verified with the pinned
// public key.
func (c *caller) fetched(ctx context.Context, w referee, ref modelRef) (*signedPackage, int, error) {
	p := &signedPackage{}
	resp, err := c.DownloadModel(ctx, ref.model, c.part(ref, "manifest"))
	if p.manifest, err = v1.Content(resp, err); err != nil {
		return nil, 0, err
	}
	// An alias may move between two requests: what it named first is what is fetched.
	number, err := strconv.Atoi(resp.Header.Get("X-Model-Version"))
	if err != nil {
		return nil, 0, fmt.Errorf("%w: no X-Model-Version", v1.ErrAnswer)
	}
	for about, into := range map[string]*[]byte{"package": &p.bundle, "files": &p.oms, "manifest": &p.signature} {
		*into, err = v1.Content(c.GetModelBundle(ctx, ref.model, &v1.GetModelBundleParams{Version: number, Tenant: c.tenant, About: v1.GetModelBundleParamsAbout(about)}))
		if err != nil {
			return nil, 0, err
		}
	}
	if err := p.verify(w); err != nil {
		return nil, 0, fmt.Errorf("model %s version %d, nothing was written: %w", ref.model, number, err)
	}
	return p, number, nil
}

func (c *caller) part(ref modelRef, part string) *v1.DownloadModelParams {
	params := &v1.DownloadModelParams{Version: ref.version, Tenant: c.tenant, Part: v1.DownloadModelParamsPart(part)}
	if ref.alias != "" {
		params.Alias, params.Environment = ref.alias, v1.DownloadModelParamsEnvironment(ref.environment)
	}
	return params
}

// pull fetches a version. What is signed is verified before anything is
// written, and a file has its name only once its content is what was signed.
func (c *caller) pull(ctx context.Context, ref modelRef, dir string) (pulled, error) {
	w, err := c.referee(ctx)
	if err != nil {
		return pulled{}, err
	}
	p, number, err := c.fetched(ctx, w, ref)
	if err != nil {
		return pulled{}, err
	}
	ref = modelRef{model: ref.model, version: number}
	if err := os.MkdirAll(filepath.Join(dir, modelFolder), 0o755); err != nil {
		return pulled{}, err
	}
	for _, f := range p.parsed.Files() {
		part := "card"
		if f.Path == modelpack.WeightsFile {
			part = "weights"
		}
		if err := c.pullFile(ctx, ref, part, f.Descriptor, filepath.Join(dir, modelFolder, f.Path)); err != nil {
			return pulled{}, err
		}
	}
	out := pulled{Version: number, Package: artifact.DigestOf(p.manifest), WeightsDigest: p.parsed.Weights.Digest, Weights: filepath.Join(dir, modelFolder, modelpack.WeightsFile)}
	for _, f := range []struct {
		path    *string
		name    string
		content []byte
	}{
		{&out.Manifest, manifestFile, p.manifest}, {&out.Bundle, bundleFile, p.bundle}, {&out.Signature, signatureFile, p.signature},
		{&out.OMS, omsFile, p.oms}, {&out.TrustedRoot, trustedRootFile, []byte(cosign.TrustedRoot)},
	} {
		*f.path = filepath.Join(dir, f.name)
		if err := os.WriteFile(*f.path, f.content, 0o644); err != nil {
			return pulled{}, err
		}
	}
	// The key that signed this one: another may sign by now.
	key := filepath.Join(dir, "signer.pub")
	if public := w.public(p.key); public != nil {
		if err := writePublic(key, public); err != nil {
			return pulled{}, err
		}
	}
	out.Command = cosign.VerifyCommand(cosign.Files{Key: key, Bundle: out.Bundle, TrustedRoot: out.TrustedRoot, Content: out.Manifest})
	return out, nil
}

// pullFile streams a file beside its place, and moves it there once it is what
// its digest says.
func (c *caller) pullFile(ctx context.Context, ref modelRef, part string, d artifact.Descriptor, path string) error {
	client, err := c.streaming()
	if err != nil {
		return err
	}
	body, err := v1.Stream(client.DownloadModel(ctx, ref.model, c.part(ref, part)))
	if err != nil {
		return err
	}
	defer body.Close()
	temp, err := os.CreateTemp(filepath.Dir(path), ".pull-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // what was moved is not there any more
	show := c.meter(part, d.SizeBytes)
	content := artifact.Expect(io.TeeReader(artifact.Limit(body, d.SizeBytes), show), d.Digest)
	_, err = io.CopyBuffer(struct{ io.Writer }{temp}, content, make([]byte, 256<<10))
	show.end()
	if err = errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		return fmt.Errorf("%s: %w", part, err)
	}
	return os.Rename(temp.Name(), path)
}

func newModelVerify(a *app) *cobra.Command {
	var accepted string
	cmd := &cobra.Command{
		Use:   "verify FOLDER",
		Short: "Verify a package in a folder with the pinned public key, without a network",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			w, err := a.referee()
			if err != nil {
				return err
			}
			if accepted != "" {
				at, err := time.Parse(time.RFC3339, accepted)
				if err != nil {
					return usage(fmt.Errorf("--accepted: %w", err))
				}
				w.accepted = func(artifact.Digest) (time.Time, error) { return at, nil }
			}
			p, err := readPackage(args[0])
			if err != nil {
				return usage(err)
			}
			if err := p.verify(w); err != nil {
				return err
			}
			files := p.parsed.Files()
			var total int64
			for _, f := range files {
				total += f.SizeBytes
			}
			show := a.meter("verify", total)
			err = verifyFiles(filepath.Join(args[0], modelFolder), files, show)
			show.end()
			if err != nil {
				return err
			}
			out := struct {
				Verified bool            `json:"verified"`
				Tenant   string          `json:"tenant"`
				Model    string          `json:"model"`
				Package  artifact.Digest `json:"package"`
				Files    artifact.Digest `json:"files"` // root of OpenSSF Model Signing
				Weights  artifact.Digest `json:"weights"`
				Key      artifact.Digest `json:"key"`
			}{true, p.said.Tenant, p.said.Model, artifact.DigestOf(p.manifest), modelpack.Root(files), p.parsed.Weights.Digest, p.key}
			return a.print(out, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "verified\t%s/%s\npackage\t%s\nfiles\t%s\nweights\t%s\nkey\t%s\n", out.Tenant, out.Model, out.Package, out.Files, out.Weights, out.Key)
			})
		},
	}
	cmd.Flags().StringVar(&accepted, "accepted", "", "when the package was accepted, RFC 3339, by evidence of your own: decides about a key that has retired since")
	return cmd
}
