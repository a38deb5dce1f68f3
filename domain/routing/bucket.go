package routing

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// A Lottery says on which side of a rollout a caller is. It is a keyed hash:
// the key is of the lineage, so that another rollout draws other callers, and
// everything that decides is in the snapshot and in the request, so that every
// router says the same, today and after a restart.
type Lottery struct{ k0, k1 uint64 }

// Draw returns the lottery of a lineage. Its key is the first 16 bytes of
// SHA-256("fabric canary 1\n" + lineage).
func Draw(lineage string) Lottery {
	sum := sha256.Sum256([]byte("fabric canary 1\n" + lineage))
	return Lottery{binary.LittleEndian.Uint64(sum[:8]), binary.LittleEndian.Uint64(sum[8:16])}
}

// Bucket returns in which of 10,000 buckets of equal size a caller is: the hash
// of tenant, a zero byte and the caller's key, h/2^64 of 10,000. A canary of
// share s answers the buckets below s, so a share of 0 is exactly nobody and one
// of 10,000 exactly everybody.
func (l Lottery) Bucket(tenant, callerKey string) int {
	var room [320]byte // longer than both can be in a request: no allocation
	text := append(append(append(room[:0], tenant...), 0), callerKey...)
	share, _ := bits.Mul64(sipHash(l.k0, l.k1, text), Whole)
	return int(share)
}

// Bucket is [Lottery.Bucket] of the lineage's lottery.
func Bucket(lineage, tenant, callerKey string) int { return Draw(lineage).Bucket(tenant, callerKey) }

// sipHash is SipHash-2-4 of 64 bits. Source: Aumasson and Bernstein, SipHash: a
// fast short-input PRF, INDOCRYPT 2012, section 2.
func sipHash(k0, k1 uint64, text []byte) uint64 {
	v0, v1 := k0^0x736f6d6570736575, k1^0x646f72616e646f6d
	v2, v3 := k0^0x6c7967656e657261, k1^0x7465646279746573
	round := func() {
		v0 += v1
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v3
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 += v3
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 += v1
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v2 = bits.RotateLeft64(v2, 32)
	}
	last := uint64(len(text)) << 56
	for ; len(text) >= 8; text = text[8:] {
		m := binary.LittleEndian.Uint64(text)
		v3 ^= m
		round()
		round()
		v0 ^= m
	}
	for i, b := range text {
		last |= uint64(b) << (8 * i)
	}
	v3 ^= last
	round()
	round()
	v0 ^= last
	v2 ^= 0xff
	for range 4 {
		round()
	}
	return v0 ^ v1 ^ v2 ^ v3
}
