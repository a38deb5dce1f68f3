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
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFuzz sends generated requests to every operation. FABRIC_FUZZ is how many
// each gets, FABRIC_FUZZ_SEED where they begin, FABRIC_FUZZ_DIR where the counts
// are kept: what an operation has had, as it is documented now, it is not sent
// again. They take turns, so that a run that is broken off has been everywhere.
func TestFuzz(t *testing.T) {
	count, err := strconv.Atoi(cmp.Or(os.Getenv("FABRIC_FUZZ"), "40"))
	require.NoError(t, err)
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("FABRIC_FUZZ_SEED"), "7"), 10, 64)
	require.NoError(t, err)
	t.Logf("seed %d, %d requests to each operation", seed, count)
	p := newPlane(t)
	book := openBook(t, os.Getenv("FABRIC_FUZZ_DIR"))
	before, pages := make([]*seen, len(p.ops)), make([]page, len(p.ops))
	for i, op := range p.ops {
		before[i], pages[i] = newSeen(), book.read(t, op)
	}
	for to := min(turn, count); ; to = min(to+turn, count) {
		t.Run("to "+strconv.Itoa(to), func(t *testing.T) {
			for i, op := range p.ops {
				t.Run(op.id, func(t *testing.T) {
					t.Parallel()
					if pages[i].Requests >= to || before[i].faulty {
						return
					}
					page, faults := p.fuzz(op, before[i], pages[i], to, seed)
					for _, one := range faults {
						t.Error(one)
					}
					before[i].faulty, pages[i] = len(faults) > 0, page
					book.write(t, op, page)
				})
			}
		})
		if to == count {
			break
		}
	}
	require.NoError(t, p.db.AuditLog().VerifyAll(t.Context()))
}

const (
	turn   = 1000 // requests to one operation before the next one's turn
	enough = 5    // faults of one operation are told
)

// fuzz goes on sending requests to one operation, one after the other, and
// returns how all were answered and one fault of each kind.
func (p *plane) fuzz(op *operation, before *seen, got page, to int, seed uint64) (page, []fault) {
	began := time.Now()
	got.Operation, got.Method, got.Path, got.Document = op.id, op.method, op.path, op.digest
	if at := strconv.FormatUint(seed, 10); !slices.Contains(got.Seeds, at) {
		got.Seeds = append(got.Seeds, at)
	}
	if got.Status == nil {
		got.Status = map[int]int{}
	}
	var faults []fault
	told := map[string]bool{}
	for number := got.Requests; number < to; number++ {
		s := p.request(seed, op, number, before)
		a, found := p.try(s, before)
		if found != nil {
			if kind := found.kind(); !told[kind] && len(faults) < enough {
				told[kind] = true
				faults = append(faults, fault(fmt.Sprintf("request %d, seed %d: %s", number, seed, string(*found))))
			}
			continue
		}
		before.remember(s.who.tenant, a)
		got.Status[a.status]++
		got.Requests++
		if s.op == nil || s.op.id != op.id {
			got.Elsewhere++
		}
	}
	got.Seconds += time.Since(began).Seconds()
	return got, faults
}

// A fault is what is wrong with an answer: why in its first line, then the
// answer and the request.
type fault string

// kind is why, without what differs from request to request.
func (f fault) kind() string {
	lines := strings.SplitN(string(f), "\n", 3)
	status := ""
	if len(lines) > 1 {
		status, _, _ = strings.Cut(lines[1], " ")
	}
	return status + " " + lines[0][:min(len(lines[0]), 100)]
}

// try sends a request and looks at the answer.
func (p *plane) try(s sent, before *seen) (a answer, found *fault) {
	found = look(func() {
		a = p.exchange(s)
		p.check(s, a, before)
	})
	return a, found
}

// look returns the fault that a look at an answer ended with.
func look(at func()) (found *fault) {
	defer func() {
		switch said := recover().(type) {
		case nil:
		case fault:
			found = &said
		default:
			panic(said)
		}
	}()
	at()
	return nil
}
