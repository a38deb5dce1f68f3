package activities

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/provenance"
	"github.com/atom-fabric/fabric/domain/round"
)

// A CandidatePackage packs weights as a model package.
type CandidatePackage struct {
	Blobs    Blobs
	Registry Registry
}

// ModelRepository returns where the packages of a model are.
func ModelRepository(tenant, model string) string { return "models/" + tenant + "/" + model }

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

// PushCandidate packs the weights and pushes the package. Idempotent: every
// byte of it follows from the input, so a second push is of the same content.
// A crash in between leaves layers in the registry that nothing refers to.
// Heartbeats while the weights are read.
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
	out.Predicate, err = keep(ctx, c.Blobs, artifact.MediaTypePredicate, provenance.Package{
		Tenant:     in.Tenant,
		Model:      in.ModelID,
		Run:        in.Run,
		Round:      in.Number,
		Weights:    in.Weights.Digest,
		Manifest:   in.Manifest.Digest,
		Provenance: in.Provenance,
		Metrics:    in.Metrics,
		Simulation: manifest.Simulation,
	})
	if err != nil {
		return contract.Candidate{}, about(in.Run, in.Number, err)
	}
	if out.Also, err = c.claims(ctx, in.ModelID, out.Package.Digest, pkg); err != nil {
		return contract.Candidate{}, about(in.Run, in.Number, err)
	}
	return out, nil
}

// claims lists what is said of a package in the words of other tools: that of
// OpenSSF Model Signing about its files, and that of cosign about its manifest.
func (c *CandidatePackage) claims(ctx context.Context, model string, manifest artifact.Digest, pkg Package) ([]contract.Claim, error) {
	files := make([]modelpack.File, len(pkg.Layers))
	for i, layer := range pkg.Layers {
		files[i] = modelpack.File{Path: layer.Path, Descriptor: layer.Descriptor}
	}
	statement, err := modelpack.FilesStatement(model, files)
	if err != nil {
		return nil, err
	}
	predicate, err := c.Blobs.Put(ctx, artifact.MediaTypePredicate, bytes.NewReader(statement.Predicate))
	if err != nil {
		return nil, err
	}
	return []contract.Claim{
		{Digest: statement.Subject, PredicateType: artifact.PredicateOMS, Predicate: predicate},
		{Digest: manifest, PredicateType: artifact.PredicateSign},
	}, nil
}

// pack lists what the package holds. Weights are streamed from the blob.
func (c *CandidatePackage) pack(in contract.CandidateInput, described []byte) (Package, error) {
	weights := in.Weights
	weights.MediaType = artifact.MediaTypeWeights
	doc := artifact.Describe(modelpack.MediaTypeCard, described)
	encoded, err := modelpack.NewConfig(in.ModelID, in.Tenant, in.Params.Model.Trainer, "float32", weights.Digest, doc.Digest)
	if err != nil {
		return Package{}, err
	}
	return Package{
		ArtifactType: artifact.MediaTypePackage,
		ConfigType:   artifact.MediaTypeModel,
		Config:       encoded,
		Layers: []Layer{
			{Descriptor: weights, Path: modelpack.WeightsFile, Open: func(ctx context.Context) (io.ReadCloser, error) {
				content, err := c.Blobs.Open(ctx, in.Weights.Digest)
				if err != nil {
					return nil, err
				}
				return live{content, func() { activity.RecordHeartbeat(ctx) }}, nil
			}},
			{Descriptor: doc, Path: modelpack.CardFile, Open: func(context.Context) (io.ReadCloser, error) {
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
