package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/recovery"
	"github.com/atom-fabric/fabric/domain/routing"
)

// Why a recovery point is not gone back to.
var (
	ErrNothing = errors.New("the data plane runs nothing yet")
	ErrPoint   = errors.New("it is not the recovery point of record under this sequence")
	ErrItem    = errors.New("it is not what the recovery point lists")
)

// A Point takes recovery points and verifies them.
type Point struct {
	Blobs     Blobs
	Heads     Heads
	Points    Points
	Versions  Versions
	Snapshots Snapshots
	Verifier  Verifier
	Now       func() time.Time
}

// TakePoint puts together what a tenant runs now, as the next point. Nothing is
// recorded yet. Idempotent: an action that took a point already is given that
// one. Final: [contract.BadPlan] while nothing runs, or too much.
func (p *Point) TakePoint(ctx context.Context, in contract.PointInput) (contract.Point, error) {
	out, err := p.take(ctx, in)
	return out, within(err, "recovery point of %s", in.Tenant)
}

func (p *Point) take(ctx context.Context, in contract.PointInput) (contract.Point, error) {
	if row, ok, err := p.Points.Taken(ctx, in.Tenant, in.Action); err != nil || ok {
		if err != nil {
			return contract.Point{}, err
		}
		text, err := read(ctx, p.Blobs, row.Digest)
		if err != nil {
			return contract.Point{}, err
		}
		return p.keepPoint(ctx, text)
	}
	newest, _, err := p.Points.NewestPoint(ctx, in.Tenant)
	if err != nil {
		return contract.Point{}, err
	}
	if err := p.seen(ctx, in.Tenant, newest); err != nil {
		return contract.Point{}, err
	}
	world, err := p.Snapshots.Latest(ctx)
	if err != nil {
		return contract.Point{}, err
	}
	if world.Version == 0 {
		return contract.Point{}, permanent(contract.BadPlan, ErrNothing)
	}
	point := recovery.Point{
		Sequence: newest.Sequence + 1, Previous: newest.Digest, Tenant: in.Tenant,
		At: p.Now().UTC().Truncate(time.Second), Snapshot: world.Version,
		Routes: []recovery.Route{}, Policies: []recovery.Policy{},
	}
	var served []recovery.Model
	for _, r := range world.Routes {
		if r.Tenant != in.Tenant {
			continue
		}
		point.Routes = append(point.Routes, recovery.Route{Model: r.Model, Environment: r.Environment, Version: r.Version,
			Package: packageIn(world, r), Regions: r.Regions, Callers: r.Callers, Simulated: r.Simulated})
		served = append(served, recovery.Model{ID: r.Model, Version: r.Version})
	}
	for _, r := range world.Regions {
		if err := p.keepPolicy(ctx, world, r); err != nil {
			return contract.Point{}, err
		}
		point.Policies = append(point.Policies, recovery.Policy{Region: r.Name, Revision: r.Policy, Digest: r.PolicyDigest})
	}
	if point.Models, point.Aliases, err = p.Points.InUse(ctx, in.Tenant, served); err != nil {
		return contract.Point{}, err
	}
	point.Sort()
	text, _, err := point.Encode()
	if err != nil {
		return contract.Point{}, permanent(contract.BadPlan, err)
	}
	return p.keepPoint(ctx, text)
}

// keepPoint stores a point, and what is to be signed about it.
func (p *Point) keepPoint(ctx context.Context, text []byte) (contract.Point, error) {
	point, err := recovery.Parse(text)
	if err != nil {
		return contract.Point{}, permanent(contract.BadPlan, err)
	}
	kept, err := p.Blobs.Put(ctx, artifact.MediaTypePredicate, bytes.NewReader(text))
	if err != nil {
		return contract.Point{}, err
	}
	predicate, err := keep(ctx, p.Blobs, artifact.MediaTypePredicate, point.Statement())
	return contract.Point{Sequence: point.Sequence, Point: kept, Predicate: predicate}, err
}

// packageIn returns the package that a route answers with.
func packageIn(world routing.Snapshot, r routing.Route) artifact.Digest {
	for _, p := range world.Packages {
		if p.Tenant == r.Tenant && p.Model == r.Model && p.Version == r.Version {
			return p.Manifest
		}
	}
	return ""
}

