package agent

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// A site's own control variate moves with the rounds whose sum it is in, by
// what it sent, and with no other; a round that is done again starts from the
// same.
func TestTheVariateMovesWithTheRoundsThatCount(t *testing.T) {
	scaffold := func(number int) func(*round.Manifest) {
		return func(m *round.Manifest) {
			m.Number, m.Params.Strategy.Name = number, round.Scaffold
			m.Secured, m.Params.Secure.Mode = false, round.SecureOff
		}
	}
	g := newGroup(t, 3, round.Train, scaffold(1))
	own := func() []float64 { // what the next round would start from
		a := start(t, g.sites[0], nil)
		id, err := openIdentity(g.sites[0])
		require.NoError(t, err)
		defer id.close()
		a.id = id
		v, err := a.variates(t.Context(), order{Manifest: round.Manifest{Tenant: g.manifest.Tenant, Run: g.manifest.Run, Number: 99}})
		require.NoError(t, err)
		var out []float64
		for _, t := range v.Own {
			out = append(out, t.F64...)
		}
		return out
	}
	sent := func() (moves []float64, update artifact.Digest) {
		list := g.sent["update "+g.sites[0].Site]
		update = artifact.Digest(list[len(list)-1].Update.Digest)
		tensors, err := artifact.ParseTensors(g.blobs[update])
		require.NoError(t, err)
		for _, t := range tensors[:2] {
			for j := range t.Len() {
				moves = append(moves, t.At(j))
			}
		}
		return moves, update
	}
	require.Empty(t, own())

	// The first answer is refused: nothing has been counted.
	g.fail = func(_ round.Stage, call string) (error, error) {
		if call == "submit" {
			return nil, problem(409, "stage_closed")
		}
		return nil, nil
	}
	require.Error(t, g.ask(0, g.item(round.StageUpdate, nil)))
	require.Empty(t, own())
	_, refused := sent()
	g.fail = func(round.Stage, string) (error, error) { return nil, nil }
	require.NoError(t, g.ask(0, g.item(round.StageUpdate, nil)))
	moves, update := sent()
	require.Equal(t, refused, update, "the same again")
	first := own()
	require.Equal(t, moves, first)
	require.NoError(t, g.ask(0, g.item(round.StageUpdate, nil)))
	_, again := sent()
	require.Equal(t, update, again)
	require.Equal(t, first, own())

	// The next round starts from there, and moves it further.
	g.order(round.Train, scaffold(2))
	require.NoError(t, g.ask(0, g.item(round.StageUpdate, nil)))
	moves, _ = sent()
	second := own()
	for j := range moves {
		require.InDelta(t, first[j]+moves[j], second[j], 1e-15)
	}
	require.NotEqual(t, first, second)

	// In a secured round the site counts from when it signs the survivors.
	g.order(round.Train, func(m *round.Manifest) { m.Number, m.Params.Strategy.Name = 3, round.Scaffold })
	g.until(round.StageCheck, 0, 1, 2)
	require.Equal(t, second, own())
	answers[secagg.Check](g, round.StageCheck, func(int) any { return g.signed(g.set) }, 0)
	require.NotEqual(t, second, own())
}
