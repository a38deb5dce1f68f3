package api

import (
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A verifier whose index is away has refused nothing: 503 and not 422.
func TestOnlyARefusedBundleIsUnverified(t *testing.T) {
	var refused *Problem
	require.ErrorAs(t, judged(&artifact.VerifyError{Err: artifact.ErrBundle}, "why"), &refused)
	require.Equal(t, http.StatusUnprocessableEntity, refused.Kind.Status)
	require.Equal(t, "why", refused.Detail)
	away := judged(ErrUnavailable, "why")
	require.ErrorIs(t, away, ErrUnavailable)
	require.False(t, errors.As(away, &refused))
}