// keepPolicy stores the document that a region runs under its digest, so that
// the point does not depend on the data plane's history.
func (p *Point) keepPolicy(ctx context.Context, world routing.Snapshot, r routing.Region) error {
	document, ok := world.Policy(r.Name)
	if !ok {
		return permanent(contract.BadPlan, fmt.Errorf("region %s: %w", r.Name, routing.ErrNoPolicy))
	}
	text, err := document.Encode()
	if err != nil {
		return permanent(contract.BadPlan, err)
	}
	kept, err := p.Blobs.Put(ctx, artifact.MediaTypePolicy, bytes.NewReader(text))
	if err == nil && kept.Digest != r.PolicyDigest {
		err = permanent(contract.BadPlan, fmt.Errorf("policy of %s: %w", r.Name, ErrItem))
	}
	return err
}

// RecordPoint verifies a signed point and makes it the newest of its tenant,
// first in the database and then in the store of heads. Idempotent: recorded
// once per action. Final: [contract.StalePlan] when another point was first,
// [contract.BadPackage] when the signature does not verify.
func (p *Point) RecordPoint(ctx context.Context, in contract.RecordPointInput) (contract.PointResult, error) {
	out := contract.PointResult{Action: in.Action, Sequence: in.Point.Sequence, Digest: in.Point.Point.Digest}
	bundle, err := read(ctx, p.Blobs, in.Bundle.Digest)
	if err != nil {
		return out, within(err, "recovery point %d", in.Point.Sequence)
	}
	point, err := p.verify(ctx, in.Tenant, bundle, in.Point.Point.Digest)
	if err != nil {
		return out, within(err, "recovery point %d", in.Point.Sequence)
	}
	if err := p.Points.RecordPoint(ctx, in, point); err != nil {
		return out, within(settled(err), "recovery point %d", in.Point.Sequence)
	}
	// If we crash here, the next run finds the point recorded and moves the head.
	if err := p.advance(ctx, in.Tenant, recovery.Head{Sequence: point.Sequence, Digest: in.Point.Point.Digest}); err != nil {
		return out, within(err, "head of %s", in.Tenant)
	}
	return out, nil
}

// verify accepts a point only if our key signed it, in one form, for its tenant.
func (p *Point) verify(ctx context.Context, tenant string, bundle []byte, digest artifact.Digest) (recovery.Point, error) {
	predicate, err := p.Verifier.Verify(ctx, bundle, artifact.PredicateRecoveryPoint, digest)
	if err != nil {
		return recovery.Point{}, unverified(ctx, err)
	}
	text, err := read(ctx, p.Blobs, digest)
	if err != nil {
		return recovery.Point{}, err
	}
	point, err := recovery.Parse(text)
	if err != nil {
		return point, permanent(contract.BadPackage, err)
	}
	var said recovery.Statement
	if err := artifact.DecodeStrict(predicate, &said); err != nil || said != point.Statement() || point.Tenant != tenant {
		return point, permanent(contract.BadPackage, ErrPoint)
	}
	return point, nil
}

func headName(tenant string) string { return "recovery/" + tenant }

// head returns the newest point that the store of heads has seen.
func (p *Point) head(ctx context.Context, tenant string) (recovery.Head, string, error) {
	content, tag, err := p.Heads.Head(ctx, headName(tenant))
	if errors.Is(err, ErrNotFound) {
		return recovery.Head{}, "", nil
	}
	var head recovery.Head
	if err == nil {
		err = json.Unmarshal(content, &head)
	}
	return head, tag, err
}

// seen refuses a database that shows an older newest point than was recorded
// before: somebody has set it back.
func (p *Point) seen(ctx context.Context, tenant string, newest PointRow) error {
	head, _, err := p.head(ctx, tenant)
	if err != nil {
		return err
	}
	if err := head.Allows(recovery.Head{Sequence: newest.Sequence, Digest: newest.Digest}); err != nil {
		return permanent(contract.BadPackage, err)
	}
	return nil
}

// advance moves the store's head to the point, unless it is further already.
func (p *Point) advance(ctx context.Context, tenant string, to recovery.Head) error {
	for range races {
		head, tag, err := p.head(ctx, tenant)
		if err != nil {
			return err
		}
		if head.Sequence >= to.Sequence {
			return nil
		}
		content, err := json.Marshal(to)
		if err != nil {
			return err
		}
		if err := p.Heads.Swap(ctx, headName(tenant), tag, content); err == nil || !errors.Is(err, ErrStale) {
			return err
		}
	}
	return ErrStale // retried
}

