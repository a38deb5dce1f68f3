package api_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/mocks"
	"go.temporal.io/sdk/temporal"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
)

func TestAVoteIsOneUpdateOfItsBallot(t *testing.T) {
	key, _ := newKey(t)
	vote := contract.SignedVote{Bundle: signedVote(t, key)}
	var sent []client.UpdateWorkflowOptions
	c := &mocks.Client{}
	refused := temporal.NewApplicationError("over", "closed")
	c.On("UpdateWorkflow", mock.Anything, mock.MatchedBy(func(o client.UpdateWorkflowOptions) bool { sent = append(sent, o); return true })).Return(nil, refused)
	for range 2 {
		_, err := api.NewTemporal(c).Vote(t.Context(), "promote-1", vote)
		require.ErrorIs(t, err, api.ErrClosed)
	}
	other := contract.SignedVote{Bundle: signedVote(t, key)} // ECDSA signs with a nonce: another signature
	_, err := api.NewTemporal(c).Vote(t.Context(), "promote-1", other)
	require.ErrorIs(t, err, api.ErrClosed)
	require.Len(t, sent, 3)
	require.Equal(t, contract.ApprovalID("promote-1"), sent[0].WorkflowID)
	require.Equal(t, contract.VoteNow.Name, sent[0].UpdateName)
	require.Equal(t, []any{vote}, sent[0].Args)
	require.Equal(t, sent[0].UpdateID, sent[1].UpdateID)
	// A forged vote with the same words must not take a true one's place.
	require.NotEqual(t, sent[0].UpdateID, sent[2].UpdateID)

	_, err = api.NewTemporal(c).Vote(t.Context(), "promote-1", contract.SignedVote{Bundle: "{}"})
	require.ErrorIs(t, err, api.ErrUnverified)
	require.Len(t, sent, 3)
}

func TestWhatTemporalSaysIsTranslated(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want error
	}{
		{"done", nil, nil},
		{"no such workflow", serviceerror.NewNotFound("gone"), api.ErrNotFound},
		{"away", serviceerror.NewUnavailable("down"), api.ErrUnavailable},
		{"anything else", errors.New("dial"), api.ErrUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &mocks.Client{}
			stop := contract.StopRequest{Actor: "ann"}
			c.On("SignalWorkflow", mock.Anything, contract.RunID("run-1"), "", contract.StopRun.Name, stop).Return(tt.err).Once()
			err := api.NewTemporal(c).StopRun(t.Context(), "run-1", stop)
			if tt.want == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, tt.want)
			}
			c.AssertExpectations(t)

			pause := contract.PauseRequest{Actor: "ann", Paused: true}
			c.On("SignalWorkflow", mock.Anything, contract.RunID("run-1"), "", contract.PauseRun.Name, pause).Return(tt.err).Once()
			require.ErrorIs(t, api.NewTemporal(c).PauseRun(t.Context(), "run-1", pause), tt.want)
			c.AssertExpectations(t)
		})
	}
}
