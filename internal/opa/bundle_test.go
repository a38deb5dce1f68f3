package opa_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"net/http/httptest"

	"github.com/open-policy-agent/opa/v1/ast"
	opabundle "github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/plugins"
	"github.com/open-policy-agent/opa/v1/server"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/internal/opa"
)

// tight is a policy with every part that the rules read.
func tight() policy.Document {
	d := policy.Default()
	d.Revision, d.Threshold = 7, 30
	d.Rules = []policy.Rule{
		{Name: "mayo-at-home", Tenant: "mayo", Model: policy.Any, Regions: []string{"us"}, Kinds: []string{policy.Neural}},
		{Name: "tumour-anywhere", Tenant: policy.Any, Model: "tumour", Regions: []string{policy.Any}, Kinds: []string{policy.Neural, policy.Quantum}},
		{Name: "rest", Tenant: policy.Any, Model: policy.Any, Regions: []string{"eu", "apac"}, Kinds: []string{policy.Neural}},
	}
	rules := approval.DefaultRules()
	rules.BarTrainer = true
	d.Approvals = &rules
	d.Limits = &policy.Limits{MaxEpsilonMilli: 4000, MinCohort: 3, MaxDeadlineSeconds: 120, MaxClipMilli: 1500, MaxRetries: 2}
	d.Shares = []policy.Share{{Region: "apac", Weight: 0}}
	return d
}

// serveBundle starts OPA's own server on an archive, activated as OPA activates
// what it downloads.
func serveBundle(t *testing.T, archive []byte) *httptest.Server {
	t.Helper()
	ctx := t.Context()
	b, err := opabundle.NewCustomReader(opabundle.NewTarballLoaderWithBaseURL(bytes.NewReader(archive), "")).WithSkipBundleVerification(true).Read()
	require.NoError(t, err)
	store := inmem.New()
	require.NoError(t, storage.Txn(ctx, store, storage.WriteParams, func(txn storage.Transaction) error {
		return opabundle.Activate(&opabundle.ActivateOpts{
			Ctx: ctx, Store: store, Txn: txn, TxnCtx: storage.NewContext(), Compiler: ast.NewCompiler(), Metrics: metrics.New(),
			Bundles: map[string]*opabundle.Bundle{"fabric": &b}, ParserOptions: ast.ParserOptions{RegoVersion: ast.RegoV1},
		})
	}))
	manager, err := plugins.New(nil, "test", store)
	require.NoError(t, err)
	require.NoError(t, manager.Start(ctx))
	s, err := server.New().WithAddresses([]string{"127.0.0.1:0"}).WithStore(store).WithManager(manager).Init(ctx)
	require.NoError(t, err)
	listening := httptest.NewServer(s.Handler)
	t.Cleanup(func() {
		listening.Close()
		manager.Stop(context.WithoutCancel(ctx))
	})
	return listening
}

// drawn returns an input of a question, allowed or not.
func drawn(r *rand.Rand, question string) any {
	one := func(names ...string) string { return names[r.IntN(len(names))] }
	stake := policy.Stake{Kind: one("policy", "promotion", "leave-simulation"), Environment: one("dev", "staging", "production", "elsewhere"),
		Risk: r.IntN(101), Loosens: r.IntN(2) == 0, Rollback: r.IntN(4) == 0}
	purposes := [][]string{nil, {"train"}, {"evaluate", "stats", "train"}}[r.IntN(3)]
	switch question {
	case policy.AskRouting:
		return policy.Call{Tenant: one("mayo", "charite"), Model: one("tumour", "other"), Region: one("eu", "us", "apac"), Kind: one("neural", "quantum", "odd")}
	case policy.AskBudget:
		return policy.Spending{EpsilonMilli: int64(r.IntN(6000) - 100), RemainingMilli: int64(r.IntN(6000))}
	case policy.AskRisk:
		return stake
	case policy.AskApprover:
		return policy.Candidacy{Stake: stake, Name: one("ann", "bob", ""), Role: one(approval.Roles()...), Requester: one("ann", "eve"), Trainers: [][]string{nil, {"bob"}}[r.IntN(2)]}
	case policy.AskFeature:
		use := policy.FeatureUse{Consumer: one("mayo", "charite"), Purpose: one("train", "stats")}
		if r.IntN(8) > 0 {
			use.Consent = &policy.Consent{Tenant: "mayo", Feature: "area", Consented: r.IntN(5) > 0, Withdrawn: r.IntN(5) == 0, Purposes: purposes, Grantees: [][]string{nil, {"charite"}}[r.IntN(2)]}
		}
		return use
	}
	return run(func(a *policy.Admission) {
		a.Demands = policy.Demands{EpsilonMilli: int64(r.IntN(8000)), ClipMilli: int64(r.IntN(2500)), DeadlineSeconds: r.IntN(200), Retries: r.IntN(4)}
		a.Production, a.Signing = r.IntN(2) == 0, r.IntN(2) == 0
		a.Cohort[0].Sites = 1 + r.IntN(3)
		if r.IntN(3) == 0 {
			a.Features[r.IntN(4)].Purposes = purposes
		}
	})
}

