package token

import (
	"crypto/sha256"
	"testing"
	"time"
)

// Remember puts a token into the cache as if it had verified.
func (v *Verifier) Remember(raw string) {
	now := v.now()
	e := &entry{id: sha256.Sum256([]byte(raw)), until: now.Add(time.Hour).UnixNano(), claims: Claims{Expires: now.Add(time.Hour)}}
	v.good.put(e, now.UnixNano())
}

// Remembered counts what is in both caches.
func (v *Verifier) Remembered() (n int) {
	for _, c := range []*cache{v.good, v.bad} {
		for i := range c.sets {
			for j := range c.sets[i] {
				if c.sets[i][j].Load() != nil {
					n++
				}
			}
		}
	}
	return n
}

func (v *Verifier) BenchmarkRecall(b *testing.B, raw string) {
	id := sha256.Sum256([]byte(raw))
	b.ReportAllocs()
	for b.Loop() {
		if _, err, known := v.recall(b.Context(), id); err != nil || !known {
			b.Fatal(err)
		}
	}
}

func (v *Verifier) BenchmarkRecallParallel(b *testing.B, raw string) {
	id := sha256.Sum256([]byte(raw))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err, known := v.recall(b.Context(), id); err != nil || !known {
				b.Fatal(err)
			}
		}
	})
}
