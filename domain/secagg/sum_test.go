package secagg_test

import (
	"errors"
	mathrand "math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/secagg"
)

// drawAbsences spreads at most n-t leavers over the stages. Those who leave
// before they advertise, never many, are not in the group.
func drawAbsences(r *mathrand.Rand, n, never int, threshold func(int) int) absences {
	places := r.Perm(n)
	a := absences{}
	a[secagg.StageAdvertise], places = places[:never], places[never:]
	n -= never
	left := r.IntN(n - threshold(n) + 1)
	for _, stage := range order[1:] {
		now := r.IntN(left + 1)
		a[stage], places = places[:now], places[now:]
		left -= now
	}
	return a
}

func sequence(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// exact plays a group of n with everything else drawn from the seed.
func exact(t require.TestingT, n int, seed uint64) {
	r := mathrand.New(mathrand.NewPCG(seed, uint64(n)))
	spec := specOf([]secagg.Ring{secagg.Z32, secagg.Z64}[r.IntN(2)], 1+r.IntN(40))
	a := drawAbsences(r, n, r.IntN(min(3, n-secagg.MinSites)+1), func(n int) int {
		g, err := spec.GraphFor(n)
		require.NoError(t, err)
		if n <= secagg.CompleteSites {
			return g.Threshold
		}
		return n - n*spec.DroppedBP/10_000 // what the formula is laid out for
	})
	if spec.Ring == secagg.Z32 {
		exactIn[uint32](t, spec, n, a, seed)
	} else {
		exactIn[uint64](t, spec, n, a, seed)
	}
}

func exactIn[E secagg.Element](t require.TestingT, spec secagg.Spec, n int, a absences, seed uint64) {
	vectors := vectorsOf[E](seed, n, spec.Length)
	sum, s, err := run(t, newPlay(t, spec, n), a, vectors)
	require.NoError(t, err, "n = %d, seed %d, absences %v", n, seed, a)
	require.Equal(t, plain(&s, n, spec.Length, vectors, uint(spec.Ring)), sum, "n = %d, seed %d, absences %v", n, seed, a)
}

// The masked sum is the plain sum, to the bit, whoever leaves at whatever
// stage while a threshold stays: complete graphs up to 100 sites, by the
// formula above.
func TestSumIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(3, 16)
		if rapid.IntRange(0, 15).Draw(t, "large") == 15 { // rarely: the work grows with the square
			size = rapid.IntRange(3, 200)
		}
		exact(t, size.Draw(t, "n"), rapid.Uint64().Draw(t, "seed"))
	})
}

// The same for the sizes at which the graph changes, and the largest.
func TestSumIsExactInLargeGroups(t *testing.T) {
	t.Parallel()
	for _, n := range []int{100, 101, 200} {
		exact(t, n, 7)
	}
}

// Any sparse graph gives the exact sum or says that too few are left.
func TestSparseGraphsAreExactOrRefuse(t *testing.T) {
	t.Parallel()
	exactly, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(6, 24).Draw(t, "n")
		k := 2 * rapid.IntRange(2, (n-2)/2).Draw(t, "half degree")
		g := secagg.Graph{Sites: n, Degree: k, Threshold: rapid.IntRange(k/2+1, k).Draw(t, "threshold"), Quorum: 2*n/3 + 1}
		spec := secagg.WithGraph(specOf(secagg.Z32, 5), g)
		r := mathrand.New(mathrand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		a := drawAbsences(r, n, 0, func(int) int { return g.Quorum })
		vectors := vectorsOf[uint32](1, n, 5)
		sum, s, err := run(t, newPlay(t, spec, n), a, vectors)
		if err != nil {
			refused++
			require.True(t, errors.Is(err, secagg.ErrTooFew) || errors.Is(err, secagg.ErrShare), "%v", err)
			return
		}
		exactly++
		require.Equal(t, plain(&s, n, 5, vectors, 32), sum)
	})
	require.Positive(t, exactly)
	require.Positive(t, refused)
}

