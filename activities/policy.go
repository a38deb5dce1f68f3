package activities

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// PolicyRepository is where the bundles of the routing policy are.
const PolicyRepository = "policies/routing"

// policyPath is the file of a policy bundle.
const policyPath = "policy.json"

// A Policy packs policies and attaches signatures.
type Policy struct {
	Blobs    Blobs
	Registry Registry
	Verifier Verifier
	Grants   Grants
}

// PushPolicy packs the plan's document, in its canonical bytes, as a bundle of
// the policy hub. Idempotent: the same document is the same package. Nobody
// runs it before it is signed. Final: [contract.BadPlan] for a document that is
// not valid.
func (p *Policy) PushPolicy(ctx context.Context, in contract.PushPolicyInput) (contract.PolicyPackage, error) {
	if err := granted(ctx, p.Grants, in.Grant, in.Tenant, in.Action, in.Plan); err != nil {
		return contract.PolicyPackage{}, within(err, "action %s", in.Action)
	}
	document, _, err := in.Plan.Document()
	if err != nil {
		return contract.PolicyPackage{}, permanent(contract.BadPlan, within(err, "action %s", in.Action))
	}
	encoded, err := document.Encode()
	if err != nil {
		return contract.PolicyPackage{}, permanent(contract.BadPlan, within(err, "action %s", in.Action))
	}
	out := contract.PolicyPackage{Repository: PolicyRepository, Revision: document.Revision}
	for _, region := range in.Plan.Regions {
		if !document.Open(region) {
			out.Closed = append(out.Closed, region)
		}
	}
	if out.Policy, err = p.Blobs.Put(ctx, artifact.MediaTypePolicy, bytes.NewReader(encoded)); err != nil {
		return contract.PolicyPackage{}, within(err, "action %s", in.Action)
	}
	out.Package, err = p.Registry.Push(ctx, out.Repository, Package{
		ArtifactType: artifact.MediaTypePolicy,
		ConfigType:   "application/vnd.oci.empty.v1+json",
		Config:       []byte("{}"),
		Layers: []Layer{{Descriptor: out.Policy, Path: policyPath, Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(encoded)), nil
		}}},
		Annotations: map[string]string{"io.github.atom-fabric.policy.revision": fmt.Sprint(document.Revision)},
	})
	if err != nil {
		return contract.PolicyPackage{}, within(err, "action %s: push to %s", in.Action, out.Repository)
	}
	return out, nil
}

// AttachSignature attaches a bundle to a package and verifies what the
// registry then lists. Idempotent: attached once. Final: [contract.BadPackage]
// for a bundle that does not verify, before anything is attached.
func (p *Policy) AttachSignature(ctx context.Context, in contract.AttachInput) (contract.Nothing, error) {
	if in.PredicateType == artifact.PredicatePolicy { // a package is signed for by its round
		err := kept(ctx, p.Grants, in.Grant)
		if err == nil && (in.Grant.Tenant != in.Tenant || in.Grant.Kind != promotion.KindPolicy) {
			err = permanent(contract.NoGrant, promotion.ErrGrant)
		}
		if err != nil {
			return contract.Nothing{}, within(err, "sign %s", in.Repository)
		}
	}
	bundle, err := read(ctx, p.Blobs, in.Bundle.Digest)
	if err == nil {
		err = attach(ctx, p.Registry, p.Verifier, in.Repository, in.Package, in.PredicateType, bundle)
	}
	if err != nil {
		return contract.Nothing{}, within(err, "sign %s", in.Repository)
	}
	return contract.Nothing{}, nil
}
