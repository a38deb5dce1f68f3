package postgres

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/round"
)

// What a site has learnt from one round's weights counts once in a run: not
// again in another round, also when the first answer got lost on its way back,
// and not beside what it sent in time.
func TestALateUpdateCountsOnce(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	startRun(t, db, "owner", "run-1", "owner", "clinic")
	cohort := enrol(t, db, "clinic", "eu", 3)
	refs := map[int]contract.StageRef{}
	for n := 1; n <= 4; n++ {
		refs[n] = openRound(t, db, "owner", "run-1", n, cohort)
	}
	send := func(number, site, from int, reason string) error {
		s := answer(refs[number], cohort[site])
		s.From, s.Reason, s.Statement = from, reason, digest(fmt.Sprintf("%d %d %d", number, site, from))
		return db.Sites().Submit(ctx, caller("clinic"), s)
	}
	require.NoError(t, send(1, 0, 0, ""), "in time")
	require.ErrorIs(t, send(2, 0, 1, ""), api.ErrConflict, "what came in time comes late too")

	require.NoError(t, send(3, 1, 1, ""))
	require.NoError(t, send(3, 1, 1, ""), "the same statement again")
	require.ErrorIs(t, send(4, 1, 1, ""), api.ErrConflict)
	require.NoError(t, send(4, 1, 2, ""), "what was learnt from other weights")

	require.NoError(t, send(2, 2, 1, "NaN in linear.weight"))
	require.NoError(t, send(3, 2, 1, ""), "what was refused has not counted")

	for number, want := range map[int][]string{1: {"s0 0"}, 2: {"s2 1"}, 3: {"s1 1", "s2 1"}, 4: {"s1 2"}} {
		var got []string
		for range 2 {
			var closed []activities.Submission
			closed, err := db.Rounds().CloseStage(ctx, refs[number])
			require.NoError(t, err)
			got = nil
			for _, s := range closed {
				got = append(got, fmt.Sprintf("%s %d", s.Site, s.From))
			}
			require.Equal(t, want, got, "round %d", number)
		}
	}
	counts, err := db.Rounds().StageCounts(ctx, refs[2])
	require.NoError(t, err)
	require.Equal(t, round.Counts{Selected: 3, Rejected: 1}, counts, "a conflict leaves no row")
}
