package opa

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/infra/opa"
)

// MediaTypeBundle is an OPA bundle: what a stock OPA loads.
const MediaTypeBundle = "application/vnd.oci.image.layer.v1.tar+gzip"

// maxBundle bounds an archive that is read.
const maxBundle = 16 << 20

// Why a bundle is refused. The one in force stays.
var (
	ErrBundle    = errors.New("not a bundle of the fabric's policy: build it with fabric policy bundle")
	ErrCompile   = errors.New("the rules do not compile: mend them, and try with fabric policy replay before they are proposed")
	ErrSignature = errors.New("the bundle's signature does not verify: fetch it from the policy hub again, or have it signed by the fabric's key")
	ErrRevision  = errors.New("the bundle's revision is not higher than the one in force: propose it under the next revision, going back too")
)

// A Bundle is everything that the rules decide by: the rules themselves, and
// the policy document that they read.
type Bundle struct {
	Modules  map[string]string // by file name
	Document policy.Document
}

// Shipped returns the rules that ship over a document.
func Shipped(document policy.Document) (Bundle, error) {
	modules, err := rules.Modules()
	return Bundle{modules, document}, err
}

// Content returns the digest of what the bundle decides by, whatever its
// revision.
func (b Bundle) Content() (artifact.Digest, error) {
	document, err := b.Document.Content()
	if err != nil {
		return "", err
	}
	text := string(document)
	for _, name := range slices.Sorted(maps.Keys(b.Modules)) {
		text += "\n" + name + " " + string(artifact.DigestOf([]byte(b.Modules[name])))
	}
	return artifact.DigestOf([]byte(text)), nil
}

// file names in an archive.
const (
	fileManifest = "/.manifest"
	fileData     = "/data.json"
	filePolicy   = "/policy.json"
)

// Pack returns the bundle as the archive that a stock OPA loads. The same
// bundle is the same bytes.
func (b Bundle) Pack() ([]byte, error) {
	document, err := b.Document.Encode()
	if err != nil {
		return nil, err
	}
	data, err := Data(b.Document)
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(map[string]any{
		"revision": strconv.FormatInt(b.Document.Revision, 10), "roots": []string{"fabric"}, "rego_version": 1,
	})
	if err != nil {
		return nil, err
	}
	type entry struct {
		name    string
		content []byte
	}
	entries := []entry{{fileManifest, manifest}, {fileData, data}, {filePolicy, document}}
	for _, name := range slices.Sorted(maps.Keys(b.Modules)) {
		entries = append(entries, entry{"/" + name, []byte(b.Modules[name])})
	}
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.content)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(e.content); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(archive.Close(), zipped.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Open reads an archive that Pack made. Its data must be what its document
// says: a bundle that shows one policy and decides by another is refused.
// Errors: [ErrBundle].
func Open(archive []byte) (Bundle, error) {
	if len(archive) > maxBundle {
		return Bundle{}, fmt.Errorf("%d bytes: %w", len(archive), ErrBundle)
	}
	files, err := unpack(archive)
	if err != nil {
		return Bundle{}, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	b := Bundle{Modules: map[string]string{}}
	for name, content := range files {
		if strings.HasSuffix(name, ".rego") {
			b.Modules[strings.TrimPrefix(name, "/")] = string(content)
		}
	}
	if b.Document, err = policy.Parse(files[filePolicy]); err != nil {
		return Bundle{}, fmt.Errorf("%w: policy.json: %w", ErrBundle, err)
	}
	want, err := Data(b.Document)
	if err != nil {
		return Bundle{}, err
	}
	if !bytes.Equal(want, files[fileData]) {
		return Bundle{}, fmt.Errorf("data.json is not what policy.json says: %w", ErrBundle)
	}
	var manifest struct {
		Revision string `json:"revision"`
	}
	if err := json.Unmarshal(files[fileManifest], &manifest); err != nil || manifest.Revision != strconv.FormatInt(b.Document.Revision, 10) {
		return Bundle{}, fmt.Errorf("its manifest is of another revision: %w", ErrBundle)
	}
	return b, nil
}

// unpack returns the files of an archive, at most maxBundle of them in all.
func unpack(archive []byte) (map[string][]byte, error) {
	zipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, err
	}
	files, left := map[string][]byte{}, int64(maxBundle)
	for r := tar.NewReader(zipped); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(io.LimitReader(r, left+1))
		if err != nil {
			return nil, err
		}
		if left -= int64(len(content)); left < 0 {
			return nil, errors.New("it is too large")
		}
		if _, twice := files[header.Name]; twice {
			return nil, fmt.Errorf("%q is in it twice", header.Name)
		}
		files[header.Name] = content
	}
}

// A Verify checks the signature over an archive's digest: the same that every
// policy bundle of the hub bears.
type Verify func(ctx context.Context, signature []byte, subject artifact.Digest) error

// Receive takes a bundle from outside: signed, readable, compiling and of a
// higher revision than the one in force, in that order. Whatever fails, the one
// in force stays.
// Errors: [ErrSignature], [ErrBundle], [ErrCompile], [ErrRevision].
func (e *Engine) Receive(ctx context.Context, archive, signature []byte, verify Verify) error {
	if err := verify(ctx, signature, artifact.DigestOf(archive)); err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	b, err := Open(archive)
	if err != nil {
		return err
	}
	return e.Activate(ctx, b)
}

// compile returns the compiler of the modules, and the modules as they were read.
func (b Bundle) compile() (*ast.Compiler, map[string]*ast.Module, error) {
	parsed := make(map[string]*ast.Module, len(b.Modules))
	for name, source := range b.Modules {
		module, err := ast.ParseModuleWithOpts(name, source, ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrCompile, err)
		}
		parsed[name] = module
	}
	compiler := ast.NewCompiler()
	if compiler.Compile(parsed); compiler.Failed() {
		return nil, nil, fmt.Errorf("%w: %w", ErrCompile, compiler.Errors)
	}
	return compiler, parsed, nil
}
