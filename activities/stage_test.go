package activities_test

import (
	"cmp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

func TestNoSiteSeesAnOrderThatDoesNotVerify(t *testing.T) {
	tests := []struct {
		name   string
		change func(*testing.T, *activitytest.World, *contract.RegionInput)
		kind   string
	}{
		{"signed and whole", func(*testing.T, *activitytest.World, *contract.RegionInput) {}, ""},
		{"unsigned", func(_ *testing.T, w *activitytest.World, in *contract.RegionInput) {
			in.Signature = w.Keep(artifact.MediaTypeBundle, []byte(`{}`))
		}, contract.BadPackage},
		{"altered after it was signed", func(_ *testing.T, w *activitytest.World, in *contract.RegionInput) {
			altered := append([]byte(nil), w.Content[in.Manifest.Digest]...)
			altered[len(altered)/2] ^= 1
			in.Manifest = w.Keep(artifact.MediaTypeManifest, altered)
		}, contract.BadPackage},
		{"signed by a stranger", func(t *testing.T, w *activitytest.World, in *contract.RegionInput) {
			stranger := activitytest.New()
			stranger.Content = w.Content
			*in = resign(t, stranger, *in, artifact.PredicateRoundManifest)
		}, contract.BadPackage},
		{"signed as something else", func(t *testing.T, w *activitytest.World, in *contract.RegionInput) {
			*in = resign(t, w, *in, artifact.PredicatePolicy)
		}, contract.BadPackage},
		{"signed as secured, opened in the open", func(t *testing.T, w *activitytest.World, in *contract.RegionInput) {
			f := newFleet(t, round.Train, nil)
			in.Manifest = w.Keep(artifact.MediaTypeManifest, f.w.Content[f.w.Rounds["run-1/1"].Manifest.Digest])
			*in = resign(t, w, *in, artifact.PredicateRoundManifest)
		}, contract.BadPackage},
		{"signed for another round", func(t *testing.T, w *activitytest.World, in *contract.RegionInput) {
			other := begin(t, w, 7, round.Train)
			in.Manifest, in.Signature = other.Manifest, other.Signature
		}, contract.BadPackage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := world(t)
			in := begin(t, w, 1, round.Train)
			tt.change(t, w, &in)
			stages := &activities.Stage{Blobs: w, Rounds: w.Rows(), Verifier: w, Now: clock}
			_, err := act(t, contract.OpenStage, stages.OpenStage, in)
			require.Equal(t, tt.kind, kind(err))
			opened := w.StageOf(ref(1, round.Train, "eu")).Opened
			if tt.kind == "" {
				require.NoError(t, err)
				require.Equal(t, 1, opened)
				return
			}
			require.Zero(t, opened)
		})
	}
}

// resign signs the manifest of in with the world's key.
func resign(t *testing.T, w *activitytest.World, in contract.RegionInput, predicateType string) contract.RegionInput {
	t.Helper()
	signed, err := act(t, contract.SignStatement, (&activities.Sign{Blobs: w, Signer: w}).SignStatement, contract.SignInput{
		Subject: subject(), Name: "round", Digest: in.Manifest.Digest, PredicateType: predicateType,
	})
	require.NoError(t, err)
	in.Signature = signed.Bundle
	return in
}

// A secured round begins with keys, and sites that know but its first stage
// find no other.
func TestASecuredRoundOpensWithKeys(t *testing.T) {
	f := newFleet(t, round.Train, nil)
	in := contract.RegionInput{Subject: subject(), Run: "run-1", Number: 1, Kind: round.Train, Region: "eu", Sites: 5, Params: f.manifest.Params,
		Manifest: f.w.Rounds["run-1/1"].Manifest, Secured: true}
	in = resign(t, f.w, in, artifact.PredicateRoundManifest)
	got, err := act(t, contract.OpenStage, (&activities.Stage{Blobs: f.w, Rounds: f.w.Rows(), Verifier: f.w, Now: clock}).OpenStage, in)
	require.NoError(t, err)
	require.Equal(t, round.StageAdvertise, got.Stage)
	require.Equal(t, 1, f.w.StageOf(f.ref(round.StageAdvertise)).Opened)
	require.Zero(t, f.w.StageOf(f.ref(round.StageUpdate)).Opened)
}

func TestAWaitEndsWhenEverybodyHasAnsweredOrTheTimeIsUp(t *testing.T) {
	tests := []struct {
		name     string
		selected int
		enough   int
		before   time.Duration // age of the heartbeat that an earlier attempt left; 0: none
		arrives  int           // sites that answer, one a wait
		waits    int           // how often it waited
	}{
		{"everybody answers", 3, 0, 0, 3, 3},
		{"enough answer", 3, 2, 0, 3, 2},
		{"nobody is asked", 0, 0, 0, 0, 0},
		{"the time is up", 3, 0, 0, 1, 5}, // 10 s in waits of 2 s
		{"a restart goes on with the old clock", 3, 0, 8 * time.Second, 0, 1},
		{"a restart after the time is up counts once more", 3, 0, 20 * time.Second, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := world(t)
			now, waits := noon, 0
			stage := w.StageOf(ref(1, round.Train, "eu"))
			stage.Counts.Selected = tt.selected
			stage.Arrives = func(s *activitytest.Stage) {
				waits++
				now = now.Add(2 * time.Second)
				if s.Counts.Accepted < tt.arrives {
					s.Counts.Accepted++
				}
			}
			stages := &activities.Stage{Blobs: w, Rounds: w.Rows(), Verifier: w, Now: func() time.Time { return now }}
			got, err := act(t, contract.AwaitStage, stages.AwaitStage, contract.AwaitInput{StageRef: ref(1, round.Train, "eu"), Seconds: 10, Enough: tt.enough},
				func(env *testsuite.TestActivityEnvironment) {
					if tt.before > 0 {
						env.SetHeartbeatDetails(map[string]any{"deadline": noon.Add(10*time.Second - tt.before)})
					}
				})
			require.NoError(t, err)
			require.Equal(t, min(tt.arrives, tt.selected, cmp.Or(tt.enough, tt.selected)), got.Accepted)
			require.Equal(t, tt.waits, waits)
		})
	}
}