// From one archive, the embedded rules and a real OPA server give the same
// answers, reasons and revision, to every question.
func TestBothEnginesAnswerAlikeFromOneBundle(t *testing.T) {
	const seed = 20261123
	t.Logf("seed %d", seed)
	shipped, err := opa.Shipped(tight())
	require.NoError(t, err)
	archive, err := shipped.Pack()
	require.NoError(t, err)
	again, err := shipped.Pack()
	require.NoError(t, err)
	require.Equal(t, archive, again, "the same bundle is the same bytes")

	opened, err := opa.Open(archive)
	require.NoError(t, err)
	embedded, err := opa.New(t.Context(), opa.Options{})
	require.NoError(t, err)
	require.NoError(t, embedded.Activate(t.Context(), opened))
	remote, err := opa.New(t.Context(), opa.Options{URL: serveBundle(t, archive).URL, Timeout: 30 * time.Second})
	require.NoError(t, err)

	r := rand.New(rand.NewPCG(seed, 2))
	for _, question := range policy.Questions() {
		allowed := 0
		for range 120 {
			input := drawn(r, question)
			here, err := embedded.Decide(t.Context(), question, input)
			require.NoError(t, err, "%s %+v", question, input)
			there, err := remote.Decide(t.Context(), question, input)
			require.NoError(t, err, "%s %+v", question, input)
			require.Equal(t, there.Allowed, here.Allowed, "%s %+v", question, input)
			require.ElementsMatch(t, there.Reasons, here.Reasons, "%s %+v", question, input)
			require.EqualValues(t, 7, here.Revision)
			require.EqualValues(t, 7, there.Revision)
			if here.Allowed {
				allowed++
			}
			text, err := json.Marshal(input)
			require.NoError(t, err)
			byText, err := embedded.Decide(t.Context(), question, json.RawMessage(text))
			require.NoError(t, err)
			require.Equal(t, here, byText, "what is converted by hand is what its JSON says")
		}
		require.Greater(t, allowed, 5, question)
		require.Less(t, allowed, 115, question)
	}
}

// The rules say of routing, seats and voters what the domain says.
func TestTheRulesSayWhatTheDomainSays(t *testing.T) {
	const seed = 20261124
	t.Logf("seed %d", seed)
	d := tight()
	shipped, err := opa.Shipped(d)
	require.NoError(t, err)
	engine, err := opa.New(t.Context(), opa.Options{})
	require.NoError(t, err)
	require.NoError(t, engine.Activate(t.Context(), shipped))
	r := rand.New(rand.NewPCG(seed, 3))
	for range 1500 {
		call := drawn(r, policy.AskRouting).(policy.Call)
		v, err := engine.Decide(t.Context(), policy.AskRouting, call)
		require.NoError(t, err)
		require.Equal(t, d.Permits(call.Tenant, call.Model, call.Region, call.Kind), v.Allowed, "%+v %v", call, v.Reasons)

		stake := drawn(r, policy.AskRisk).(policy.Stake)
		action := approval.Action{Kind: stake.Kind, Environment: stake.Environment, Risk: stake.Risk, Loosens: stake.Loosens, Rollback: stake.Rollback}
		seats := approval.Required(action, d.Threshold)
		v, err = engine.Decide(t.Context(), policy.AskRisk, stake)
		require.NoError(t, err)
		require.Equal(t, len(seats) == 0, v.Allowed, "%+v: %v, %v", stake, v.Reasons, seats)
		require.Len(t, v.Reasons, len(seats), "%+v", stake)

		c := drawn(r, policy.AskApprover).(policy.Candidacy)
		c.Stake = stake
		if c.Name == "" {
			continue
		}
		req, err := approval.NewRequest(approval.Ask{Action: action, Requester: c.Requester, Trainers: c.Trainers, Threshold: d.Threshold,
			Rules: d.Balloting(), Approvers: []approval.Approver{{Name: c.Name, Role: c.Role}}})
		_ = err // one person alone may be too few to fill every seat; who may vote is said all the same
		rules := d.Balloting()
		rules.EscalatePercent = 0
		v, err = engine.Decide(t.Context(), policy.AskApprover, c)
		require.NoError(t, err)
		may := len(req.Approvers) == 1 && fills(req.Seats, c.Role)
		require.Equal(t, may, v.Allowed, "%+v: %v", c, v.Reasons)
	}
}

