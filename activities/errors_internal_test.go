package activities

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/atom-fabric/fabric/contract"
)

func TestWhatAFailureHappenedIn(t *testing.T) {
	require.NoError(t, within(nil, "action %s", "a1"), "where nothing failed there is nothing to say")
	require.NoError(t, about("run-1", 2, nil))

	passing := within(ErrNotFound, "action %s", "a1")
	require.EqualError(t, passing, "action a1: not found")
	require.ErrorIs(t, passing, ErrNotFound)
	require.False(t, final(passing))

	ended := about("run-1", 2, within(permanent(contract.BadPlan, ErrPlan), "push"))
	require.ErrorIs(t, ended, ErrPlan)
	var outermost *temporal.ApplicationError
	require.True(t, errors.As(ended, &outermost))
	require.Same(t, outermost, ended, "Temporal looks no deeper")
	require.True(t, outermost.NonRetryable())
	require.Equal(t, contract.BadPlan, outermost.Type())
	require.Equal(t, "round run-1/2: push: "+ErrPlan.Error(), outermost.Message())
}
