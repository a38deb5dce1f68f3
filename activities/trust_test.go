package activities_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/domain/trust"
	"github.com/atom-fabric/fabric/internal/cosign"
)

// underPolicy is the verifier that the product runs, with a trust policy of the
// world's key that change may edit. Every bundle was accepted at the time given.
func underPolicy(t *testing.T, w *activitytest.World, accepted time.Time, change func(p trust.Policy, id artifact.Digest) trust.Policy) *cosign.Verifier {
	t.Helper()
	root, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	entry := func(k *ecdsa.PublicKey, from time.Time) trust.Key {
		e, err := trust.NewKey(k, "fabric", from)
		require.NoError(t, err)
		return e
	}
	began := noon.Add(-48 * time.Hour)
	policy := trust.First(entry(&root.PublicKey, time.Time{}), entry(&w.Key.PublicKey, began), []string{trust.Simulation}, began, 365*24*time.Hour)
	policy = change(policy, artifact.KeyID(&w.Key.PublicKey))
	statement, err := trust.Statement(policy)
	require.NoError(t, err)
	bundle, err := artifact.SignStatement(rand.Reader, root, statement)
	require.NoError(t, err)
	text, err := policy.Encode()
	require.NoError(t, err)
	chain, err := trust.Chain{}.Append(trust.Signed{Policy: text, Bundles: []json.RawMessage{bundle}})
	require.NoError(t, err)
	judge, err := chain.Judge()
	require.NoError(t, err)
	return cosign.NewPolicyVerifier(cosign.Options{
		Trust: judge, Environment: trust.Simulation, Now: clock,
		Accepted: func(context.Context, artifact.Digest) (time.Time, error) { return accepted, nil },
	})
}

// A package was signed by a key that counted when it came in. What has become
// of the key since decides whether it may still be promoted.
func TestAPromotionLooksAtTheKeyOfThePackageAnew(t *testing.T) {
	yesterday := noon.Add(-24 * time.Hour)
	revoked := func(since time.Time) func(p trust.Policy, id artifact.Digest) trust.Policy {
		return func(p trust.Policy, id artifact.Digest) trust.Policy {
			p, err := p.Revoke(id, since, "stolen")
			require.NoError(t, err)
			return p
		}
	}
	retired := func(at time.Time) func(p trust.Policy, id artifact.Digest) trust.Policy {
		return func(p trust.Policy, _ artifact.Digest) trust.Policy { p.Keys[0].NotAfter = at; return p }
	}
	tests := []struct {
		name     string
		accepted time.Time // zero: never
		policy   func(p trust.Policy, id artifact.Digest) trust.Policy
		promoted bool
	}{
		{"a key that is good", yesterday, func(p trust.Policy, _ artifact.Digest) trust.Policy { return p }, true},
		{"a key whose time is over, of what came in before", yesterday, retired(noon.Add(-time.Hour)), true},
		{"a key whose time is over, of what came in since", noon.Add(-time.Minute), retired(noon.Add(-time.Hour)), false},
		{"a key whose time is over, of what never came in", time.Time{}, retired(noon.Add(-time.Hour)), false},
		{"a key that is revoked, of what came in before the theft", yesterday, revoked(noon.Add(-time.Hour)), true},
		{"a key that is revoked, of what came in since the theft", yesterday, revoked(yesterday.Add(-time.Hour)), false},
		{"a key that is revoked, of what never came in", time.Time{}, revoked(noon.Add(-time.Hour)), false},
		{"a policy that has expired", yesterday, func(p trust.Policy, _ artifact.Digest) trust.Policy { p.ExpiresAt = noon; return p }, false},
		{"a key that may not sign packages", yesterday, func(p trust.Policy, _ artifact.Digest) trust.Policy {
			p.Rules[0].Predicates = []string{artifact.PredicateSnapshot}
			return p
		}, false},
		{"a key for another repository", yesterday, func(p trust.Policy, _ artifact.Digest) trust.Policy {
			p.Rules[0].Repositories = []string{"models/north/**"}
			return p
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, plan := promotable(t)
			staff(t, w)
			in := planned(t, w, plan)
			in.Tenant, in.ModelID, in.Kind, in.Action = "clinic", "tumour", "promotion", "promotion-1"
			p := promotions(w)
			p.Verifier = underPolicy(t, w, tt.accepted, tt.policy)
			before := kept(w)
			_, err := act(t, contract.CheckPlan, p.CheckPlan, in)
			if tt.promoted {
				require.NoError(t, err)
				require.Contains(t, w.Ballots, "promotion-1")
				return
			}
			require.Equal(t, contract.BadPackage, kind(err))
			require.Empty(t, w.Ballots, "nobody is asked")
			require.Equal(t, before, kept(w))
		})
	}
}

