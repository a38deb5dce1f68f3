package activities_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/round"
)

// More vectors than a store has connections for are added in several passes over
// a sum on disk: the bits are the same, and nothing is left of the sum. A vector
// that is lost, or is not what its digest says, is heard in whichever pass it is.
func TestAMaskedSumInSeveralPasses(t *testing.T) {
	for _, ring := range []int{32, 64} {
		f := newFleet(t, round.Train, func(p *round.Params) { p.Model.Inputs, p.Secure.Ring = 140_000, ring })
		want, cause := f.play(1)
		require.Empty(t, cause)
		f.requireSum(want, 0, 1, 2, 3, 4)
		spool := t.TempDir()
		again := func(open int) (contract.RegionResult, error) {
			sums := &activities.Aggregate{Blobs: f.w, Rounds: f.w.Rows(), Spool: spool, Open: open}
			return act(t, contract.AggregateMasked, sums.AggregateMasked, f.ref(round.StageUnmask))
		}
		for open := 1; open <= 5; open++ {
			delete(f.w.Content, want.Partial.Digest)
			got, err := again(open)
			require.NoError(t, err)
			require.Equal(t, want, got, "%d at a time", open)
			f.requireSum(got, 0, 1, 2, 3, 4)
		}
		for i, sub := range f.w.StageOf(f.ref(round.StageMask)).Submissions {
			digest := sub.Update.Digest
			content := f.w.Content[digest]
			for name, change := range map[string]func(){
				"is gone":   func() { delete(f.w.Content, digest) },
				"is short":  func() { f.w.Content[digest] = content[:len(content)-4] },
				"is longer": func() { f.w.Content[digest] = append(content[:len(content):len(content)], 0) },
			} {
				change()
				_, err := again(2)
				require.Error(t, err, "vector %d %s", i, name)
				f.w.Content[digest] = content
			}
		}
		left, err := os.ReadDir(spool)
		require.NoError(t, err)
		require.Empty(t, left)
	}
}
