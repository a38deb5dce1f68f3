//go:build bench

package simulation

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/simulate"
)

// The bar of 60 s is for two cores that do nothing else.
func TestTenThousandSites(t *testing.T) {
	data, err := simulate.Load("digits", 1)
	require.NoError(t, err)
	began := time.Now()
	r := run(t, simulate.Settings{
		Data: data, Sites: 10_000, Regions: 3, Dropout: 0.1, Stragglers: 0.05,
		Params: round.Params{Rounds: 20, BatchSize: 10, LearningRate: 0.5, Seed: 1, Secure: round.Secure{Mode: round.SecureOff}},
	})
	took := time.Since(began)
	t.Logf("10,000 virtual sites, 20 rounds: %.1f s, best accuracy %.4f", took.Seconds(), r.Best)
	require.Len(t, r.Rounds, 20)
	require.Less(t, took, time.Minute)
}

// One round of each size of a secure group, so that the cost of hiding is seen.
func TestSecureGroupsOfEachSize(t *testing.T) {
	data, err := simulate.Load("digits", 1)
	require.NoError(t, err)
	for _, group := range []int{8, 16, 32, 64, 100, 0} {
		began := time.Now()
		r := run(t, simulate.Settings{
			Data: data, Sites: 600, GroupSites: group, Dropout: 0.05,
			Params: round.Params{Rounds: 1, BatchSize: 10, LearningRate: 0.5, Seed: 1, Secure: round.Secure{Mode: round.SecureOn}},
		})
		n := r.Rounds[0]
		t.Logf("600 sites in %d groups: %.2f s, %.2f ms a site, %d answered, %d groups lost, %.1f KiB up and %.1f KiB down a site",
			n.Groups, time.Since(began).Seconds(), 1000*time.Since(began).Seconds()/600, n.Answered, n.Lost,
			float64(n.Uploaded)/600/1024, float64(n.Downloaded)/600/1024)
	}
}
