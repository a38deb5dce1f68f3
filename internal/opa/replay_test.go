package opa_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/internal/opa"
)

// logged returns decisions as they come: mostly calls, some of every other
// question, with what the first policy decides as the answer.
func logged(tb testing.TB, n int, under opa.Bundle) []policy.Decision {
	tb.Helper()
	engine, err := opa.New(tb.Context(), opa.Options{})
	require.NoError(tb, err)
	require.NoError(tb, engine.Activate(tb.Context(), under))
	r := rand.New(rand.NewPCG(7, 7))
	others := slices.DeleteFunc(policy.Questions(), func(q string) bool { return q == policy.AskRouting })
	var kinds []policy.Decision
	for i := range 400 { // decided once; a log holds the same over and over
		question := policy.AskRouting
		if i%10 == 0 {
			question = others[(i/10)%len(others)]
		}
		input := drawn(r, question)
		v, err := engine.Decide(tb.Context(), question, input)
		require.NoError(tb, err)
		text, err := json.Marshal(input)
		require.NoError(tb, err)
		d := policy.Decision{Question: question, Tenant: "consortium", Purpose: "serve", Input: text, Allowed: v.Allowed, Reasons: v.Reasons}
		if call, ok := input.(policy.Call); ok {
			d.Tenant, d.Region = call.Tenant, call.Region
		}
		kinds = append(kinds, d)
	}
	log := make([]policy.Decision, n)
	for i := range log {
		log[i] = kinds[i%len(kinds)]
		log[i].ID = fmt.Sprintf("d%07d", i)
	}
	return log
}

// two returns the policy in force and one that closes a region and wants a
// larger cohort.
func two(tb testing.TB) (from, to opa.Bundle) {
	tb.Helper()
	from, err := opa.Shipped(tight())
	require.NoError(tb, err)
	changed := tight()
	changed.Revision++
	changed.Shares = []policy.Share{{Region: "apac", Weight: 0}, {Region: "us", Weight: 0}}
	changed.Limits = &policy.Limits{MaxEpsilonMilli: 3000, MinCohort: 4}
	to, err = opa.Shipped(changed)
	require.NoError(tb, err)
	return from, to
}

// A replay over OPA and one over the domain's own rules flip the same calls.
func TestReplayFlipsWhatTheDomainFlips(t *testing.T) {
	from, to := two(t)
	log := logged(t, 2000, from)
	var want policy.Tally
	var calls []policy.Decision
	for _, d := range log {
		if d.Question != policy.AskRouting {
			continue
		}
		var c policy.Call
		require.NoError(t, json.Unmarshal(d.Input, &c))
		calls = append(calls, d)
		want.Add(d, policy.Outcome{Allowed: from.Document.Permits(c.Tenant, c.Model, c.Region, c.Kind)}, policy.Outcome{Allowed: to.Document.Permits(c.Tenant, c.Model, c.Region, c.Kind)})
	}
	replay, err := opa.NewReplay(t.Context(), from, to)
	require.NoError(t, err)
	got, err := replay.Run(t.Context(), once(calls))
	require.NoError(t, err)
	require.Positive(t, got.Closed)
	require.Zero(t, got.Opened)
	for i := range got.Flips {
		require.NotEmpty(t, got.Flips[i].Example.Reasons)
		got.Flips[i].Example.Reasons = nil // the domain gives none
	}
	require.Equal(t, want.Impact(), got)
}

// 100,000 logged decisions through two policies: the figure of
// reports/bench/policy.md.
func BenchmarkReplay(b *testing.B) {
	b.Run("as logged", func(b *testing.B) { replayed(b, false) })
	b.Run("all distinct", func(b *testing.B) { replayed(b, true) })
}

func replayed(b *testing.B, distinct bool) {
	from, to := two(b)
	log := logged(b, 100_000, from)
	for i := range log {
		if distinct { // a member that no rule reads
			log[i].Input = append(append([]byte{}, log[i].Input[:len(log[i].Input)-1]...), fmt.Sprintf(`,"n":%d}`, i)...)
		}
	}
	replay, err := opa.NewReplay(b.Context(), from, to)
	require.NoError(b, err)
	for b.Loop() {
		began, used := time.Now(), busy(b)
		impact, err := replay.Run(b.Context(), once(log))
		require.NoError(b, err)
		require.Equal(b, len(log), impact.Decisions)
		require.Zero(b, impact.Drifted)
		b.ReportMetric(time.Since(began).Seconds(), "s/100k")
		b.ReportMetric((busy(b) - used).Seconds(), "cpu-s/100k")
		b.ReportMetric(float64(impact.Closed), "closed")
	}
}
