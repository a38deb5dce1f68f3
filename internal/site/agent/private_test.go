package agent

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// With the site as the unit the whole update is clipped; with rows as the unit
// each row's gradient is, for as many rows as the site may count for.
func TestPrivateUpdatesAreClipped(t *testing.T) {
	compute := func(p round.Privacy, most int) (artifact.Tensors, *group) {
		g := newGroup(t, 3, round.Train, func(m *round.Manifest) {
			m.Params.Bounds = slices.Repeat([][2]float64{{0, 1}}, m.Params.Model.Inputs)
			m.Params.Privacy = p
			m.Params.Secure.MaxExamples = most
		})
		a := start(t, g.sites[0], port{g, g.sites[0].Site, round.StageAdvertise})
		id, err := openIdentity(g.sites[0])
		require.NoError(t, err)
		defer id.close()
		a.id = id
		got, err := a.compute(t.Context(), order{Manifest: g.manifest})
		require.NoError(t, err)
		return got.update, g
	}
	norm := func(update artifact.Tensors) float64 {
		var parts [][]float32
		for _, u := range update {
			parts = append(parts, u.F32)
		}
		n, err := dp.Norm(parts...)
		require.NoError(t, err)
		return n
	}
	private := round.Privacy{Mechanism: round.PrivacyCentral, Unit: round.UnitSite, NoiseMultiplier: 1, ClipNorm: 1e6}
	whole, _ := compute(private, 0)
	bound := norm(whole) / 3
	private.ClipNorm = bound
	cut, _ := compute(private, 0)
	require.InEpsilon(t, bound, norm(cut), 1e-5)
	for i := range whole {
		for j, v := range whole[i].F32 {
			require.InDelta(t, v/3, cut[i].F32[j], 1e-5, "the direction stays")
		}
	}

	private.Unit, private.ClipNorm = round.UnitExample, 0.25
	for most, weight := range map[int]int{0: 0, 7: 7} {
		got, g := compute(private, most)
		rows, _ := rowsOf(t, g.sites[0])
		if weight == 0 {
			weight = rows.Len()
		}
		p := g.manifest.Params
		want, err := trainer.Clipped(t.Context(), p.Model, model.Initial(p.Model, 7), rows, p.LearningRate, 0.25, weight)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}
