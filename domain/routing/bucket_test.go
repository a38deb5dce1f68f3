package routing

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Reference vectors of SipHash-2-4 (vectors.h of github.com/veorq/SipHash),
// checked with OpenSSL 3.0: openssl mac -macopt size:8 SIPHASH. The key and the
// text count up from 0.
func TestSipHash(t *testing.T) {
	raw := make([]byte, 64)
	for i := range raw {
		raw[i] = byte(i)
	}
	k0, k1 := binary.LittleEndian.Uint64(raw), binary.LittleEndian.Uint64(raw[8:])
	for size, want := range map[int]uint64{
		0: 0x726fdb47dd0e0e31, 1: 0x74f839c593dc67fd, 2: 0x0d6c8009d9a94f5a, 7: 0xab0200f58b01d137, 8: 0x93f5f5799a932462,
		9: 0x9e0082df0ba9e4b0, 15: 0xa129ca6149be45e5, 16: 0x3f2acc7f57c29bdb, 63: 0x958a324ceb064572,
	} {
		require.Equal(t, want, sipHash(k0, k1, raw[:size]), size)
	}
}

// Worked out in Python with hashlib and OpenSSL's SIPHASH, from the words of
// docs/protocol/snapshot.md.
func TestBucketIsAsTheProtocolSays(t *testing.T) {
	for _, tt := range []struct {
		lineage, tenant, key string
		want                 int
	}{
		{"rollout-1", "clinic", "ann", 1772},
		{"rollout-1", "clinic", "", 2378},
		{"rollout-1", "clinic", "patient/4711", 4324},
		{"rollout-2", "clinic", "ann", 3096},
		{"rollout-1", "lab", "ann", 6206},
	} {
		require.Equal(t, tt.want, Bucket(tt.lineage, tt.tenant, tt.key), tt)
	}
}

// Buckets are equally likely: chi-square of 100,000 callers over 100 groups of
// buckets, 99 degrees of freedom, below 148.2 (p = 0.001); and what another
// lineage draws is independent of it.
func TestBucketsAreEven(t *testing.T) {
	const callers, groups = 100_000, 100
	counts, both := [groups]float64{}, 0
	first, second := Draw("rollout-1"), Draw("rollout-2")
	for i := range callers {
		key := fmt.Sprintf("caller-%d", i)
		a := first.Bucket("clinic", key)
		require.True(t, a >= 0 && a < Whole)
		counts[a*groups/Whole]++
		if a < 500 && second.Bucket("clinic", key) < 500 {
			both++
		}
	}
	chi, mean := 0.0, float64(callers)/groups
	for _, n := range counts {
		chi += (n - mean) * (n - mean) / mean
	}
	require.Less(t, chi, 148.2)
	// 5 % of 5 % is 250; five standard deviations are 79.
	require.InDelta(t, 250, both, 79)
}

func TestBucketDoesNotAllocate(t *testing.T) {
	l := Draw("rollout-1")
	require.Zero(t, testing.AllocsPerRun(100, func() { l.Bucket("clinic", "an application's user 4711") }))
}

func BenchmarkBucket(b *testing.B) {
	l := Draw("rollout-1")
	b.ReportAllocs()
	for b.Loop() {
		l.Bucket("clinic", "an application's user 4711")
	}
}
