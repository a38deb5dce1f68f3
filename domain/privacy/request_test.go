package privacy_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/round"
)

var manifestDigest = artifact.DigestOf([]byte("manifest"))

func manifest(t *testing.T, mechanism string, change func(*round.Manifest)) round.Manifest {
	t.Helper()
	p := round.Params{Model: round.ModelSpec{Inputs: 3}, Features: []string{"f"}, Bounds: [][2]float64{{0, 1}, {0, 1}, {0, 1}}}
	if mechanism != "" {
		p.Privacy = round.Privacy{Mechanism: mechanism, NoiseMultiplier: 2}
	}
	p, err := p.Validate()
	require.NoError(t, err)
	m := round.Manifest{Run: "r", Number: 1, Kind: round.Train, Params: p, Secured: true,
		Features: []round.FeatureRef{{Tenant: "h1", Feature: "f"}, {Tenant: "h2", Feature: "f"}},
		Cohort:   []round.Cohort{{Region: "eu", Sites: 5}, {Region: "us", Sites: 9}}}
	if change != nil {
		change(&m)
	}
	return m
}

func TestWhatARoundCosts(t *testing.T) {
	tests := []struct {
		name      string
		mechanism string
		change    func(*round.Manifest)
		exact     bool
		private   bool
		mechanic  dp.Mechanism
	}{
		{"a round without noise is exact", "", nil, true, false, ""},
		{"and so is its evaluation", "", func(m *round.Manifest) { m.Kind = round.Evaluate }, true, false, ""},
		{"statistics are exact", round.PrivacySkellam, func(m *round.Manifest) { m.Kind = round.Statistics }, true, false, ""},
		{"the evaluation of a private run costs nothing", round.PrivacySkellam, func(m *round.Manifest) { m.Kind = round.Evaluate }, false, false, ""},
		{"noise on the sum", round.PrivacyCentral, nil, false, true, dp.Gaussian},
		{"noise on a sum in the open", round.PrivacyCentral, func(m *round.Manifest) { m.Secured = false }, false, true, dp.Gaussian},
		{"noise at the sites", round.PrivacyDiscrete, nil, false, true, dp.DistributedGaussian},
		{"Skellam noise at the sites", round.PrivacySkellam, nil, false, true, dp.Skellam},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := privacy.Of(manifest(t, tt.mechanism, tt.change), manifestDigest)
			require.NoError(t, err)
			require.Equal(t, []privacy.Feature{{Tenant: "h1", Feature: "f"}, {Tenant: "h2", Feature: "f"}}, r.Features)
			require.Equal(t, tt.exact, r.Exact)
			require.Equal(t, tt.private, r.Private())
			for _, e := range r.Events {
				require.NoError(t, e.Validate())
				require.Equal(t, tt.mechanic, e.Mechanism)
			}
		})
	}
	_, err := privacy.Of(manifest(t, round.PrivacySkellam, func(m *round.Manifest) { m.Secured = false }), manifestDigest)
	require.ErrorIs(t, err, round.ErrNotSummed, "shares of noise in the open")
}

// The groups are disjoint: the round costs at least what each of them does, and
// what is charged does not depend on their order.
func TestARoundCostsWhatItsCostliestGroupDoes(t *testing.T) {
	for _, mechanism := range []string{round.PrivacyCentral, round.PrivacyDiscrete, round.PrivacySkellam} {
		m := manifest(t, mechanism, nil)
		r, err := privacy.Of(m, manifestDigest)
		require.NoError(t, err)
		largest := 0.0
		for _, c := range m.Cohort {
			form, err := payload.For(m, manifestDigest, c.Name())
			require.NoError(t, err)
			e, costs, err := form.Event()
			require.NoError(t, err)
			require.True(t, costs)
			largest = max(largest, epsilon(t, 1e-5, e))
		}
		total := epsilon(t, 1e-5, r.Events...)
		require.GreaterOrEqual(t, total, largest, mechanism)
		require.Len(t, r.Events, 1, "one of them dominates")
		require.Equal(t, largest, total, mechanism)
		m.Cohort[0], m.Cohort[1] = m.Cohort[1], m.Cohort[0]
		other, err := privacy.Of(m, manifestDigest)
		require.NoError(t, err)
		require.Equal(t, total, epsilon(t, 1e-5, other.Events...), mechanism)
	}
}
