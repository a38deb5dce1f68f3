package secagg_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/secagg"
)

// Whoever's shares the secrets come from, what is derived from them is the
// same; another purpose, and another set of survivors, gives something else.
func TestWhatIsDerivedFromASumIsItsOwn(t *testing.T) {
	spec := specOf(secagg.Z32, 3)
	vectors := vectorsOf[uint32](7, 6, 3)
	derived := func(a absences) [32]byte {
		_, s, err := run(t, newPlay(t, spec, 6), a, vectors)
		require.NoError(t, err)
		x, _, err := s.group.Reconstruct(s.set, s.unmasking)
		require.NoError(t, err)
		require.NotEqual(t, x.Derive("noise"), x.Derive("rounding"))
		return x.Derive("noise")
	}
	all := derived(nil)
	require.Equal(t, all, derived(absences{secagg.StageUnmask: {0}}), "the shares are others, the secrets are not")
	require.NotEqual(t, all, derived(absences{secagg.StageMask: {0}}))
}
