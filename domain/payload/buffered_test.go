package payload_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/round"
)

func buffered(p *round.Params) {
	p.Strategy = round.Strategy{Name: round.FedBuff, Buffer: 3, MaxStaleness: 3}
	p.Quorum = 3
}

// Three sites, of 5, 50 and 500 rows, none, one and three steps late. By hand:
// 0.25·1 + 0.25·0.707 + 0.25·0.5 = 0.55175, and 2.207 updates' worth in all.
func TestLateUpdatesWeighLess(t *testing.T) {
	f, err := payload.For(manifest(t, round.Train, 5, buffered), digest, "eu")
	require.NoError(t, err)
	sum := f.NewSum()
	for k, tau := range []int{0, 1, 3} {
		rows := []int64{5, 50, 500}[k]
		v, cut, err := f.Encode(payload.Input{
			Tensors: deltas([]float32{0.25, 0, 0, 0, 0, 0, 0, -7}), Metrics: round.Metrics{Examples: rows}, Staleness: tau, RosterSites: 3, Rounding: seed(k),
		})
		require.NoError(t, err)
		require.Zero(t, cut)
		require.NoError(t, sum.AddAt(0, v.Bytes()))
	}
	got, err := f.Decode(sum, 3)
	require.NoError(t, err)
	require.EqualValues(t, 2207, got.Weight)
	require.EqualValues(t, 555, got.Metrics.Examples)
	require.InDelta(t, 0.55175, got.Tensors[0].F64[0], 3*f.Codec.Step())
	require.InDelta(t, -7*2.207, got.Tensors[1].F64[5], 3*f.Codec.Step())
	require.Less(t, f.Codec.Step(), 1e-6, "a buffer needs room for 5 updates, not for all their rows")
}

func TestWeightsThatNoBufferHas(t *testing.T) {
	f, err := payload.For(manifest(t, round.Train, 5, buffered), digest, "eu")
	require.NoError(t, err)
	in := payload.Input{Tensors: deltas(make([]float32, 8)), Metrics: round.Metrics{Examples: 5}, RosterSites: 3}
	for _, tau := range []int{4, -1} {
		in.Staleness = tau
		_, _, err := f.Encode(in)
		require.ErrorIs(t, err, payload.ErrStale, "tau %d", tau)
	}
	in.Staleness = 1
	for _, kind := range []round.Kind{round.Train, round.Evaluate} {
		other, err := payload.For(manifest(t, kind, 5, nil), digest, "eu")
		require.NoError(t, err)
		late := in
		if kind == round.Evaluate {
			late.Tensors = nil
		}
		_, _, err = other.Encode(late)
		require.ErrorIs(t, err, payload.ErrStale, "nothing is late in a round without a buffer: %s", kind)
	}
	v, _, err := f.Encode(in)
	require.NoError(t, err)
	_, err = f.Decode(v, 1)
	require.NoError(t, err)
	_, err = f.Decode(v, 2)
	require.ErrorIs(t, err, payload.ErrVector, "707 thousandths are less than two sites of 500 bring")
	in.Staleness = 0
	v, _, err = f.Encode(in)
	require.NoError(t, err)
	require.NoError(t, v.AddAt(0, v.Bytes()))
	_, err = f.Decode(v, 1)
	require.ErrorIs(t, err, payload.ErrVector, "one site never brings 2000")
}

// A late site's term is its clipped update times less than 1: what bounds the
// term of a timely one bounds it, so the round costs what it would cost without
// a buffer, and no statement about rows is made.
func TestABufferCostsWhatItsRoundsCost(t *testing.T) {
	for _, mechanism := range []string{round.PrivacyCentral, round.PrivacyDiscrete, round.PrivacySkellam} {
		average, err := payload.For(manifest(t, round.Train, 5, private(mechanism, round.UnitSite)), digest, "eu")
		require.NoError(t, err)
		late, err := payload.For(manifest(t, round.Train, 5, func(p *round.Params) {
			private(mechanism, round.UnitSite)(p)
			buffered(p)
		}), digest, "eu")
		require.NoError(t, err)
		want, costs, err := average.Event()
		require.NoError(t, err)
		require.True(t, costs)
		got, costs, err := late.Event()
		require.NoError(t, err)
		require.True(t, costs)
		require.Equal(t, want, got, mechanism)
	}
}
