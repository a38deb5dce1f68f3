package agent

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// With the site as the unit the whole update is clipped; with rows as the unit
// each row's gradient is, for as many rows as the site may count for.
func TestPrivateUpdatesAreClipped(t *testing.T) {
	compute := func(p round.Privacy, most int) ([]float32, *group) {
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
		o := order{Manifest: g.manifest}
		got, err := a.compute(t.Context(), o)
		require.NoError(t, err)
		var in payload.Input
		require.NoError(t, o.coordinates(&in, got.update, got.update.SizeBytes))
		sent := make([]float32, 62)
		require.NoError(t, in.Values.At(sent, 0))
		for _, first := range []int{0, 1, 30, 61} {
			part := make([]float32, min(7, 62-first))
			require.NoError(t, in.Values.At(part, first))
			require.Equal(t, sent[first:first+len(part)], part)
		}
		require.Error(t, in.Values.At(make([]float32, 2), 61), "there are no more")

		text, err := readAt(got.update, 0, got.update.SizeBytes)
		require.NoError(t, err)
		learnt, err := artifact.ParseTensors(text)
		require.NoError(t, err)
		if p.Unit == round.UnitSite {
			norm, err := dp.Clip(p.ClipNorm, learnt[0].F32, learnt[1].F32)
			require.NoError(t, err)
			require.Equal(t, norm <= p.ClipNorm, in.Within)
		}
		require.Equal(t, append(learnt[0].F32, learnt[1].F32...), sent, "to the bit")
		return sent, g
	}
	norm := func(update []float32) float64 {
		n, err := dp.Norm(update)
		require.NoError(t, err)
		return n
	}
	private := round.Privacy{Mechanism: round.PrivacyCentral, Unit: round.UnitSite, NoiseMultiplier: 1, ClipNorm: 1e6}
	whole, _ := compute(private, 0)
	bound := norm(whole) / 3
	private.ClipNorm = bound
	cut, _ := compute(private, 0)
	require.InEpsilon(t, bound, norm(cut), 1e-5)
	for j, v := range whole {
		require.InDelta(t, v/3, cut[j], 1e-5, "the direction stays")
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
		require.Equal(t, append(want[0].F32, want[1].F32...), got)
	}
}
