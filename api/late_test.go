package api_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// An open round of a buffered run takes an update from the weights that its
// manifest lists, if the site has signed that they are those; from others it is
// recorded as refused, by the site's name. Where nothing is late, nothing is.
func TestALateUpdateSaysWhereItStarted(t *testing.T) {
	buffered := round.Params{Model: spec, Strategy: round.Strategy{Name: round.FedBuff, Buffer: 2, MaxStaleness: 2}}
	plain := round.Params{Model: spec}
	tests := []struct {
		name   string
		params round.Params
		says   int // in the request
		signs  int
		status int
		code   string
		reason string // that is recorded
	}{
		{"in time", buffered, 0, 0, 202, "", ""},
		{"a round late", buffered, 4, 4, 202, "", ""},
		{"as late as may be", buffered, 3, 3, 202, "", ""},
		{"too late", buffered, 2, 2, 422, "bad_update", "weights that this one started from"},
		{"from a round that is to come", buffered, 6, 6, 422, "bad_update", "none"},
		{"otherwise than it signed", buffered, 4, 3, 422, "unverified", "none"},
		{"not as it signed", buffered, 0, 4, 422, "unverified", "none"},
		{"in a run without a buffer", plain, 4, 4, 422, "bad_update", "weights that this one started from"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := site1(t, round.Train)
			manifest, err := json.Marshal(round.Manifest{Run: "run-1", Number: 5, Kind: round.Train, Params: tt.params,
				Starts: []round.Start{{Number: 4, Base: artifact.DigestOf(nil)}, {Number: 3, Base: artifact.DigestOf(nil)}}})
			require.NoError(t, err)
			f.work.Manifest, f.work.Stage.Number = f.fabric.Keep(artifact.MediaTypeManifest, manifest), 5
			f.fabric.WorkItems["h1/s1"] = []api.Work{f.work}
			f.upload()
			req := f.answer(func(a *round.Answer) { a.Number, a.From = 5, tt.signs }, f.key)
			req.From = tt.says
			f.do("POST", "/rounds/run-1/5/submissions", req, f.auth).is(tt.status, tt.code)
			if tt.reason == "none" {
				require.Empty(t, f.fabric.Submissions)
				return
			}
			require.Len(t, f.fabric.Submissions, 1)
			require.Equal(t, tt.says, f.fabric.Submissions[0].From)
			if tt.reason == "" {
				require.Empty(t, f.fabric.Submissions[0].Reason)
			} else {
				require.Contains(t, f.fabric.Submissions[0].Reason, tt.reason)
			}
		})
	}
}

func TestOnlyATrainRoundTakesLateUpdates(t *testing.T) {
	f := site1(t, round.Evaluate)
	req := f.answer(func(a *round.Answer) { a.From = 1 }, f.key)
	req.From = 1
	f.do("POST", submissions, req, f.auth).is(422, "bad_update")
	require.Contains(t, f.fabric.Submissions[0].Reason, "only a train round")
}
