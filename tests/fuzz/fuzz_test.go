// Package fuzz asks the API whatever its document lets anybody ask, and much
// that it does not, and holds every answer against the document: the gateway
// over a real PostgreSQL, with the registry, the rules and the router behind
// it, as several tenants at the same time.
//
// Invariant: what is expected of an answer is read from openapi.yaml alone. No
// request is left out because of how it is answered.
package fuzz

import (
	"cmp"
	"flag"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestFuzz sends generated requests to every operation. FABRIC_FUZZ is how many
// each gets, FABRIC_FUZZ_SEED where they begin, FABRIC_FUZZ_DIR where the counts
// are kept: an operation that has had as many with the same document is done.
func TestFuzz(t *testing.T) {
	count, err := strconv.Atoi(cmp.Or(os.Getenv("FABRIC_FUZZ"), "40"))
	require.NoError(t, err)
	seed := cmp.Or(os.Getenv("FABRIC_FUZZ_SEED"), "7")
	require.NoError(t, flag.Set("rapid.checks", strconv.Itoa(count)))
	require.NoError(t, flag.Set("rapid.seed", seed))
	require.NoError(t, flag.Set("rapid.nofailfile", "true")) // tests write nothing into the tree
	require.NoError(t, flag.Set("rapid.shrinktime", "5s"))   // answers depend on what came before, so it seldom helps
	t.Logf("seed %s, %d requests to each operation", seed, count)
	p := newPlane(t)
	book := openBook(t, os.Getenv("FABRIC_FUZZ_DIR"), count, seed)
	t.Run("operations", func(t *testing.T) {
		for _, op := range p.ops {
			t.Run(op.id, func(t *testing.T) {
				t.Parallel()
				if !book.has(t, op.id) {
					book.write(t, p.fuzz(t, op))
				}
			})
		}
	})
	require.NoError(t, p.db.AuditLog().VerifyAll(t.Context()))
}

// fuzz sends requests to one operation, one after the other.
func (p *plane) fuzz(t *testing.T, op *operation) page {
	began := time.Now()
	before := &seen{ids: map[string][]string{}, digests: map[string][]string{}}
	got := page{Operation: op.id, Method: op.method, Path: op.path, Status: map[int]int{}}
	rapid.Check(t, func(rt *rapid.T) {
		s := p.request(rt, op, before)
		a := p.exchange(rt, s)
		p.check(rt, s, a)
		before.remember(s.who.tenant, a)
		got.Status[a.status]++
		got.Requests++
		if s.op == nil || s.op.id != op.id {
			got.Elsewhere++
		}
	})
	got.Seconds = time.Since(began).Seconds()
	return got
}
