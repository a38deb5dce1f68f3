package activities

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// A ReplicaStatement is what a region's copy is signed as: the predicate of
// replication/v1, about the package's manifest.
type ReplicaStatement struct {
	Tenant     string            `json:"tenant"`
	Model      string            `json:"model"`
	Version    int               `json:"version"`
	Repository string            `json:"repository"`
	Region     string            `json:"region"`
	From       string            `json:"from"` // base URL of the registry that it was copied from
	To         string            `json:"to"`   // and of the mirror
	Layers     []ReplicaLayer    `json:"layers"`
	Referrers  []artifact.Digest `json:"referrers"` // manifests of the signatures and statements, ascending
	At         time.Time         `json:"at"`        // when all of it had been read there
}

// A ReplicaLayer is content that was read at the far end and compared with its
// digest.
type ReplicaLayer struct {
	Digest    artifact.Digest `json:"digest"`
	SizeBytes int64           `json:"sizeBytes"`
}

// InspectReplica reads all of a package in a region's mirror: its signature
// verifies, every layer is what its digest says, and everything that should
// refer to it does. It keeps the statement that is to be signed. Idempotent: it
// reads. Final: [contract.BadPackage] when what is there is not the package.
func (m *MirrorCopy) InspectReplica(ctx context.Context, in contract.InspectInput) (contract.Inspected, error) {
	statement, err := m.inspect(ctx, in)
	if err != nil {
		return contract.Inspected{}, within(err, "%s@%s in %s", in.Repository, in.Package.Digest.Short(), in.Region)
	}
	out := contract.Inspected{Registry: statement.To, Layers: len(statement.Layers), Referrers: len(statement.Referrers)}
	for _, l := range statement.Layers {
		out.SizeBytes += l.SizeBytes
	}
	out.Predicate, err = keep(ctx, m.Blobs, artifact.MediaTypePredicate, statement)
	return out, err
}

func (m *MirrorCopy) inspect(ctx context.Context, in contract.InspectInput) (ReplicaStatement, error) {
	mirror := m.Mirrors.Mirror(in.Region)
	statement := ReplicaStatement{
		Tenant: in.Tenant, Model: in.ModelID, Version: in.Version, Repository: in.Repository, Region: in.Region,
		From: m.Mirrors.Source().URL(), To: mirror.URL(), Layers: []ReplicaLayer{}, Referrers: in.Referrers,
	}
	if statement.Referrers == nil {
		statement.Referrers = []artifact.Digest{}
	}
	if _, err := checkPackage(ctx, mirror, m.Verifier, packageAt(in.ReplicaInput)); err != nil {
		return statement, err
	}
	_, blobs, err := contents(ctx, mirror, in.ReplicaInput)
	if err != nil {
		return statement, err
	}
	for i, d := range blobs {
		activity.RecordHeartbeat(ctx, i)
		if err := whole(ctx, mirror, in.Repository, d); err != nil {
			return statement, err
		}
		statement.Layers = append(statement.Layers, ReplicaLayer{d.Digest, d.SizeBytes})
	}
	for _, digest := range in.Referrers {
		activity.RecordHeartbeat(ctx, len(blobs))
		r, ok, err := readReferrer(ctx, mirror, in.ReplicaInput, digest)
		if err == nil && !ok {
			err = ErrLostReferrer
		}
		for _, d := range r.blobs {
			if err == nil {
				err = whole(ctx, mirror, in.Repository, d)
			}
		}
		if err != nil {
			return statement, fmt.Errorf("referrer %s: %w", digest.Short(), err)
		}
	}
	statement.At = m.Now().UTC().Truncate(time.Second)
	return statement, m.listed(ctx, mirror, in)
}

// listed says whether the mirror lists everything that refers to the package:
// what is there and is not listed is found by nobody.
func (m *MirrorCopy) listed(ctx context.Context, mirror Carrier, in contract.InspectInput) error {
	listed, err := mirror.Referrers(ctx, in.Repository, in.Package.Digest)
	if err != nil {
		return crowded(err)
	}
	there := map[artifact.Digest]bool{}
	for _, d := range listed {
		there[d] = true
	}
	for _, d := range in.Referrers {
		if !there[d] {
			return fmt.Errorf("referrer %s: %w", d.Short(), ErrLostReferrer)
		}
	}
	return nil
}