// Below the threshold no stage goes on.
func TestTooFewRefuse(t *testing.T) {
	for _, n := range []int{3, 4, 7, 12} {
		spec := specOf(secagg.Z32, 3)
		g, err := spec.GraphFor(n)
		require.NoError(t, err)
		for _, stage := range order[1:] {
			gone := sequence(n)[:n-g.Threshold+1]
			vectors := vectorsOf[uint32](1, n, 3)
			_, _, err := run(t, newPlay(t, spec, n), absences{stage: gone}, vectors)
			require.ErrorIs(t, err, secagg.ErrTooFew, "n = %d, %d gone at %s", n, len(gone), stage)
		}
	}
	_, _, err := run(t, newPlay(t, specOf(secagg.Z32, 3), 3), absences{secagg.StageAdvertise: {1}}, vectorsOf[uint32](1, 3, 3))
	require.ErrorIs(t, err, secagg.ErrTooFew)
}

// A vector of a site that shared and left is not in the sum, and no site alone
// is visible: the masked vectors look like nothing of what went in.
func TestMaskedVectorsHideTheirInput(t *testing.T) {
	p := newPlay(t, specOf(secagg.Z32, 4096), 3)
	zero := make([][]uint32, 3)
	for i := range zero {
		zero[i] = make([]uint32, 4096)
	}
	sum, s, err := run(t, p, nil, zero)
	require.NoError(t, err)
	require.Equal(t, zero[0], sum)
	for index, wire := range s.wires {
		var ones int
		for _, b := range wire {
			for ; b > 0; b &= b - 1 {
				ones++
			}
		}
		// 131,072 even bits: mean 65,536, standard deviation 181; 10 of them are 1,810.
		require.InDelta(t, 65_536, ones, 1_810, "member %d", index)
	}
}

// Masks come off in any pieces, by any number of goroutines.
func TestApplyInPieces(t *testing.T) {
	pieces[uint32](t, secagg.Z32)
	pieces[uint64](t, secagg.Z64)
}

func pieces[E secagg.Element](t *testing.T, ring secagg.Ring) {
	const length = 9_001
	p := newPlay(t, specOf(ring, length), 3)
	s, err := p.advertise(t, nil)
	require.NoError(t, err)
	require.NoError(t, p.share(t, nil, &s))
	x, err := p.sites[0].Mask(s.routing.Inbox(1))
	require.NoError(t, err)
	whole := vectorsOf[E](9, 1, length)[0]
	start := slices.Clone(whole)
	require.NoError(t, secagg.Apply(x, whole, 0))
	rapid.Check(t, func(t *rapid.T) {
		got := slices.Clone(start)
		x.Workers = rapid.IntRange(0, 5).Draw(t, "workers")
		for at := 0; at < length; {
			n := min(rapid.OneOf(rapid.IntRange(1, 9), rapid.IntRange(1, 5_000)).Draw(t, "piece"), length-at)
			require.NoError(t, secagg.Apply(x, got[at:at+n], at))
			at += n
		}
		require.Equal(t, whole, got)
	})
	require.ErrorIs(t, secagg.Apply(x, whole, 1), secagg.ErrVector)
	require.ErrorIs(t, secagg.Apply(x, whole[:1], -1), secagg.ErrVector)
	require.ErrorIs(t, secagg.Apply(x, whole[:0], length+1), secagg.ErrVector)
	if ring == secagg.Z32 {
		require.ErrorIs(t, secagg.Apply(x, make([]uint64, 1), 0), secagg.ErrVector)
	}
	x.Erase()
	require.Zero(t, x.Streams())
}

func TestCheckRange(t *testing.T) {
	tests := []struct {
		name   string
		sites  int
		levels uint64
		ring   secagg.Ring
		want   error
	}{
		{"fills the ring of 32 bits", 1024, 1 << 22, secagg.Z32, nil}, // Flower's default leaves room for 1024
		{"one site more does not fit", 1025, 1 << 22, secagg.Z32, secagg.ErrRange},
		{"fills the ring of 64 bits", 1 << 10, 1 << 54, secagg.Z64, nil},
		{"one level more does not fit", 1 << 10, 1<<54 + 1, secagg.Z64, secagg.ErrRange},
		{"the product leaves 64 bits", 1 << 20, 1 << 63, secagg.Z32, secagg.ErrRange},
		{"the product leaves 64 bits, and its low half is small", 1 << 10, 1 << 60, secagg.Z32, secagg.ErrRange},
		{"no site", 0, 1, secagg.Z32, secagg.ErrRange},
		{"no level", 3, 0, secagg.Z32, secagg.ErrRange},
		{"no ring", 3, 2, 31, secagg.ErrRange},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.ErrorIs(t, secagg.CheckRange(tt.sites, tt.levels, tt.ring), tt.want)
		})
	}
}
