package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/opa"
)

// policyWait is how long a process waits for a newer snapshot before it asks
// again, and policyPause how soon it does after a failure.
const (
	policyWait  = 30 * time.Second
	policyPause = 2 * time.Second
)

// followPolicy puts the policy in force under the rules of this process,
// whenever a snapshot brings another one. A snapshot that does not verify, or
// rules that do not compile over it, change nothing: what was in force decides
// on, and the log says what to do.
func followPolicy(ctx context.Context, snapshots api.Snapshots, verifier api.Verifier, engine *opa.Engine, log *slog.Logger) {
	after := int64(0)
	for ctx.Err() == nil {
		signed, version, ok, err := snapshots.SignedAfter(ctx, after, policyWait)
		if err == nil && ok {
			after = version
			err = govern(ctx, signed, verifier, engine)
		}
		if err != nil && ctx.Err() == nil {
			log.Error("the policy in force stays as it is", "snapshot", version, "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(policyPause):
			}
		}
	}
}

// govern takes the policy out of a signed snapshot: that with the highest
// revision that a region runs, as everywhere in the control plane.
func govern(ctx context.Context, signed routing.Signed, verifier api.Verifier, engine *opa.Engine) error {
	if _, err := verifier.Verify(ctx, signed.Bundle, artifact.PredicateSnapshot, artifact.DigestOf(signed.Snapshot)); err != nil {
		return fmt.Errorf("%w: %w", opa.ErrSignature, err)
	}
	var snapshot routing.Snapshot
	if err := json.Unmarshal(signed.Snapshot, &snapshot); err != nil {
		return err
	}
	var newest policy.Document
	for _, r := range snapshot.Regions {
		if d, ok := snapshot.Policy(r.Name); ok && d.Revision > newest.Revision {
			newest = d
		}
	}
	if newest.Revision <= engine.Revision() {
		return nil
	}
	bundle, err := opa.Shipped(newest)
	if err != nil {
		return err
	}
	return engine.Activate(ctx, bundle)
}
