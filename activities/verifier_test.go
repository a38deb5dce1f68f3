package activities_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// undecided is a verifier that cannot judge, because what it asks is away.
type undecided struct {
	*activitytest.World
	err error
}

func (u undecided) Verify(context.Context, []byte, string, artifact.Digest) (json.RawMessage, error) {
	return nil, u.err
}

func (u undecided) VerifyIn(context.Context, string, []byte, string, artifact.Digest) (json.RawMessage, error) {
	return nil, u.err
}

// A kill of PostgreSQL while a signature was being judged once failed a run for
// good: what was not judged is asked again, and only a refusal is final.
func TestOnlyARefusalIsFinal(t *testing.T) {
	broken := errors.New("write: broken pipe")
	for _, tt := range []struct {
		name string
		err  error
		kind string
	}{
		{"the index is away", broken, ""},
		{"the signature is refused", &artifact.VerifyError{Err: artifact.ErrBundle}, contract.BadPackage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := world(t)
			verifier := undecided{w, tt.err}
			_, err := act(t, contract.OpenStage, (&activities.Stage{Blobs: w, Rounds: w.Rows(), Verifier: verifier, Now: clock}).OpenStage, begin(t, w, 1, round.Train))
			require.Error(t, err)
			require.Equal(t, tt.kind, kind(err))
			require.Zero(t, w.StageOf(ref(1, round.Train, "eu")).Opened)
		})
	}
}
