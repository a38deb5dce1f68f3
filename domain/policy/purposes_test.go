package policy_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/policy"
)

func serving(purposes ...string) policy.Document {
	d := policy.Default()
	d.Rules[0].Purposes = purposes
	return d
}

func TestLoosensKnowsPurposes(t *testing.T) {
	tests := []struct {
		name     string
		from, to policy.Document
		want     string
	}{
		{"the same", serving("care"), serving("care"), ""},
		{"fewer", serving("care", "research"), serving("care"), ""},
		{"some where there was any", serving(), serving("care"), ""},
		{"one more", serving("care"), serving("care", "research"), "tenant any other, model any other: calls for research become permitted in any other"},
		{"any where there were some", serving("care"), serving(), "tenant any other, model any other: calls for any other purpose become permitted in any other"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			why, loosens := policy.Loosens(tt.from, tt.to)
			require.Equal(t, tt.want, why)
			require.Equal(t, tt.want != "", loosens)
		})
	}
	require.Equal(t, []policy.Change{{What: "rule default", From: "tenant *, model *: in * by neural", To: "tenant *, model *: in * by neural for care"}},
		policy.Diff(serving(), serving("care")))
	require.ErrorIs(t, serving("Care").Validate(), policy.ErrPurposes)
	require.ErrorIs(t, serving("care", "care").Validate(), policy.ErrPurposes)
}

// With a leeway of a quarter, weights of 400, 200, 200, 200 and a caller that
// wants cost alone: three quarters of 0.4, 0.2, 0.2, 0.2, and a quarter of cost.
func TestBlendGivesTheCallerItsLeeway(t *testing.T) {
	d := policy.Default()
	wishes := policy.Weights{Cost: 7}
	require.Equal(t, d.Weights, d.Blend(wishes), "no leeway")
	d.Leeway = 250
	require.Equal(t, policy.Weights{Latency: 300_000, Cost: 400_000, Fabric: 150_000, Locality: 150_000}, d.Blend(wishes))
	require.Equal(t, d.Weights, d.Blend(policy.Weights{}), "no wishes")
	d.Leeway = 1000
	require.Equal(t, policy.Weights{Cost: 1_000_000}, d.Blend(wishes))
	d.Leeway = 1001
	require.ErrorIs(t, d.Validate(), policy.ErrLeeway)
}
