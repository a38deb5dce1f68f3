package activities

import (
	"bytes"
	"context"
	"io"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/evidence"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/routing"
)

// A Dossier is what was written about a promotion that was applied.
type Dossier struct {
	Outcome   artifact.Digest // bundle that says that it was decided
	Serving   routing.Signed
	Request   *approval.Request // absent when nobody had to approve
	Votes     []artifact.Digest // bundles of those that counted, in their order
	Delegated []artifact.Digest // bundles by which some of them stood in
	Rounds    map[int]artifact.Digest
	Rollout   artifact.Digest // record of its canary; absent where everybody got it at once
	Note      string          // signed checkpoint
	Leaves    []evidence.Proved
}

// Dossiers keeps what is shown of promotions.
type Dossiers interface {
	// Dossier returns what was written about a promotion of a version of a model.
	// ErrNotFound for one that was not applied.
	Dossier(ctx context.Context, tenant, action, model string, version int) (Dossier, error)
	// KeepPack writes the pack of a promotion, once; a later one changes nothing.
	KeepPack(ctx context.Context, in contract.KeepInput) error
}

// Evidence packs what shows why a promotion was right.
type Evidence struct {
	Blobs    Blobs
	Registry Registry
	Dossiers Dossiers
}

// PackEvidence puts the pack of a promotion together. Run again it may make
// another one, of a longer audit log, as good as the first; KeepEvidence keeps
// one. Final: [contract.BadPlan] when what was written does not decode.
func (e *Evidence) PackEvidence(ctx context.Context, in contract.EvidenceInput) (contract.Packed, error) {
	out, err := e.pack(ctx, in)
	return out, within(err, "evidence of %s", in.Action)
}

func (e *Evidence) pack(ctx context.Context, in contract.EvidenceInput) (contract.Packed, error) {
	var out contract.Packed
	var plan promotion.Plan
	if err := decode(ctx, e.Blobs, in.Plan, contract.BadPlan, &plan); err != nil {
		return out, err
	}
	if plan.Version == nil {
		return out, permanent(contract.BadPlan, evidence.ErrChain)
	}
	d, err := e.Dossiers.Dossier(ctx, in.Tenant, in.Action, plan.ModelID, plan.Version.Number)
	if err != nil {
		return out, settled(err)
	}
	m := evidence.Material{Promotion: in.Action, Serving: d.Serving, Request: d.Request, Note: d.Note, Leaves: d.Leaves, Rounds: map[int][]byte{}}
	if m.Manifest, err = e.Registry.Manifest(ctx, plan.Version.Repository, plan.Version.Package); err != nil {
		return out, err
	}
	pkg, err := modelpack.ParseManifest(m.Manifest)
	if err != nil {
		return out, permanent(contract.BadPlan, err)
	}
	if pkg.Card != nil {
		if m.Card, err = e.layer(ctx, plan.Version.Repository, pkg.Card.Digest); err != nil {
			return out, err
		}
	}
	for digest, into := range map[artifact.Digest]*[]byte{in.Plan: &m.Plan, d.Outcome: &m.Outcome, plan.Version.Bundle: &m.Package} {
		if *into, err = read(ctx, e.Blobs, digest); err != nil {
			return out, err
		}
	}
	if d.Rollout != "" {
		if m.Rollout, err = read(ctx, e.Blobs, d.Rollout); err != nil {
			return out, err
		}
	}
	if card, ok := evidence.Judged(d.Leaves, plan.Tenant, plan.ModelID, plan.Version.Number); ok {
		if m.Scorecard, err = read(ctx, e.Blobs, card); err != nil {
			return out, err
		}
	}
	for number, digest := range d.Rounds {
		if m.Rounds[number], err = read(ctx, e.Blobs, digest); err != nil {
			return out, err
		}
	}
	if m.Votes, err = e.all(ctx, d.Votes); err != nil {
		return out, err
	}
	if m.Delegated, err = e.all(ctx, d.Delegated); err != nil {
		return out, err
	}
	pack, err := m.Build()
	if err != nil {
		return out, permanent(contract.BadPlan, err)
	}
	packed, err := pack.Encode()
	if err != nil {
		return out, permanent(contract.BadPlan, err)
	}
	if out.Pack, err = e.Blobs.Put(ctx, artifact.MediaTypeEvidence, bytes.NewReader(packed)); err != nil {
		return out, err
	}
	out.Predicate, err = keep(ctx, e.Blobs, artifact.MediaTypePredicate, evidence.Statement{
		Tenant: plan.Tenant, Promotion: in.Action, Model: plan.ModelID, Environment: plan.Environment,
		Version: plan.Version.Number, Plan: in.Plan, Package: plan.Version.Package,
	})
	return out, err
}

// layer reads a small file of a package.
func (e *Evidence) layer(ctx context.Context, repository string, digest artifact.Digest) ([]byte, error) {
	content, err := e.Registry.Blob(ctx, repository, digest)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	return io.ReadAll(io.LimitReader(content, modelpack.MaxDocument))
}

func (e *Evidence) all(ctx context.Context, digests []artifact.Digest) ([][]byte, error) {
	var out [][]byte
	for _, digest := range digests {
		content, err := read(ctx, e.Blobs, digest)
		if err != nil {
			return nil, err
		}
		out = append(out, content)
	}
	return out, nil
}

// KeepEvidence writes the pack beside its promotion. Idempotent: the first
// stands.
func (e *Evidence) KeepEvidence(ctx context.Context, in contract.KeepInput) (contract.Nothing, error) {
	err := e.Dossiers.KeepPack(ctx, in)
	return contract.Nothing{}, within(settled(err), "evidence of %s", in.Action)
}
