package aggregate_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

func vectorSources(t require.TestingT, updates []aggregate.Update) ([]aggregate.VectorSource, []*blob) {
	var out []aggregate.VectorSource
	var blobs []*blob
	for _, u := range updates {
		b := blobOf(t, u.Tensors)
		blobs = append(blobs, b)
		out = append(out, aggregate.VectorSource{Tenant: u.Tenant, Site: u.Site, Open: b.open})
	}
	return out, blobs
}

// What is streamed is what is in memory, to the byte, for every rule; the
// tensors are longer than a piece, and no multiple of one.
func TestStreamedRulesAreTheRules(t *testing.T) {
	random := rand.New(rand.NewPCG(12, 12))
	for _, dtype := range []artifact.DType{artifact.F32, artifact.F64} {
		want := manyShapes(dtype)
		updates := randomUpdates(random, want, 12)
		for _, s := range rules {
			inMemory, err := aggregate.Robust(s, updates)
			require.NoError(t, err)
			src, blobs := vectorSources(t, updates)
			var got bytes.Buffer
			kept, err := aggregate.MergeRobust(&got, want, s, src)
			require.NoError(t, err)
			require.Equal(t, inMemory.Kept, kept)
			require.Equal(t, artifact.DigestOf(encoded(t, inMemory.Mean)), artifact.DigestOf(got.Bytes()), "%+v as %s", s, dtype)
			for _, b := range blobs {
				require.Equal(t, b.opened, b.closed)
			}
		}
	}
}

// So many vectors that their pieces are small: the sums of squares are cut at
// the same places as in memory all the same.
func TestStreamedRulesOfManyVectors(t *testing.T) {
	want := []round.TensorSpec{{Name: "w", DType: artifact.F32, Shape: []int{13_001}}}
	few := randomUpdates(rand.New(rand.NewPCG(14, 14)), want, 5)
	src, _ := vectorSources(t, few)
	var updates []aggregate.Update
	var sources []aggregate.VectorSource
	for k := range 2300 {
		u, v := few[k%5], src[k%5]
		u.Site, v.Site = strconv.Itoa(10_000+k), strconv.Itoa(10_000+k)
		u.Tenant, v.Tenant = "t", "t"
		updates, sources = append(updates, u), append(sources, v)
	}
	s := round.Strategy{Rule: round.RuleNormBound, MaxNorm: 50}
	inMemory, err := aggregate.Robust(s, updates)
	require.NoError(t, err)
	var got bytes.Buffer
	_, err = aggregate.MergeRobust(&got, want, s, sources)
	require.NoError(t, err)
	require.Equal(t, artifact.DigestOf(encoded(t, inMemory.Mean)), artifact.DigestOf(got.Bytes()))
}

func TestStreamedRulesNameTheSourceAtFault(t *testing.T) {
	random := rand.New(rand.NewPCG(13, 13))
	want := manyShapes(artifact.F32)
	updates := randomUpdates(random, want, 11)
	away := errors.New("the store is away")
	tests := []struct {
		name   string
		change func(v *aggregate.VectorSource, b *blob)
		want   error
	}{
		{"NaN", func(v *aggregate.VectorSource, b *blob) {
			u := randomUpdates(random, want, 1)[0]
			u.Tensors[2].F32[50_000] = float32(math.NaN())
			*b = *blobOf(t, u.Tensors)
		}, round.ErrNotFinite},
		{"another shape", func(v *aggregate.VectorSource, b *blob) {
			*b = *blobOf(t, randomUpdates(random, want[1:], 1)[0].Tensors)
		}, aggregate.ErrShape},
		{"another digest", func(v *aggregate.VectorSource, b *blob) { b.digest = artifact.DigestOf(nil) }, artifact.ErrContent},
		{"a failing store", func(v *aggregate.VectorSource, b *blob) {
			b.changing = func(io.Reader) io.Reader { return iotest.ErrReader(away) }
		}, away},
		{"a failing close", func(v *aggregate.VectorSource, b *blob) { b.failing = away }, away},
		{"nothing there", func(v *aggregate.VectorSource, b *blob) {
			v.Open = func() (io.ReadCloser, error) { return nil, away }
		}, away},
		{"a site twice", func(v *aggregate.VectorSource, b *blob) { v.Site = "s1" }, aggregate.ErrDuplicate},
		{"another order", func(v *aggregate.VectorSource, b *blob) { v.Site = "s0" }, aggregate.ErrOrder},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, s := range []round.Strategy{rules[0], rules[3]} { // in one pass, and in two
				src, blobs := vectorSources(t, updates)
				tt.change(&src[2], blobs[2])
				_, err := aggregate.MergeRobust(io.Discard, want, s, src)
				require.ErrorIs(t, err, tt.want)
				var at *aggregate.UpdateError
				require.ErrorAs(t, err, &at)
				require.Equal(t, src[2].Tenant+src[2].Site, at.Tenant+at.Site)
				for _, b := range blobs {
					require.Equal(t, b.opened, b.closed)
				}
			}
		})
	}
	src, _ := vectorSources(t, updates)
	_, err := aggregate.MergeRobust(io.Discard, want, rules[5], src[:10])
	require.ErrorIs(t, err, round.ErrInfeasible)
	_, err = aggregate.MergeRobust(io.Discard, want, rules[0], nil)
	require.ErrorIs(t, err, aggregate.ErrNoUpdates)
	_, err = aggregate.MergeRobust(io.Discard, want, round.Strategy{}, src)
	require.ErrorIs(t, err, aggregate.ErrNotRobust)
	_, err = aggregate.MergeRobust(full{}, want, rules[0], src)
	require.ErrorIs(t, err, io.ErrShortWrite)
}