func fills(seats [][]string, role string) bool {
	for _, seat := range seats {
		for _, r := range seat {
			if r == role {
				return true
			}
		}
	}
	return false
}

func TestABundleThatIsRefusedLeavesTheOldOne(t *testing.T) {
	ctx := t.Context()
	pack := func(edit func(*opa.Bundle)) []byte {
		b, err := opa.Shipped(tight())
		require.NoError(t, err)
		if edit != nil {
			edit(&b)
		}
		archive, err := b.Pack()
		require.NoError(t, err)
		return archive
	}
	signed := func(context.Context, []byte, artifact.Digest) error { return nil }
	forged := func(context.Context, []byte, artifact.Digest) error { return errors.New("no key of ours") }
	tests := []struct {
		name    string
		archive []byte
		verify  opa.Verify
		want    error
		advice  string
	}{
		{"a bad signature", pack(nil), forged, opa.ErrSignature, "fetch it from the policy hub again"},
		{"no archive", []byte("junk"), signed, opa.ErrBundle, "fabric policy bundle"},
		{"cut off", pack(nil)[:200], signed, opa.ErrBundle, "fabric policy bundle"},
		{"rules that do not parse", pack(func(b *opa.Bundle) { b.Modules["routing.rego"] = "package fabric.routing\nallow if {" }), signed, opa.ErrCompile, "fabric policy replay"},
		{"rules that do not compile", pack(func(b *opa.Bundle) { b.Modules["routing.rego"] = "package fabric.routing\nallow if nowhere" }), signed, opa.ErrCompile, "fabric policy replay"},
		{"the same revision with another content", pack(func(b *opa.Bundle) { b.Document.Threshold = 31 }), signed, opa.ErrRevision, "next revision"},
		{"a lower revision", pack(func(b *opa.Bundle) { b.Document.Revision = 6 }), signed, opa.ErrRevision, "next revision"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			engine, err := opa.New(ctx, opa.Options{})
			require.NoError(t, err)
			require.NoError(t, engine.Receive(ctx, pack(nil), nil, signed))
			err = engine.Receive(ctx, tt.archive, nil, tt.verify)
			require.ErrorIs(t, err, tt.want)
			require.ErrorContains(t, err, tt.advice)
			require.EqualValues(t, 7, engine.Revision(), "the old one stays")
			v, err := engine.Decide(ctx, policy.AskRouting, policy.Call{Tenant: "mayo", Model: "m", Region: "us", Kind: policy.Neural})
			require.NoError(t, err)
			require.True(t, v.Allowed)
		})
	}
	engine, err := opa.New(ctx, opa.Options{})
	require.NoError(t, err)
	require.NoError(t, engine.Receive(ctx, pack(nil), nil, signed))
	require.NoError(t, engine.Receive(ctx, pack(nil), nil, signed), "the one in force once more is no fault")
	back, err := tight().Again(8)
	require.NoError(t, err)
	require.NoError(t, engine.Receive(ctx, pack(func(b *opa.Bundle) { b.Document = back }), nil, signed), "a rollback is a higher revision")
	require.EqualValues(t, 8, engine.Revision())
}

// A remote that is behind says so in its health, and decides on.
func TestARemoteThatIsBehindSaysSo(t *testing.T) {
	b, err := opa.Shipped(tight())
	require.NoError(t, err)
	archive, err := b.Pack()
	require.NoError(t, err)
	remote, err := opa.New(t.Context(), opa.Options{URL: serveBundle(t, archive).URL, Timeout: 30 * time.Second})
	require.NoError(t, err)
	require.NoError(t, remote.Activate(t.Context(), b))
	require.NoError(t, remote.Check(t.Context()))
	b.Document.Revision = 8
	require.NoError(t, remote.Activate(t.Context(), b))
	require.ErrorIs(t, remote.Check(t.Context()), opa.ErrBehind)
}