// An attestation of the same key about the same package, but of another kind,
// is no signature of it, and no signature is an attestation.
func TestAStatementOfAnotherKindIsNoSignatureOfAPackage(t *testing.T) {
	for _, predicateType := range []string{artifact.PredicateModelPackage, artifact.PredicateSign, artifact.PredicateOMS} {
		t.Run("in the place of "+predicateType, func(t *testing.T) {
			w, plan := promotable(t)
			staff(t, w)
			in := planned(t, w, plan)
			in.Tenant, in.ModelID, in.Kind, in.Action = "clinic", "tumour", "promotion", "promotion-1"
			before := kept(w)
			p := promotions(w)
			p.Registry = confused{World: w, instead: cast(t, w.Key, plan.Version.Package, artifact.PredicatePromotion, map[string]string{"decision": "reject"}), of: predicateType}
			_, err := act(t, contract.CheckPlan, p.CheckPlan, in)
			require.Equal(t, contract.BadPackage, kind(err))
			require.Empty(t, w.Ballots)
			require.Equal(t, before, kept(w))
		})
	}
}

// Who may push to the registry can bury a package under referrers. That is a
// final refusal, not one to try again for ever.
func TestAPackageBuriedUnderReferrersIsRefusedForGood(t *testing.T) {
	w, plan := promotable(t)
	staff(t, w)
	in := planned(t, w, plan)
	in.Tenant, in.ModelID, in.Kind, in.Action = "clinic", "tumour", "promotion", "promotion-1"
	for range 65 {
		w.Referrers[plan.Version.Package] = append(w.Referrers[plan.Version.Package], []byte("{}"))
	}
	before := kept(w)
	_, err := act(t, contract.CheckPlan, promotions(w).CheckPlan, in)
	require.ErrorContains(t, err, "refused")
	require.Equal(t, contract.BadPackage, kind(err))
	require.Empty(t, w.Ballots, "nobody is asked")
	require.Equal(t, before, kept(w))
}

// confused is a registry that gives another statement for one kind.
type confused struct {
	*activitytest.World
	instead []byte
	of      string
}

func (c confused) Bundles(ctx context.Context, repository string, subject artifact.Digest, predicateType string) ([][]byte, error) {
	if predicateType == c.of {
		return [][]byte{c.instead}, nil
	}
	return c.World.Bundles(ctx, repository, subject, predicateType)
}

// kept is what a world holds.
func kept(w *activitytest.World) []any {
	return []any{
		slices.Sorted(maps.Keys(w.Content)), slices.Sorted(maps.Keys(w.Packages)), slices.Sorted(maps.Keys(w.Pushed)), len(w.Referrers),
		len(w.History), len(w.Models), slices.Sorted(maps.Keys(w.Outcomes)), len(w.Notices),
	}
}

// After a rotation the newest snapshot is published once more, under the new
// key: the same content, one version on.
func TestARenewedSnapshotIsTheSameUnderTodaysKey(t *testing.T) {
	w, plan := promotable(t)
	_, err := publish(t, w, plan, contract.PhaseLoad, "eu", "us")
	require.NoError(t, err)
	before := w.History[1]
	old := w.Key
	w.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	s := snapshots(w)
	s.Now = func() time.Time { return noon.Add(time.Hour) }
	require.NoError(t, s.Renew(t.Context()))

	require.Len(t, w.History, 3)
	after := w.History[2]
	require.Equal(t, before.Version+1, after.Version)
	require.Equal(t, noon.Add(time.Hour), after.IssuedAt)
	same := after
	same.Version, same.IssuedAt = before.Version, before.IssuedAt
	require.Equal(t, before, same, "nothing but what the version is")
	signed := w.Signed[2]
	open := func(key *ecdsa.PrivateKey) error {
		_, err := artifact.VerifyBundle([]*ecdsa.PublicKey{&key.PublicKey}, signed.Bundle, artifact.PredicateSnapshot, artifact.DigestOf(signed.Snapshot))
		return err
	}
	require.NoError(t, open(w.Key))
	require.ErrorIs(t, open(old), artifact.ErrUntrusted)
	require.Contains(t, w.Steps, "key renewal/3")
}

func TestWhatIsNotRenewed(t *testing.T) {
	t.Run("nothing where nothing was published", func(t *testing.T) {
		w := world(t)
		require.NoError(t, snapshots(w).Renew(t.Context()))
		require.Empty(t, w.History)
	})
	t.Run("nothing over what another process published meanwhile", func(t *testing.T) {
		w, _ := promotable(t)
		racing := snapshots(w)
		racing.Signer = &between{World: w, do: func() { serve(t, w, 7) }}
		versions := len(w.History)
		require.NoError(t, racing.Renew(t.Context()))
		require.Len(t, w.History, versions+2, "only what the other one published")
		require.NotContains(t, w.Steps, "key renewal/2")
	})
	for name, spoil := range map[string]func(s *activities.Snapshot, w *activitytest.World){
		"a signer that fails": func(s *activities.Snapshot, w *activitytest.World) { s.Signer = unable{w} },
		"a store that fails":  func(s *activities.Snapshot, w *activitytest.World) { s.Snapshots = deaf{w} },
	} {
		t.Run("a fault is told: "+name, func(t *testing.T) {
			w, _ := promotable(t)
			s := snapshots(w)
			spoil(s, w)
			versions := len(w.History)
			require.ErrorIs(t, s.Renew(t.Context()), errAway)
			require.Len(t, w.History, versions)
		})
	}
}

var errAway = errors.New("away")

type unable struct{ *activitytest.World }

func (unable) Sign(context.Context, []byte) ([]byte, error) { return nil, errAway }

type deaf struct{ *activitytest.World }

func (deaf) Publish(context.Context, string, string, routing.Snapshot, routing.Signed) error {
	return errAway
}
