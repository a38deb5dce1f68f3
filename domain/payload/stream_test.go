package payload_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/ring"
	"github.com/atom-fabric/fabric/domain/round"
)

// A disk holds an update that is read in places.
type disk []float32

func (d disk) At(dst []float32, first int) error { copy(dst, d[first:]); return nil }

// However a vector is cut and in whichever order its pieces are made, its
// elements are those of the whole: made here by the loops over the whole vector
// that the definition of the encoding is, tensor after tensor.
func TestPiecesAreThoseOfTheWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const inputs, sites = 3000, 5
		bits := rapid.SampledFrom([]int{32, 64}).Draw(rt, "ring")
		mechanism := rapid.SampledFrom([]string{round.PrivacyNone, round.PrivacyCentral, round.PrivacyDiscrete, round.PrivacySkellam}).Draw(rt, "mechanism")
		f, err := payload.For(manifest(t, round.Train, sites, func(p *round.Params) {
			p.Model = round.ModelSpec{Inputs: inputs, Classes: 4}
			p.Secure.Ring = bits
			if mechanism != round.PrivacyNone {
				private(mechanism, round.UnitSite)(p)
				p.Bounds = slices.Repeat([][2]float64{{0, 1}}, inputs)
			}
		}), digest, "eu")
		require.NoError(rt, err)
		values := make([]float32, f.Layout.Dim)
		for i := range values {
			values[i] = float32(i%89-44) / 1e5
		}
		in := payload.Input{
			Metrics: round.Metrics{Examples: 77, Evaluated: 9, Correct: 5, LossMicros: 1 << 40}, RosterSites: sites,
			Rounding: seed(4), Noise: dp.Derive(seed(4), "noise"),
		}
		whole := in
		whole.Tensors = artifact.Tensors{
			{Name: "linear.bias", DType: artifact.F32, Shape: []int{4}, F32: values[:4]},
			{Name: "linear.weight", DType: artifact.F32, Shape: []int{inputs, 4}, F32: values[4:]},
		}
		want, _, err := f.Encode(whole)
		require.NoError(rt, err)
		if bits == 32 && (mechanism == round.PrivacyNone || mechanism == round.PrivacyCentral) {
			weight := 77.0
			if mechanism == round.PrivacyCentral {
				weight = 1
			}
			plain := make([]uint32, len(values))
			_, err := ring.Encode(f.Codec, plain, values, weight, ring.Source{Seed: seed(4)})
			require.NoError(rt, err)
			require.Equal(rt, plain, want.U32[f.Layout.Head():])
		}
		in.Values = disk(values)
		e, err := f.Encoder(in)
		require.NoError(rt, err)
		n := f.Layout.Len()
		cuts := append(rapid.SliceOfN(rapid.IntRange(0, n), 0, 6).Draw(rt, "cuts"), 0, n, n-1, 16, 4096)
		for _, lo := range cuts {
			hi := min(n, lo+rapid.IntRange(0, 9000).Draw(rt, "length"))
			piece := f.Piece(hi - lo)
			_, err := e.At(piece, lo)
			require.NoError(rt, err)
			require.Equal(rt, want.Slice(lo, hi).Bytes(), piece.Bytes(), "elements %d to %d", lo, hi)
		}
		_, err = e.At(f.Piece(2), n-1)
		require.ErrorIs(rt, err, payload.ErrVector)
		e.Erase()
	})
}

// A sum that is read in pieces and written to a file is the one in memory, with
// the same noise.
func TestASumInPieces(t *testing.T) {
	for _, mechanism := range []string{round.PrivacyNone, round.PrivacyCentral} {
		f, err := payload.For(manifest(t, round.Train, 3, func(p *round.Params) {
			p.Model = round.ModelSpec{Inputs: 150_000 / 2, Classes: 4} // more than a piece
			if mechanism != round.PrivacyNone {
				private(mechanism, round.UnitSite)(p)
				p.Bounds = slices.Repeat([][2]float64{{0, 1}}, p.Model.Inputs)
			}
		}), digest, "eu")
		require.NoError(t, err)
		require.Greater(t, f.Layout.Dim, payload.PieceLen)
		values := make([]float32, f.Layout.Dim)
		for i := range values {
			values[i] = float32(i%1001-500) / 1e4
		}
		v, _, err := f.Encode(payload.Input{Values: disk(values), Metrics: round.Metrics{Examples: 9}, RosterSites: 3, Rounding: seed(1)})
		require.NoError(t, err)
		want, err := f.Open(v, 1, seed(2))
		require.NoError(t, err)

		next := 0
		pieces := func(dst payload.Vector, first int) error {
			require.Equal(t, next, first, "in ascending order, each element once")
			next += dst.Len()
			copy(dst.U32, v.U32[first:])
			return nil
		}
		got, err := f.Head(pieces, 1)
		require.NoError(t, err)
		require.Equal(t, want.Weight, got.Weight)
		require.Equal(t, want.Metrics, got.Metrics)
		var content bytes.Buffer
		require.NoError(t, f.WriteTensors(&content, pieces, seed(2)))
		require.Equal(t, f.Layout.Len(), next)
		encoded, err := want.Tensors.Encode()
		require.NoError(t, err)
		require.Equal(t, artifact.DigestOf(encoded), artifact.DigestOf(content.Bytes()), "mechanism %q", mechanism)
	}
}
