package promotion_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/routing"
)

func TestAPlanHoldsWhileWhatItSawIsSo(t *testing.T) {
	now := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	world, _, err := routing.Snapshot{}.Rebase([]string{"eu", "us"}, nil, policy.Default(), now)
	require.NoError(t, err)
	load := func(s routing.Snapshot, model string, version int) routing.Snapshot {
		s, err := s.Load(routing.Package{Tenant: "t", Model: model, Version: version, Manifest: artifact.DigestOf([]byte{byte(version)}), Regions: []string{"eu", "us"}}, now)
		require.NoError(t, err)
		return s
	}
	serve := func(s routing.Snapshot, model string, version int, regions ...string) routing.Snapshot {
		s, err := load(s, model, version).Switch(routing.Route{Tenant: "t", Model: model, Environment: "production", Version: version, Regions: regions}, now)
		require.NoError(t, err)
		return s
	}
	govern := func(s routing.Snapshot, revision int64, threshold int, regions ...string) routing.Snapshot {
		d := policy.Default()
		d.Revision, d.Threshold = revision, threshold
		s, err := s.Govern(d, regions, now)
		require.NoError(t, err)
		return s
	}
	served := serve(world, "m", 1, "eu", "us")
	second := policy.Default()
	second.Revision, second.Threshold = 2, 10
	encoded, err := json.MarshalIndent(second, "", " ") // spaced, as a history may hold it
	require.NoError(t, err)
	document := json.RawMessage(encoded)

	promote := promotion.Plan{Kind: promotion.KindPromotion, Tenant: "t", ModelID: "m", Environment: "production", Regions: []string{"eu", "us"}}
	promote.Observed = promotion.Observe(promote.Kind, "t", "m", "production", promote.Regions, served)
	rule := promotion.Plan{Kind: promotion.KindPolicy, Tenant: "t", Environment: "production", Regions: []string{"eu", "us"}, Policy: &document}
	rule.Observed = promotion.Observe(rule.Kind, "t", "", "production", rule.Regions, served)
	require.Equal(t, promotion.Observed{Snapshot: 3, Champion: 1, Package: artifact.DigestOf([]byte{1}), Served: []int{1, 1}}, promote.Observed)
	require.Equal(t, promotion.Observed{Snapshot: 3, Policy: 1}, rule.Observed)

	tests := []struct {
		name  string
		plan  promotion.Plan
		world routing.Snapshot
		stale bool
	}{
		{"a promotion in the same world", promote, served, false},
		{"a promotion after another model's", promote, serve(served, "other", 7, "eu"), false},
		{"a promotion after a policy's", promote, govern(served, 2, 10, "eu", "us"), false},
		{"a promotion after its own package was loaded", promote, load(served, "m", 2), false},
		{"a promotion after another version was served", promote, serve(served, "m", 2, "us"), true},
		{"a promotion in a world that went back", promote, world, true},
		{"a policy in the same world", rule, served, false},
		{"a policy after a promotion", rule, serve(served, "m", 2, "us"), false},
		{"a policy half way through its own regions", rule, govern(served, 2, 10, "eu"), false},
		{"a policy after another's", rule, govern(served, 2, 99, "eu"), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.plan.Holds(tt.world)
			if tt.stale {
				require.ErrorIs(t, err, promotion.ErrStale)
				return
			}
			require.NoError(t, err)
		})
	}
}
