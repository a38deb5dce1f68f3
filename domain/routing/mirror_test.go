package routing_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/routing"
)

func mirroring(bp int, regions ...string) routing.Canary {
	c := canary(2, 0, regions...)
	c.Mirror = bp
	return c
}

// A canary begins in its shadow, goes through the regions in it, and gives it up
// with its first share.
func TestACanaryBeginsInItsShadow(t *testing.T) {
	s := split(t, served(t), mirroring(1000, "us"))
	require.Equal(t, mirroring(1000, "us"), s.Canaries[0])
	next, err := s.Move(mirroring(1000, "eu"), at)
	require.NoError(t, err)
	require.Equal(t, s.Version+1, next.Version)
	require.Equal(t, []routing.Canary{mirroring(1000, "eu")}, next.Canaries)
	require.Equal(t, []routing.Canary{mirroring(1000, "us")}, s.Canaries, "the snapshot before is as it was")
	first, err := next.Move(canary(2, 500, "us"), at)
	require.NoError(t, err)
	require.Equal(t, []routing.Canary{canary(2, 500, "us")}, first.Canaries)
	shifted, err := next.Shift("rollout-1", 500, at)
	require.NoError(t, err)
	require.Equal(t, []routing.Canary{canary(2, 500, "eu")}, shifted.Canaries, "with its share, nothing is mirrored any more")
	back, err := next.Restore(served(t), "clinic", "tumour", "production", []string{"eu", "us"}, at)
	require.NoError(t, err)
	require.Empty(t, back.Canaries)
}

func TestMirrorsThatAreRefused(t *testing.T) {
	both := mirroring(1000, "eu")
	both.Share = 1
	for _, tt := range []struct {
		name string
		c    routing.Canary
		want error
	}{
		{"less than nothing", mirroring(-1, "eu"), routing.ErrMirror},
		{"more than everything", mirroring(routing.Whole+1, "eu"), routing.ErrMirror},
		{"beside a share", both, routing.ErrMirror},
		{"nowhere", mirroring(1000), routing.ErrRegion},
		{"in a region that is not there", mirroring(1000, "mars"), routing.ErrRegion},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := served(t).Split(tt.c, at)
			require.ErrorIs(t, err, tt.want)
			_, err = split(t, served(t), mirroring(1000, "us")).Move(tt.c, at)
			require.ErrorIs(t, err, tt.want)
		})
	}
	_, err := served(t).Move(mirroring(1000, "eu"), at)
	require.ErrorIs(t, err, routing.ErrNoCanary)
	other := mirroring(1000, "eu")
	other.Version = 1
	_, err = split(t, served(t), mirroring(1000, "us")).Move(other, at)
	require.ErrorIs(t, err, routing.ErrNoCanary, "another version is another canary")
}

// Old snapshots stay the bytes that they were.
func TestASnapshotWithoutAMirrorIsAsBefore(t *testing.T) {
	text, err := json.Marshal(canary(2, 500, "eu"))
	require.NoError(t, err)
	require.NotContains(t, string(text), "mirror")
}

// The sample is of the requests, as large as it is said to be, and within a
// larger one.
func TestTheSampleOfAMirror(t *testing.T) {
	const n = 20_000
	trial := func(bp int) *routing.Trial {
		s := split(t, served(t), mirroring(bp, "eu", "us"))
		table, err := routing.Compile(s, "eu")
		require.NoError(t, err)
		target := table.Target("clinic", "clinic", "tumour", "production")
		require.Equal(t, bp, target.Trial.Mirror)
		require.False(t, target.Trial.Takes("clinic", "ann"), "nobody is on its side")
		return target.Trial
	}
	none, tenth, half, all := trial(0), trial(1000), trial(5000), trial(routing.Whole)
	in := 0
	for i := range n {
		id := fmt.Sprintf("%032x-%016x", i*7919, i)
		require.False(t, none.Mirrors("clinic", id))
		require.True(t, all.Mirrors("clinic", id))
		if tenth.Mirrors("clinic", id) {
			in++
			require.True(t, half.Mirrors("clinic", id))
		}
	}
	require.InDelta(t, n/10, in, 212, "five standard deviations") // √(20000·0.1·0.9) = 42.4
}
