// Package modelpack says what a model package is: the OCI manifest with the
// media types of ModelPack, the statement of OpenSSF Model Signing over its
// files, and the statements that move an alias of a model to a version.
//
// Invariant: a [Package] that exists has one uncompressed layer for each file,
// names that no file system reads as something else, and sizes within bounds;
// one set of files has one root.
package modelpack

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Names of the files of a package, each with its media type. There are no
// others, so that nothing is ever written under a name that a sender chose.
const (
	WeightsFile = "weights.safetensors"
	CardFile    = "card.json"
)

// Media types beside those of [artifact].
const (
	MediaTypeImage = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeCard  = "application/vnd.cncf.model.doc.v1.raw"
)

// Bounds of a package. Weights beyond 4 GiB are no model of ours.
const (
	MaxManifest = 1 << 20
	MaxDocument = 1 << 20
	MaxWeights  = 4 << 30
)

// pathAnnotation is where ModelPack writes a layer's file name.
const pathAnnotation = "org.cncf.model.filepath"

// ErrManifest says that a manifest is not that of a model package.
var ErrManifest = errors.New("not the manifest of a model package")

// A File is one file of a package, or its config, which has no path.
type File struct {
	Path string
	artifact.Descriptor
}

// A Package is what a manifest says.
type Package struct {
	Config      File
	Weights     File
	Card        *File // for people; may be absent
	Annotations map[string]string
	layers      []File
}

// Files returns the files in the order of the manifest.
func (p Package) Files() []File { return p.layers }

// Parts returns what a sender of the package sends after its manifest and its
// signatures, in that order: config, then the files as the manifest lists them.
func (p Package) Parts() []File { return append([]File{p.Config}, p.layers...) }

type wireManifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        wireDescriptor    `json:"config"`
	Layers        []wireDescriptor  `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// wireDescriptor has no urls, from which a client would fetch elsewhere, no
// data, which would be a second content, and no platform.
type wireDescriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      artifact.Digest   `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ParseManifest reads the manifest of a package. An index, a manifest with a
// subject, a compressed or foreign layer and a file of any other kind (a
// pickle, an archive, ONNX) are refused, whatever they are called.
// Errors: [ErrManifest], [artifact.ErrTooLarge]; what
// [artifact.DecodeStrict] refuses.
func ParseManifest(text []byte) (Package, error) {
	if len(text) > MaxManifest {
		return Package{}, fmt.Errorf("manifest of %d bytes: %w", len(text), artifact.ErrTooLarge)
	}
	var wire wireManifest
	if err := artifact.DecodeStrict(text, &wire); err != nil {
		return Package{}, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	switch {
	case wire.SchemaVersion != 2, wire.MediaType != MediaTypeImage:
		return Package{}, fmt.Errorf("%w: it is no OCI image manifest", ErrManifest)
	case wire.ArtifactType != artifact.MediaTypePackage, wire.Config.MediaType != artifact.MediaTypeModel:
		return Package{}, fmt.Errorf("%w: it is no ModelPack artifact", ErrManifest)
	}
	p := Package{Config: wire.Config.file(""), Annotations: wire.Annotations}
	if err := p.Config.check(MaxDocument); err != nil {
		return Package{}, err
	}
	for _, layer := range wire.Layers {
		if err := p.add(layer); err != nil {
			return Package{}, err
		}
	}
	if p.Weights.Digest == "" {
		return Package{}, fmt.Errorf("%w: it holds no weights", ErrManifest)
	}
	return p, nil
}

// add takes a layer as the file that its media type and its path both name.
func (p *Package) add(layer wireDescriptor) error {
	f := layer.file(layer.Annotations[pathAnnotation])
	switch {
	case f.MediaType == artifact.MediaTypeWeights && f.Path == WeightsFile && p.Weights.Digest == "":
		if err := f.check(MaxWeights); err != nil {
			return err
		}
		p.Weights = f
	case f.MediaType == MediaTypeCard && f.Path == CardFile && p.Card == nil:
		if err := f.check(MaxDocument); err != nil {
			return err
		}
		p.Card = &f
	default:
		return fmt.Errorf("%w: a layer is neither its %s nor its %s, or one of them is there twice", ErrManifest, WeightsFile, CardFile)
	}
	p.layers = append(p.layers, f)
	return nil
}

func (d wireDescriptor) file(path string) File {
	return File{Path: path, Descriptor: artifact.Descriptor{Digest: d.Digest, SizeBytes: d.Size, MediaType: d.MediaType}}
}

func (f File) check(limit int64) error {
	if f.Digest == "" || f.SizeBytes < 1 || f.SizeBytes > limit {
		return fmt.Errorf("%w: %q has no digest, is empty, or is larger than %d bytes", ErrManifest, f.Path, limit)
	}
	return nil
}

// NewManifest returns the canonical manifest of a package of these parts, in
// the form that [ParseManifest] reads: equal packages have equal bytes.
// Errors: those of [ParseManifest].
func NewManifest(config artifact.Descriptor, weights, card artifact.Descriptor, annotations map[string]string) ([]byte, error) {
	wire := wireManifest{
		SchemaVersion: 2, MediaType: MediaTypeImage, ArtifactType: artifact.MediaTypePackage, Annotations: annotations,
		Config: describe(config, artifact.MediaTypeModel, ""),
		Layers: []wireDescriptor{describe(weights, artifact.MediaTypeWeights, WeightsFile), describe(card, MediaTypeCard, CardFile)},
	}
	text, err := artifact.Canonical(wire)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	_, err = ParseManifest(text)
	return text, err
}

func describe(d artifact.Descriptor, mediaType, path string) wireDescriptor {
	out := wireDescriptor{MediaType: mediaType, Digest: d.Digest, Size: d.SizeBytes}
	if path != "" {
		out.Annotations = map[string]string{pathAnnotation: path}
	}
	return out
}

// Config is the model config of the ModelPack specification.
type Config struct {
	Descriptor struct {
		Name   string `json:"name"`
		Vendor string `json:"vendor"`
	} `json:"descriptor"`
	ModelFS struct {
		Type    string            `json:"type"`
		DiffIDs []artifact.Digest `json:"diffIds"`
	} `json:"modelfs"`
	Config struct {
		Architecture string `json:"architecture"`
		Format       string `json:"format"`
		Precision    string `json:"precision"`
	} `json:"config"`
}

// NewConfig returns the canonical config of a package.
func NewConfig(model, vendor, architecture, precision string, files ...artifact.Digest) (json.RawMessage, error) {
	var c Config
	c.Descriptor.Name, c.Descriptor.Vendor = model, vendor
	c.ModelFS.Type, c.ModelFS.DiffIDs = "layers", files
	c.Config.Architecture, c.Config.Format, c.Config.Precision = architecture, "safetensors", precision
	return artifact.Canonical(c)
}
