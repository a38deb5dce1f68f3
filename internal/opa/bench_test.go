package opa_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/internal/opa"
)

// asks is one allowed input of each question.
func asks() map[string]any {
	stake := policy.Stake{Kind: "policy", Environment: "production", Risk: 5}
	return map[string]any{
		policy.AskAdmission: run(nil),
		policy.AskRouting:   policy.Call{Tenant: "t1", Model: "m1", Region: "eu", Kind: policy.Neural},
		policy.AskBudget:    policy.Spending{EpsilonMilli: 100, RemainingMilli: 1000},
		policy.AskFeature: policy.FeatureUse{Consumer: "consortium", Purpose: "train", Consent: &policy.Consent{
			Tenant: "mayo", Feature: "area", Consented: true, Purposes: catalog.Purposes(), Grantees: []string{"consortium"}}},
		policy.AskRisk:     stake,
		policy.AskApprover: policy.Candidacy{Stake: policy.Stake{Kind: "policy", Environment: "production", Risk: 30, Loosens: true}, Name: "bob", Role: "owner", Requester: "ann"},
	}
}

// What one decision takes, from the Go value to the verdict, with prepared
// queries over the rules that ship: the figure of reports/bench/policy.md.
func BenchmarkDecide(b *testing.B) {
	engine, err := opa.New(context.Background(), opa.Options{})
	require.NoError(b, err)
	inputs := asks()
	for _, question := range policy.Questions() {
		b.Run("again/"+question, func(b *testing.B) {
			b.ReportAllocs()
			begin := busy(b)
			for b.Loop() {
				v, err := engine.Decide(b.Context(), question, inputs[question])
				if err != nil || !v.Allowed {
					b.Fatal(v, err)
				}
			}
			b.ReportMetric(float64(busy(b)-begin)/float64(b.N), "cpu-ns/op")
		})
	}
}

// The same where the input was never seen before: the rules are run.
func BenchmarkDecideAnew(b *testing.B) {
	engine, err := opa.New(context.Background(), opa.Options{})
	require.NoError(b, err)
	inputs := asks()
	for _, question := range policy.Questions() {
		value, err := opa.Value(inputs[question])
		require.NoError(b, err)
		b.Run(question, func(b *testing.B) {
			b.ReportAllocs()
			begin := busy(b)
			for b.Loop() {
				v, err := engine.Decide(b.Context(), question, value)
				if err != nil || !v.Allowed {
					b.Fatal(v, err)
				}
			}
			b.ReportMetric(float64(busy(b)-begin)/float64(b.N), "cpu-ns/op")
		})
	}
}

// busy is the processor time of this process: what a decision costs, also where
// others work on the same machine.
func busy(tb testing.TB) time.Duration {
	tb.Helper()
	var used syscall.Rusage
	require.NoError(tb, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// What it takes to put a bundle in force: its rules are compiled and planned.
func BenchmarkActivate(b *testing.B) {
	begin := busy(b)
	for b.Loop() {
		_, err := opa.New(b.Context(), opa.Options{})
		require.NoError(b, err)
	}
	b.ReportMetric(float64(busy(b)-begin)/float64(b.N), "cpu-ns/op")
}