// The data beside the rules is that of the policy a new fabric begins with.
func TestTheDataThatShipsIsThatOfTheFirstPolicy(t *testing.T) {
	want, err := opa.Data(policy.Default())
	require.NoError(t, err)
	path := filepath.Join(folder, "data.json")
	if os.Getenv("FABRIC_GOLDEN") == "write" {
		require.NoError(t, os.WriteFile(path, append(want, '\n'), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(got))
}

// A decision as it is logged decides alike when it is replayed, and names nobody.
func TestWhatIsLoggedIsMaskedAndReplaysAlike(t *testing.T) {
	engine, err := opa.New(t.Context(), opa.Options{})
	require.NoError(t, err)
	b, err := opa.Shipped(tight())
	require.NoError(t, err)
	require.NoError(t, engine.Activate(t.Context(), b))
	r := rand.New(rand.NewPCG(5, 5))
	var log []policy.Decision
	for i := range 400 {
		question := policy.Questions()[i%len(policy.Questions())]
		input := drawn(r, question)
		v, err := engine.Decide(t.Context(), question, input)
		require.NoError(t, err)
		keep := []string{"consortium"}
		if use, ok := input.(policy.FeatureUse); ok {
			keep = []string{use.Consumer}
		}
		d, err := v.Log(policy.Decision{ID: fmt.Sprint("d", i), Tenant: "consortium", Question: question}, input, keep...)
		require.NoError(t, err)
		if question == policy.AskApprover {
			require.NotContains(t, string(d.Input), `"bob"`)
			require.NotContains(t, string(d.Input), `"ann"`)
			require.NotEmpty(t, d.Masked)
		}
		log = append(log, d)
	}
	replay, err := opa.NewReplay(t.Context(), b, b)
	require.NoError(t, err)
	impact, err := replay.Run(t.Context(), once(log))
	require.NoError(t, err)
	require.Equal(t, 400, impact.Decisions)
	require.Zero(t, impact.Drifted, "masked, it decides as it did")
	require.Zero(t, impact.Undecided)
	require.Empty(t, impact.Flips)
}

// once is a source of one batch after the other.
func once(log []policy.Decision) func(context.Context) ([]policy.Decision, error) {
	return func(context.Context) ([]policy.Decision, error) {
		n := min(1000, len(log))
		batch := log[:n]
		log = log[n:]
		return batch, nil
	}
}

func TestReplayShowsEveryFlip(t *testing.T) {
	from, err := opa.Shipped(tight())
	require.NoError(t, err)
	to := from
	to.Document.Revision++
	to.Document.Shares = []policy.Share{{Region: "eu", Weight: 0}}
	log := []policy.Decision{}
	add := func(id, tenant, region string, allowed bool) {
		input, err := json.Marshal(policy.Call{Tenant: tenant, Model: "m", Region: region, Kind: policy.Neural})
		require.NoError(t, err)
		log = append(log, policy.Decision{ID: id, Tenant: tenant, Region: region, Purpose: "serve", Question: policy.AskRouting, Input: input, Allowed: allowed})
	}
	add("a2", "charite", "eu", true)
	add("a1", "charite", "eu", true)
	add("a3", "charite", "apac", false)
	add("a4", "mayo", "us", true)
	replay, err := opa.NewReplay(t.Context(), from, to)
	require.NoError(t, err)
	impact, err := replay.Run(t.Context(), once(log))
	require.NoError(t, err)
	require.Equal(t, 4, impact.Decisions)
	require.Equal(t, 2, impact.Closed)
	require.Equal(t, 1, impact.Opened)
	require.True(t, impact.Loosens())
	require.Len(t, impact.Flips, 2)
	opens, closes := impact.Flips[0], impact.Flips[1]
	require.True(t, opens.Opens)
	require.Equal(t, "a3", opens.Example.ID)
	require.Equal(t, []string{"region apac is closed"}, opens.Example.Reasons)
	require.Equal(t, 2, closes.Count)
	require.Equal(t, "a1", closes.Example.ID)
	require.Equal(t, []string{"region eu is closed"}, closes.Example.Reasons)
	require.Equal(t, "charite/eu/serve", closes.Tenant+"/"+closes.Region+"/"+closes.Purpose)
}
