package round_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
)

func TestNext(t *testing.T) {
	tests := []struct {
		name  string
		state round.State
		count round.Counts
		want  round.Step
	}{
		{"proceeds with everybody", round.State{Need: 1}, round.Counts{Selected: 3, Accepted: 3}, round.Proceed},
		{"proceeds with its need", round.State{Need: 2}, round.Counts{Selected: 3, Accepted: 2}, round.Proceed},
		{"proceeds although some were refused", round.State{Need: 1}, round.Counts{Selected: 3, Accepted: 1, Rejected: 2}, round.Proceed},
		{"extends while somebody may answer", round.State{Need: 2, Extensions: 1}, round.Counts{Selected: 3, Accepted: 1}, round.Extend},
		{"extends no further than allowed", round.State{Need: 2, Extensions: 1, Extended: 1}, round.Counts{Selected: 3, Accepted: 1}, round.Abort},
		{"waits for nobody when all have answered", round.State{Need: 2, Extensions: 9}, round.Counts{Selected: 3, Accepted: 1, Rejected: 2}, round.Abort},
		{"never proceeds with nothing", round.State{}, round.Counts{}, round.Abort},
		{"takes no need for one", round.State{}, round.Counts{Selected: 3, Accepted: 1}, round.Proceed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.want, round.Next(tt.state, tt.count)) })
	}
}

// A stage ends: whatever is counted, Extend is answered at most Extensions times.
func TestNextEnds(t *testing.T) {
	for need := range 4 {
		for extensions := range 4 {
			for selected := range 4 {
				for accepted := range selected + 1 {
					for rejected := range selected - accepted + 1 {
						s := round.State{Need: need, Extensions: extensions}
						c := round.Counts{Selected: selected, Accepted: accepted, Rejected: rejected}
						for round.Next(s, c) == round.Extend {
							s.Extended++
							require.LessOrEqual(t, s.Extended, extensions)
						}
						if round.Next(s, c) == round.Proceed {
							require.Positive(t, accepted)
						}
					}
				}
			}
		}
	}
}

func TestNeed(t *testing.T) {
	cohort := []round.Cohort{{Region: "apac", Sites: 1}, {Region: "eu", Sites: 2}, {Region: "us", Sites: 2}}
	for quorum, want := range map[int][3]int{1: {1, 1, 1}, 3: {1, 1, 1}, 4: {1, 1, 1}, 5: {1, 2, 2}} {
		for i, c := range cohort {
			require.Equal(t, want[i], round.Need(quorum, cohort, c.Region), "quorum %d, %s", quorum, c.Region)
		}
	}
}

func TestQuorum(t *testing.T) {
	p := round.Params{Quorum: 3, QuorumRegions: 2}
	one, two := round.Counts{Selected: 2, Accepted: 1}, round.Counts{Selected: 2, Accepted: 2}
	tests := []struct {
		name      string
		delivered []round.Counts
		want      *round.QuorumError
	}{
		{"holds with enough of both", []round.Counts{two, one}, nil},
		{"fails with too few sites", []round.Counts{one, one}, &round.QuorumError{Sites: 2, NeedSites: 3, Regions: 2, NeedRegions: 2}},
		{"fails with too few regions", []round.Counts{{Selected: 5, Accepted: 5}}, &round.QuorumError{Sites: 5, NeedSites: 3, Regions: 1, NeedRegions: 2}},
		{"counts no region that delivered nobody", []round.Counts{two, {Selected: 2}}, &round.QuorumError{Sites: 2, NeedSites: 3, Regions: 1, NeedRegions: 2}},
		{"fails with nothing", nil, &round.QuorumError{NeedSites: 3, NeedRegions: 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := round.Quorum(p, tt.delivered)
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, round.ErrQuorum)
			var got *round.QuorumError
			require.ErrorAs(t, err, &got)
			require.Equal(t, tt.want, got)
		})
	}
	require.Error(t, round.Quorum(round.Params{}, nil), "a quorum of nobody is still one site")
}
