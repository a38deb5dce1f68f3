package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/provenance"
)

// Names in the folder of a package. What OpenSSF Model Signing signs, and
// nothing else, is in the folder model, so that its tools accept that folder.
const (
	modelFolder     = "model"
	manifestFile    = "manifest.json"
	bundleFile      = "bundle.json"
	signatureFile   = "signature.json"
	omsFile         = "model.sig"
	trustedRootFile = "trusted-root.json"
)

// errPackage says that a package is not what was signed.
var errPackage = errors.New("the package does not verify")

// What is signed about a package.
type signedPackage struct {
	manifest, bundle, oms, signature []byte
	parsed                           modelpack.Package
	said                             provenance.Package
	key                              artifact.Digest
}

// verify compares every word that is signed about a package with the others,
// by keys that count. The files are for its caller to compare.
func (p *signedPackage) verify(w referee) error {
	var err error
	if p.parsed, err = modelpack.ParseManifest(p.manifest); err != nil {
		return fmt.Errorf("%w: %w", errPackage, err)
	}
	digest := artifact.DigestOf(p.manifest)
	of := place{digest, p.repository()}
	verified, err := w.open(p.bundle, artifact.PredicateModelPackage, digest, of)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errPackage, bundleFile, err)
	}
	p.key = verified.Key
	if err := json.Unmarshal(verified.Predicate, &p.said); err != nil {
		return fmt.Errorf("%w: %s: %w", errPackage, bundleFile, err)
	}
	if err := namesWeights(verified.Predicate, p.parsed.Weights.Digest); err != nil {
		return fmt.Errorf("%w: %w", errPackage, err)
	}
	if _, err := w.open(p.signature, artifact.PredicateSign, digest, of); err != nil {
		return fmt.Errorf("%w: %s: %w", errPackage, signatureFile, err)
	}
	files := p.parsed.Files()
	verified, err = w.open(p.oms, artifact.PredicateOMS, modelpack.Root(files), of)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errPackage, omsFile, err)
	}
	if err := modelpack.CheckFiles(verified.Predicate, files); err != nil {
		return fmt.Errorf("%w: %s: %w", errPackage, omsFile, err)
	}
	return nil
}

// repository is where the package says that it belongs, before that is known to
// be so: whose signature counts there is a question of the verification, which
// covers the same words.
func (p *signedPackage) repository() string {
	envelope, err := artifact.ParseBundle(p.bundle)
	if err != nil {
		return ""
	}
	statement, err := artifact.ParseStatement(envelope.Payload)
	if err != nil {
		return ""
	}
	var said provenance.Package
	if err := json.Unmarshal(statement.Predicate, &said); err != nil {
		return ""
	}
	return "models/" + said.Tenant + "/" + said.Model
}

// readPackage reads what is signed about the package in a folder.
func readPackage(dir string) (*signedPackage, error) {
	p := &signedPackage{}
	for name, into := range map[string]*[]byte{manifestFile: &p.manifest, bundleFile: &p.bundle, omsFile: &p.oms, signatureFile: &p.signature} {
		text, err := readSmall(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("%s is no folder of a package: %w", dir, err)
		}
		*into = text
	}
	return p, nil
}

// readSmall reads a file of at most 1 MiB.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(artifact.Limit(f, artifact.MaxBundle))
}

// verifyFiles hashes the files of a package in a folder: each is there, is a
// regular file and what its digest says, and there is nothing else.
func verifyFiles(dir string, files []modelpack.File, show *progress) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", errPackage, err)
	}
	for _, e := range entries {
		known := slices.ContainsFunc(files, func(f modelpack.File) bool { return f.Path == e.Name() })
		if !known || !e.Type().IsRegular() {
			return fmt.Errorf("%w: %s is not one of its files", errPackage, filepath.Join(dir, e.Name()))
		}
	}
	for _, f := range files {
		if err := hashesTo(filepath.Join(dir, f.Path), f.Descriptor, show); err != nil {
			return err
		}
	}
	return nil
}

func hashesTo(path string, d artifact.Descriptor, show *progress) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%w: %w", errPackage, err)
	}
	defer file.Close()
	content := io.TeeReader(artifact.Limit(file, d.SizeBytes), show)
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, artifact.Expect(content, d.Digest), make([]byte, 256<<10)); err != nil {
		return fmt.Errorf("%w: %s: %w", errPackage, path, err)
	}
	return nil
}

// sum returns the descriptor of a file.
func sum(path, mediaType string, show *progress) (artifact.Descriptor, error) {
	file, err := os.Open(path)
	if err != nil {
		return artifact.Descriptor{}, usage(err)
	}
	defer file.Close()
	hash := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(hash, show), struct{ io.Reader }{file}, make([]byte, 256<<10))
	if err != nil {
		return artifact.Descriptor{}, fmt.Errorf("%s: %w", path, err)
	}
	return artifact.Descriptor{Digest: artifact.Summed(hash), SizeBytes: n, MediaType: mediaType}, nil
}

// aliasOf splits MODEL, MODEL:VERSION or MODEL@ALIAS.
func aliasOf(ref string) (model, version, alias string) {
	if model, alias, ok := strings.Cut(ref, "@"); ok {
		return model, "", alias
	}
	model, version, _ = strings.Cut(ref, ":")
	return model, version, ""
}
