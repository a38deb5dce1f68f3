//go:build bench

package opa_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/internal/opa"
)

// What the product promises, with two cores.
const (
	promisedDecision = 20 * time.Microsecond
	promisedReplay   = 10 * time.Second
)

// A pace is how long decisions took.
type pace struct{ median, p99, cpu time.Duration }

func paced(t *testing.T, inputs []any, rounds int, decide func(any) error) pace {
	t.Helper()
	var took []time.Duration
	used := busy(t)
	for range rounds {
		for _, in := range inputs {
			began := time.Now()
			err := decide(in)
			took = append(took, time.Since(began))
			require.NoError(t, err)
		}
	}
	used = busy(t) - used
	slices.Sort(took)
	return pace{took[len(took)/2], took[len(took)*99/100], used / time.Duration(len(took))}
}

// TestPolicy measures decisions and replays by the machine that runs the rules,
// and beside it by OPA's own evaluator, which decided before: reports/bench/policy.md.
func TestPolicy(t *testing.T) {
	const seed, drawnInputs, rounds = 20261123, 1000, 10
	b, err := opa.Shipped(policy.Default())
	require.NoError(t, err)
	machine, evaluator, err := opa.Both(t.Context(), b)
	require.NoError(t, err)
	engine, err := opa.New(t.Context(), opa.Options{})
	require.NoError(t, err)

	var out strings.Builder
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Fprintf(&out, `# Policy engine

- command: `+"`make bench` (`go test -tags bench -count=1 -run TestPolicy ./internal/opa`)"+`, seed %d
- machine: %d cores of %s, %s, load average %.14s at the begin

## One decision

From the Go value to the verdict with its reasons, over the rules that ship, on %d inputs a question that are drawn, allowed and refused, %d times each. The
machine runs the plan that OPA's planner makes of the rules; the evaluator is OPA's own, topdown, with compiled queries, and decided before: both in this run, on the
same inputs, and their answers are compared. A bundle also remembers what it decided (16,384 inputs); neither column may.

| question | machine, median | p99 | processor | evaluator, median | p99 | processor | faster | seen before, median | bound |
|---|---|---|---|---|---|---|---|---|---|
`, seed, runtime.NumCPU(), runtime.GOARCH, runtime.Version(), load, drawnInputs, rounds)
	var missed []string
	us := func(d time.Duration) string { return fmt.Sprintf("%.1f µs", float64(d)/1e3) }
	r := rand.New(rand.NewPCG(seed, 1))
	for _, question := range policy.Questions() {
		inputs := make([]any, drawnInputs)
		for i := range inputs {
			inputs[i] = drawn(r, question)
			got, err := machine(question, inputs[i])
			require.NoError(t, err)
			want, err := evaluator(question, inputs[i])
			require.NoError(t, err)
			require.Equal(t, want, got)
			_, err = engine.Decide(t.Context(), question, inputs[i])
			require.NoError(t, err)
		}
		fast := paced(t, inputs, rounds, func(in any) error { _, err := machine(question, in); return err })
		slow := paced(t, inputs, 1, func(in any) error { _, err := evaluator(question, in); return err })
		again := paced(t, inputs, rounds, func(in any) error { _, err := engine.Decide(t.Context(), question, in); return err })
		if fast.median > promisedDecision {
			missed = append(missed, fmt.Sprintf("%s takes %s", question, us(fast.median)))
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s | %s | %.0f x | %s | 20 µs |\n", question, us(fast.median), us(fast.p99), us(fast.cpu),
			us(slow.median), us(slow.p99), us(slow.cpu), float64(slow.median)/float64(fast.median), us(again.median))
	}

	from, to := two(t)
	replay, err := opa.NewReplay(t.Context(), from, to)
	require.NoError(t, err)
	log := logged(t, 100_000, from)
	fmt.Fprintf(&out, "\nAn admission is of a run with four features of two tenants.\n\n## Replay of %d logged decisions through two policies\n\nNine of ten are questions about routing; on every processor.\n\n"+
		"| log | machine, wall | processor | evaluator, wall | processor | bound |\n|---|---|---|---|---|---|\n", len(log))
	for _, distinct := range []bool{false, true} {
		name := "400 different inputs, as logs repeat them"
		if distinct {
			name = "every input different"
			for i := range log { // a member that no rule reads
				log[i].Input = append(append([]byte{}, log[i].Input[:len(log[i].Input)-1]...), fmt.Sprintf(`,"n":%d}`, i)...)
			}
		}
		var wall, used [2]time.Duration
		var impacts [2]policy.Impact
		for i, r := range []*opa.Replay{replay, replay.Slow()} {
			began, before := time.Now(), busy(t)
			impacts[i], err = r.Run(t.Context(), once(log))
			wall[i], used[i] = time.Since(began), busy(t)-before
			require.NoError(t, err)
		}
		require.Equal(t, len(log), impacts[0].Decisions)
		require.Positive(t, impacts[0].Closed)
		require.Equal(t, [2]int{impacts[1].Closed, impacts[1].Opened}, [2]int{impacts[0].Closed, impacts[0].Opened})
		if wall[0] > promisedReplay {
			missed = append(missed, fmt.Sprintf("a replay takes %s", wall[0]))
		}
		fmt.Fprintf(&out, "| %s | %.2f s | %.2f s | %.2f s | %.2f s | 10 s |\n", name, wall[0].Seconds(), used[0].Seconds(), wall[1].Seconds(), used[1].Seconds())
	}
	if len(missed) > 0 {
		fmt.Fprintf(&out, "\nMissed: %s.\n", strings.Join(missed, "; "))
	}
	require.NoError(t, os.WriteFile("../../reports/bench/policy.md", []byte(out.String()), 0o644))
	require.Empty(t, missed)
}
