package activities

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// Media type and paths of the layers of a model package.
const (
	mediaTypeCard = "application/vnd.cncf.model.doc.v1.raw"
	weightsPath   = "weights.safetensors"
	cardPath      = "card.json"
)

// A CandidatePackage packs weights as a model package.
type CandidatePackage struct {
	Blobs    Blobs
	Registry Registry
}

// ModelRepository returns where the packages of a model are.
func ModelRepository(tenant, model string) string { return "models/" + tenant + "/" + model }

// A ModelStatement is the predicate that vouches for a model package: which
// round made it, of which signed manifest, and what was measured.
type ModelStatement struct {
	Tenant     string          `json:"tenant"`
	Model      string          `json:"model"`
	Run        string          `json:"run"`
	Round      int             `json:"round"`
	Weights    artifact.Digest `json:"weights"`
	Manifest   artifact.Digest `json:"manifest"` // of the round
	Metrics    round.Metrics   `json:"metrics"`
	Simulation bool            `json:"simulation"`
}

// A card says to people what is in a package.
type card struct {
	Tenant        string             `json:"tenant"`
	Model         string             `json:"model"`
	Run           string             `json:"run"`
	Round         int                `json:"round"`
	Trainer       string             `json:"trainer"`
	Spec          round.ModelSpec    `json:"spec"`
	Features      []round.FeatureRef `json:"features"`
	Metrics       round.Metrics      `json:"metrics"`
	Normalisation string             `json:"normalisation"`
	Simulation    bool               `json:"simulation"`
}

// config is the model config of the ModelPack specification.
type config struct {
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

// PushCandidate packs the weights and pushes the package. Idempotent: every
// byte of it follows from the input, so a second push is of the same content.
// A crash in between leaves layers in the registry that nothing refers to.
// Final: [contract.BadPackage] when the round's manifest is not one.
func (c *CandidatePackage) PushCandidate(ctx context.Context, in contract.CandidateInput) (contract.Candidate, error) {
	var manifest round.Manifest
	if err := decode(ctx, c.Blobs, in.Manifest.Digest, contract.BadPackage, &manifest); err != nil {
		return contract.Candidate{}, about(in.Run, in.Number, err)
	}
	described, err := artifact.Canonical(card{
		Tenant:        in.Tenant,
		Model:         in.ModelID,
		Run:           in.Run,
		Round:         in.Number,
		Trainer:       in.Params.Model.Trainer,
		Spec:          in.Params.Model,
		Features:      manifest.Features,
		Metrics:       in.Metrics,
		Normalisation: "rows are taken as they are; the weights hold the mean and scale of the pooled columns",
		Simulation:    manifest.Simulation,
	})
	if err != nil {
		return contract.Candidate{}, about(in.Run, in.Number, err)
	}
	pkg, err := c.pack(in, described)
	if err != nil {
		return contract.Candidate{}, about(in.Run, in.Number, err)
	}
	out := contract.Candidate{Repository: ModelRepository(in.Tenant, in.ModelID)}
	if out.Package, err = c.Registry.Push(ctx, out.Repository, pkg); err != nil {
		return contract.Candidate{}, about(in.Run, in.Number, within(err, "push to %s", out.Repository))
	}
	out.Predicate, err = keep(ctx, c.Blobs, artifact.MediaTypePredicate, ModelStatement{
		Tenant:     in.Tenant,
		Model:      in.ModelID,
		Run:        in.Run,
		Round:      in.Number,
		Weights:    in.Weights.Digest,
		Manifest:   in.Manifest.Digest,
		Metrics:    in.Metrics,
		Simulation: manifest.Simulation,
	})
	if err != nil {
		return contract.Candidate{}, about(in.Run, in.Number, err)
	}
	return out, nil
}

// pack lists what the package holds. Weights are streamed from the blob.
func (c *CandidatePackage) pack(in contract.CandidateInput, described []byte) (Package, error) {
	weights := in.Weights
	weights.MediaType = artifact.MediaTypeWeights
	doc := artifact.Describe(mediaTypeCard, described)

	var model config
	model.Descriptor.Name, model.Descriptor.Vendor = in.ModelID, in.Tenant
	model.ModelFS.Type, model.ModelFS.DiffIDs = "layers", []artifact.Digest{weights.Digest, doc.Digest}
	model.Config.Architecture, model.Config.Format, model.Config.Precision = in.Params.Model.Trainer, "safetensors", "float32"
	encoded, err := artifact.Canonical(model)
	if err != nil {
		return Package{}, err
	}
	return Package{
		ArtifactType: artifact.MediaTypePackage,
		ConfigType:   artifact.MediaTypeModel,
		Config:       encoded,
		Layers: []Layer{
			{Descriptor: weights, Path: weightsPath, Open: func(ctx context.Context) (io.ReadCloser, error) {
				return c.Blobs.Open(ctx, in.Weights.Digest)
			}},
			{Descriptor: doc, Path: cardPath, Open: func(context.Context) (io.ReadCloser, error) {
				return io.NopCloser(bytes.NewReader(described)), nil
			}},
		},
		Annotations: map[string]string{
			"io.github.atom-fabric.run":            in.Run,
			"io.github.atom-fabric.round":          fmt.Sprint(in.Number),
			"io.github.atom-fabric.round.manifest": string(in.Manifest.Digest),
		},
	}, nil
}
