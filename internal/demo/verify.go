package demo

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/cosign"
)

// verify checks the version's signature with our verifier and, where it is
// installed, with the stock cosign; then again with one byte changed.
func (d *Demo) verify(ctx context.Context) error {
	files, manifest, bundle, err := d.fetch(ctx)
	if err != nil {
		return err
	}
	keyText, err := os.ReadFile(d.Trust)
	if err != nil {
		return err
	}
	key, err := artifact.ParsePublicKey(keyText)
	if err != nil {
		return err
	}
	verified, err := artifact.VerifyBundle([]*ecdsa.PublicKey{key}, bundle, artifact.PredicateModelPackage, artifact.DigestOf(manifest))
	if err != nil {
		return err
	}
	d.say("package %s verifies with the pinned key %s", artifact.DigestOf(manifest).Short(), verified.Key.Short())
	d.say("with stock cosign v2.6.5, offline: %s", cosign.VerifyCommand(files))

	altered := bytes.Clone(manifest)
	altered[len(altered)/2] ^= 1
	_, err = artifact.VerifyBundle([]*ecdsa.PublicKey{key}, bundle, artifact.PredicateModelPackage, artifact.DigestOf(altered))
	if err := holds(err != nil, "an altered manifest verified"); err != nil {
		return err
	}
	d.say("with one byte changed: %v", err)
	if d.Cosign == "" {
		d.say("stock cosign is not installed here; make bin/cosign builds it")
		return nil
	}
	return d.stock(ctx, files, altered)
}

// stock lets the cosign program judge both.
func (d *Demo) stock(ctx context.Context, files cosign.Files, altered []byte) error {
	judge := func(f cosign.Files) error {
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", cosign.VerifyCommand(f))
		cmd.Env = []string{"PATH=" + filepath.Dir(d.Cosign) + ":/usr/bin:/bin", "HOME=" + d.State}
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s", bytes.TrimSpace(out))
		}
		return nil
	}
	if err := judge(files); err != nil {
		return holds(false, "stock cosign refused the package: %v", err)
	}
	d.say("stock cosign: verified")
	files.Content = filepath.Join(filepath.Dir(files.Content), "altered.json")
	if err := os.WriteFile(files.Content, altered, 0o600); err != nil {
		return err
	}
	err := judge(files)
	d.say("stock cosign, with one byte changed: refused")
	return holds(err != nil, "stock cosign accepted an altered package")
}

// fetch writes the version's manifest and bundle beside the people's keys.
func (d *Demo) fetch(ctx context.Context) (files cosign.Files, manifest, bundle []byte, err error) {
	if manifest, err = v1.Content(d.lead.DownloadModel(ctx, Model, &v1.DownloadModelParams{Version: d.run.Version, Part: "manifest"})); err != nil {
		return files, nil, nil, err
	}
	if bundle, err = v1.Content(d.lead.GetModelBundle(ctx, Model, &v1.GetModelBundleParams{Version: d.run.Version})); err != nil {
		return files, nil, nil, err
	}
	dir := filepath.Join(d.State, "auditor")
	if err = os.MkdirAll(dir, 0o700); err != nil {
		return files, nil, nil, err
	}
	files = cosign.Files{Key: d.Trust, Bundle: filepath.Join(dir, "bundle.json"), TrustedRoot: filepath.Join(dir, "trusted-root.json"), Content: filepath.Join(dir, "manifest.json")}
	for path, content := range map[string][]byte{files.Bundle: bundle, files.TrustedRoot: []byte(cosign.TrustedRoot), files.Content: manifest} {
		if err = os.WriteFile(path, content, 0o600); err != nil {
			return files, nil, nil, err
		}
	}
	return files, manifest, bundle, nil
}