// VerifyPoint says whether a point may be gone back to: it is the one of record,
// the newest one has not been set back, every point from it to the newest is
// signed and names the one before, and each item is what its digest says. It
// returns what the regions must hold. Idempotent: it reads, and heartbeats for
// each point and item. Final:
// [contract.BadPlan] for a point that is none, [contract.BadPackage] for one
// that does not verify.
func (p *Point) VerifyPoint(ctx context.Context, in contract.VerifyPointInput) (contract.VerifiedPoint, error) {
	point, err := p.chain(ctx, in)
	if err == nil {
		err = p.items(ctx, point)
	}
	if err != nil {
		return contract.VerifiedPoint{}, within(err, "recovery point %d", in.Sequence)
	}
	out := contract.VerifiedPoint{Items: point.Items()}
	for _, r := range point.Routes {
		i := slices.IndexFunc(out.Holds, func(h contract.HeldPart) bool { return h.ModelID == r.Model && h.Version == r.Version })
		if i < 0 {
			out.Holds = append(out.Holds, contract.HeldPart{ModelID: r.Model, Version: r.Version, Package: r.Package})
			i = len(out.Holds) - 1
		}
		out.Holds[i].Regions = append(out.Holds[i].Regions, r.Regions...)
		slices.Sort(out.Holds[i].Regions)
		out.Holds[i].Regions = slices.Compact(out.Holds[i].Regions)
	}
	return out, nil
}

// pageOfPoints is how many rows of the chain are read at once.
const pageOfPoints = 256

// chain verifies from the point to the newest.
func (p *Point) chain(ctx context.Context, in contract.VerifyPointInput) (recovery.Point, error) {
	newest, ok, err := p.Points.NewestPoint(ctx, in.Tenant)
	if err != nil {
		return recovery.Point{}, err
	}
	if !ok || in.Sequence < 1 || in.Sequence > newest.Sequence {
		return recovery.Point{}, permanent(contract.BadPlan, ErrPoint)
	}
	if err := p.seen(ctx, in.Tenant, newest); err != nil {
		return recovery.Point{}, err
	}
	var first recovery.Point
	var last recovery.Head
	for from := in.Sequence; from <= newest.Sequence; from = last.Sequence + 1 {
		rows, err := p.Points.Points(ctx, in.Tenant, from, pageOfPoints)
		if err != nil {
			return first, err
		}
		if len(rows) == 0 {
			return first, permanent(contract.BadPackage, recovery.ErrChain)
		}
		for _, row := range rows {
			activity.RecordHeartbeat(ctx, row.Sequence)
			bundle, err := read(ctx, p.Blobs, row.Bundle.Digest)
			if err != nil {
				return first, err
			}
			point, err := p.verify(ctx, in.Tenant, bundle, row.Digest)
			if err != nil {
				return first, err
			}
			switch {
			case last.Sequence > 0:
				err = point.Follows(last)
			case point.Sequence != in.Sequence || row.Digest != in.Point:
				err = ErrPoint
			default:
				first = point
			}
			if err != nil {
				return first, permanent(contract.BadPackage, err)
			}
			last = recovery.Head{Sequence: point.Sequence, Digest: row.Digest}
		}
	}
	return first, nil
}

// items compares every item with its digest.
func (p *Point) items(ctx context.Context, point recovery.Point) error {
	wrong := func(what string, err error) error {
		return permanent(contract.BadPackage, fmt.Errorf("%s: %w", what, err))
	}
	for i, m := range point.Models {
		activity.RecordHeartbeat(ctx, i)
		what := fmt.Sprintf("%s version %d", m.ID, m.Version)
		registered, _, err := p.Versions.Version(ctx, point.Tenant, m.ID, m.Version)
		if errors.Is(err, ErrNotFound) || err == nil && (registered.Package != m.Package || registered.Weights != m.Weights || registered.Bundle != m.Bundle || registered.Repository != m.Repository) {
			return wrong(what, ErrItem)
		}
		if err != nil {
			return err
		}
		bundle, err := read(ctx, p.Blobs, m.Bundle)
		if err != nil {
			return err
		}
		if _, err := p.Verifier.VerifyIn(ctx, m.Repository, bundle, artifact.PredicateModelPackage, m.Package); err != nil {
			return within(unverified(ctx, err), "%s", what)
		}
	}
	for i, d := range point.Policies {
		activity.RecordHeartbeat(ctx, i)
		if _, err := policyAt(ctx, p.Blobs, d); err != nil {
			return err
		}
	}
	return nil
}

// policyAt returns the document that a region ran.
func policyAt(ctx context.Context, blobs Blobs, d recovery.Policy) (policy.Document, error) {
	text, err := read(ctx, blobs, d.Digest)
	if err != nil {
		return policy.Document{}, err
	}
	document, err := policy.Parse(text)
	if err == nil && document.Revision != d.Revision {
		err = ErrItem
	}
	if err != nil {
		return document, permanent(contract.BadPackage, fmt.Errorf("policy of %s: %w", d.Region, err))
	}
	return document, nil
}