// whole reads a blob to its end. That it is other content than its digest says
// is final; that it is not there yet is not.
func whole(ctx context.Context, at Registry, repository string, d artifact.Descriptor) error {
	content, err := from(at, repository, d)(ctx)
	if err != nil {
		return fmt.Errorf("layer %s: %w", d.Digest.Short(), err)
	}
	n, err := io.Copy(io.Discard, content)
	err = errors.Join(err, content.Close())
	switch {
	case errors.Is(err, artifact.ErrContent), errors.Is(err, artifact.ErrTooLarge):
		return permanent(contract.BadPackage, fmt.Errorf("layer %s: %w", d.Digest.Short(), err))
	case err != nil:
		return fmt.Errorf("layer %s: %w", d.Digest.Short(), err)
	case n != d.SizeBytes:
		return permanent(contract.BadPackage, fmt.Errorf("layer %s has %d bytes, not %d: %w", d.Digest.Short(), n, d.SizeBytes, artifact.ErrContent))
	}
	return nil
}

// AttachReplica attaches the signed statement of a replication in the mirror.
// Idempotent: a mirror that has one which says the same gets no second.
// Final: [contract.BadPackage] when it does not verify.
func (m *MirrorCopy) AttachReplica(ctx context.Context, in contract.AttachReplicaInput) (contract.Nothing, error) {
	err := m.attachReplica(ctx, in)
	return contract.Nothing{}, within(err, "statement about %s@%s in %s", in.Repository, in.Package.Digest.Short(), in.Region)
}

func (m *MirrorCopy) attachReplica(ctx context.Context, in contract.AttachReplicaInput) error {
	mirror := m.Mirrors.Mirror(in.Region)
	var want ReplicaStatement
	if err := decode(ctx, m.Blobs, in.Predicate.Digest, contract.BadPackage, &want); err != nil {
		return err
	}
	bundles, err := mirror.Bundles(ctx, in.Repository, in.Package.Digest, artifact.PredicateReplication)
	if err != nil {
		return crowded(err)
	}
	for _, b := range bundles {
		predicate, err := m.Verifier.VerifyIn(ctx, in.Repository, b, artifact.PredicateReplication, in.Package.Digest)
		if err := unverified(ctx, err); err != nil && !final(err) {
			return err
		}
		var said ReplicaStatement
		if err != nil || artifact.DecodeStrict(predicate, &said) != nil {
			continue // somebody else's, which proves nothing
		}
		said.At = want.At
		if reflect.DeepEqual(said, want) {
			return nil
		}
	}
	bundle, err := read(ctx, m.Blobs, in.Bundle.Digest)
	if err != nil {
		return err
	}
	return attach(ctx, mirror, m.Verifier, in.Repository, in.Package, artifact.PredicateReplication, bundle)
}

// RecordReplica ends a replication. Idempotent: an attempt ends once.
func (m *MirrorCopy) RecordReplica(ctx context.Context, in contract.ReplicaOutcome) (contract.Nothing, error) {
	err := m.Replicas.RecordReplica(ctx, in)
	return contract.Nothing{}, within(settled(err), "replica of %s/%d in %s", in.ModelID, in.Version, in.Region)
}

// VerifyHeld reads all of a version in a region's mirror again, by the signed
// statement of its replication. A way back calls it before anything moves.
// Idempotent: it reads. Final: [contract.NotHeld] when the region was never
// given it, [contract.BadPackage] when what it holds is not what was signed.
func (m *MirrorCopy) VerifyHeld(ctx context.Context, in contract.HeldInput) (contract.Nothing, error) {
	err := m.verifyHeld(ctx, in)
	return contract.Nothing{}, within(err, "%s version %d in %s", in.ModelID, in.Version, in.Region)
}

func (m *MirrorCopy) verifyHeld(ctx context.Context, in contract.HeldInput) error {
	all, err := m.Replicas.Replicas(ctx, in.Tenant, in.ModelID, in.Version)
	if err != nil {
		return settled(err)
	}
	for _, r := range all {
		if r.Region != in.Region || r.State != contract.ReplicaHeld || r.Package != in.Package {
			continue
		}
		bundle, err := read(ctx, m.Blobs, r.Bundle.Digest)
		if err != nil {
			return err
		}
		predicate, err := m.Verifier.VerifyIn(ctx, r.Input.Repository, bundle, artifact.PredicateReplication, in.Package)
		if err != nil {
			return within(unverified(ctx, err), "its replication")
		}
		var said ReplicaStatement
		if err := artifact.DecodeStrict(predicate, &said); err != nil || said.Tenant != in.Tenant || said.Model != in.ModelID || said.Region != in.Region {
			return permanent(contract.BadPackage, fmt.Errorf("its replication: %w", ErrContents))
		}
		_, err = m.inspect(ctx, contract.InspectInput{ReplicaInput: r.Input, Referrers: said.Referrers})
		if errors.Is(err, ErrLostReferrer) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnsigned) {
			return permanent(contract.BadPackage, err) // it was there: it is gone
		}
		return err
	}
	return permanent(contract.NotHeld, ErrNotHeld)
}

// ErrNotHeld says that a region's mirror was never found to hold a version.
var ErrNotHeld = errors.New("the region does not hold the verified package")
