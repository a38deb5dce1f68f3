//go:build chaos

// Package chaos kills each process of a running system in the middle of a
// round and checks that nothing is lost by it.
//
// Invariant: a run that was disturbed ends with the weights of one that was
// not, to the bit, and every site is counted once in each of its rounds.
package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/demo"
	"github.com/atom-fabric/fabric/tests/harness"
)

const (
	trainRounds = 12
	lastRound   = trainRounds + 1 // evaluates and publishes
	bound       = 90 * time.Second
)

// A victim is a process and the rounds in which it is needed.
type victim struct {
	name     string
	from, to int // rounds, both included
	pid      func(*testing.T, *harness.System) int
}

func child(name string) func(*testing.T, *harness.System) int {
	return func(t *testing.T, s *harness.System) int { return s.Child(t, name) }
}

func victims() []victim {
	return []victim{
		{"worker-control", 0, lastRound, child("worker-control")},
		{"worker-control", lastRound, lastRound, child("worker-control")}, // packs, signs, registers
		{"worker-eu", 0, lastRound, child("worker-eu")},
		{"api", 0, lastRound, child("api")},
		{"postmaster", 0, lastRound, func(t *testing.T, s *harness.System) int { return s.Postmaster(t) }},
		{"postgres", 0, lastRound, child("postgres")}, // who supervises the postmaster
		{"temporal", 0, lastRound, child("temporal")},
		{"site-" + tumour.Split()[0].Site, 0, lastRound, child("site-" + tumour.Split()[0].Site)},
		{"registry", lastRound, lastRound, child("registry")}, // the version is pushed there
	}
}

// seed is FABRIC_SEED, or another one each time. It chooses the moments; the
// same seed on another machine kills at the same share of a round.
func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("FABRIC_SEED")
	if text == "" {
		return uint64(time.Now().UnixNano())
	}
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err)
	return n
}

// TestKill counts as failure: a run that does not complete within the bound, other
// weights, a site that is counted never or twice, and an audit log that does
// not verify.
func TestKill(t *testing.T) {
	n := seed(t)
	t.Logf("FABRIC_SEED=%d", n)
	random := rand.New(rand.NewPCG(n, n))
	s := harness.Up(t, harness.State(t), harness.FreeBase(t))
	s.Consent(t)
	lead := s.Lead(t)

	calm := harness.Watch(t, lead, s.Train(t, lead, harness.Request(trainRounds)), bound, harness.Completed)
	counted(t, calm)
	t.Logf("undisturbed: %s, weights %s", calm.EndedAt.Sub(calm.CreatedAt), artifact.Digest(calm.Weights).Short())

	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "victim\tkilled in round\trecovered in\tdigest equal")
	for _, v := range victims() {
		t.Run(v.name, func(t *testing.T) {
			target := v.from + random.IntN(v.to-v.from+1)
			offset := time.Duration(random.Float64() * float64(duration(calm.Rounds[target])/2)) // the other half is for our own delays
			id := s.Train(t, lead, harness.Request(trainRounds))
			harness.Watch(t, lead, id, bound, func(r v1.Run) bool { return opened(r, target) })
			time.Sleep(offset)
			pid := v.pid(t, s)
			harness.Kill(t, pid)
			killed := time.Now()

			run := harness.Watch(t, lead, id, bound, harness.Completed)
			require.True(t, run.EndedAt.After(killed), "the run was over before the kill: nothing was shown")
			hit, recovered := struck(run, killed)
			fmt.Fprintf(w, "%s\t%s\t%.1f s\t%t\n", v.name, hit, recovered.Seconds(), run.Weights == calm.Weights)
			require.Equal(t, calm.Weights, run.Weights, "killed %s %s into round %d", v.name, offset, target)
			require.Equal(t, calm.Metrics, run.Metrics)
			counted(t, run)
			require.NotEqual(t, pid, v.pid(t, s), "it was started again")
			verified(t, s)
		})
	}
	w.Flush()
	t.Logf("\n%s", table.String())
}

// TestPowerCut kills everything at once, fabric up included, and starts it
// again on what is left on the disk.
func TestPowerCut(t *testing.T) {
	s := harness.Up(t, harness.State(t), harness.FreeBase(t))
	s.Consent(t)
	lead := s.Lead(t)
	calm := harness.Watch(t, lead, s.Train(t, lead, harness.Request(trainRounds)), bound, harness.Completed)

	id := s.Train(t, lead, harness.Request(trainRounds))
	harness.Watch(t, lead, id, bound, func(r v1.Run) bool { return opened(r, trainRounds/2) })
	s.KillAll(t)
	killed := time.Now()
	s.Again(t)
	run := harness.Watch(t, lead, id, bound, harness.Completed)
	hit, recovered := struck(run, killed)
	t.Logf("everything was killed in round %s, which ended %.1f s later; ready again after %.1f s", hit, recovered.Seconds(), s.Took.Seconds())
	require.Equal(t, calm.Weights, run.Weights)
	counted(t, run)
	verified(t, s)
}

// opened says that a round has begun. Rounds are there from their beginning.
func opened(r v1.Run, number int) bool {
	return len(r.Rounds) > 0 && r.Rounds[len(r.Rounds)-1].Number >= number
}

func duration(r v1.Round) time.Duration { return r.EndedAt.Sub(r.StartedAt) }

// struck says which round was disturbed, and how long after the kill it ended;
// of a run whose rounds were over, how long after it the run ended.
func struck(run v1.Run, killed time.Time) (string, time.Duration) {
	for _, r := range run.Rounds {
		if r.EndedAt.After(killed) {
			return strconv.Itoa(r.Number), r.EndedAt.Sub(killed)
		}
	}
	return "after the last", run.EndedAt.Sub(killed)
}

// counted checks that every round closed with every site counted once.
func counted(t *testing.T, run v1.Run) {
	t.Helper()
	require.Len(t, run.Rounds, lastRound+1)
	for i, r := range run.Rounds {
		require.Equal(t, i, r.Number)
		require.EqualValues(t, "closed", r.Status, "round %d", i)
		sites := 0
		for _, region := range r.Regions {
			require.Equal(t, region.Selected, region.Accepted, "round %d in %s: %s", i, region.Region, region.Cause)
			require.Zero(t, region.Rejected)
			sites += region.Accepted
		}
		require.Equal(t, len(tumour.Split()), sites, "round %d", i)
	}
}

// verified checks the audit log as an auditor would.
func verified(t *testing.T, s *harness.System) {
	t.Helper()
	out, status := s.Fabric(t, s.Token(t, demo.Consortium, "auditor", "auditor"), "audit", "verify")
	require.Zero(t, status, out)
	require.Contains(t, out, "OK")
}
