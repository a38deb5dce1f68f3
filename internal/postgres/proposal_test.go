package postgres

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/feedback"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
)

func TestVerdictsAreKeptOnceAndReadInOrder(t *testing.T) {
	db, _ := open(t)
	p := db.Verdicts()
	for i := range 5 {
		d := policy.Decision{ID: fmt.Sprint("d", i), At: noon.Add(time.Duration(i) * time.Second), Tenant: "t1", Question: policy.AskBudget, Input: json.RawMessage(`{"epsilonMilli": 1}`), Allowed: i > 0}
		if i == 0 {
			d.Reasons, d.Masked = []string{"no"}, []string{"/name"}
		}
		require.NoError(t, p.Record(t.Context(), d))
		require.NoError(t, p.Record(t.Context(), d), "twice is once")
	}
	// The router answered one call, of another tenant's model.
	_, err := db.Decisions().Record(t.Context(), batch("a", answered(1, func(d *api.Decision) { d.Owner, d.Caller = "t1", "t2" })))
	require.NoError(t, err)
	var ids []string
	for after := ""; ; {
		found, last, err := p.Verdicts(t.Context(), "t1", noon.Add(-time.Hour), after, 2)
		require.NoError(t, err)
		if len(found) == 0 {
			break
		}
		after = last
		for _, d := range found {
			ids = append(ids, d.ID)
			require.NotEmpty(t, d.Input)
		}
	}
	require.Equal(t, []string{"d0", "d1", "d2", "d3", "d4", fmt.Sprintf("%032x-%016x", 1, 1)}, ids)
	none, _, err := p.Verdicts(t.Context(), "t3", noon.Add(-time.Hour), "", 10)
	require.NoError(t, err)
	require.Empty(t, none, "another tenant sees nothing")
	page, err := p.List(t.Context(), api.Caller{Tenant: "t1"}, api.Page{Limit: 2})
	require.NoError(t, err)
	require.Equal(t, "d4", page[0].ID)
	require.Equal(t, []string{}, page[0].Reasons)
}

func TestAProposalIsKeptOnceAndItsKeyIsOpenOnce(t *testing.T) {
	db, dsn := open(t)
	p := db.Proposals()
	proposal := func(action string) activities.Proposal {
		return activities.Proposal{
			Proposal: feedback.Proposal{Template: "region_weight", Target: "eu", From: 1000, To: 751, Direction: feedback.Tighten, Environment: "production", Summary: "less of eu", ProposedAt: noon, ExpiresAt: noon.Add(time.Hour)},
			Tenant:   "t1", Action: action, Evaluation: "e1", Requester: feedback.Requester, Plan: artifact.Describe("x", []byte(action)), Risk: 20,
			Predicate: digest("1"), Bundle: digest("2"),
		}
	}
	require.NoError(t, p.Propose(t.Context(), proposal("policy-1")))
	require.NoError(t, p.Propose(t.Context(), proposal("policy-1")), "twice is once")
	require.ErrorIs(t, p.Propose(t.Context(), proposal("policy-2")), activities.ErrConflictingProposal)
	history, err := p.History(t.Context(), "t1", noon.Add(-time.Hour))
	require.NoError(t, err)
	require.Len(t, history, 1)
	require.Equal(t, feedback.Open, history[0].State)

	note := contract.RegionStateInput{Subject: contract.Subject{Tenant: "t1"}, Action: "policy-1", Region: "eu", Revision: 2, Policy: digest("3"), State: contract.PolicyPublished, Snapshot: 7}
	require.NoError(t, p.NoteRegion(t.Context(), note))
	note.State, note.Snapshot, note.Delivered, note.Verified = contract.PolicyActive, 7, 9, 8
	for range 2 { // a worker died after it was written
		require.NoError(t, p.NoteRegion(t.Context(), note))
	}
	regions, err := p.Regions(t.Context(), api.Caller{Tenant: "t1"}, "policy-1")
	require.NoError(t, err)
	var states []string
	for _, r := range regions {
		states = append(states, fmt.Sprint(r.State, " ", r.Snapshot))
	}
	require.Equal(t, []string{"published 7", "delivered 9", "verified 8", "active 7"}, states)
	require.Equal(t, 4, count(t, admin(t, dsn), `select count(*) from fabric.audit_leaf where convert_from(body, 'UTF8') like '%"policy/policy-1/eu"%'`), "a leaf for each, once")

	require.NoError(t, db.Actions().RecordOutcome(t.Context(), contract.OutcomeInput{Subject: contract.Subject{Tenant: "t1"}, Action: "policy-1", Kind: api.KindPolicy, Outcome: contract.Rejected}, promotion.Plan{}))
	require.NoError(t, p.Propose(t.Context(), proposal("policy-2")), "its key is free again")
	kept, err := p.List(t.Context(), api.Caller{Tenant: "t1"}, api.Page{Limit: 10})
	require.NoError(t, err)
	require.Len(t, kept, 2)
	require.Equal(t, "rejected", kept[1].State)
}

func TestReportedTelemetryIsReadBySpan(t *testing.T) {
	db, _ := open(t)
	p := db.Proposals()
	at := func(m int) time.Time { return noon.Add(time.Duration(m) * time.Minute) }
	require.NoError(t, p.Observe(t.Context(), "t1", []api.Observation{
		{Metric: "drift", Target: "eu", At: at(0), Value: 0.1}, {Metric: "drift", Target: "eu", At: at(0), Value: 9}, {Metric: "drift", Target: "eu", At: at(11), Value: 0.4},
		{Metric: "route_failed", Target: "us", At: at(1), Value: 3, Total: 100},
	}))
	_, err := db.Decisions().Record(t.Context(), batch("a", answered(1), answered(2, func(d *api.Decision) { d.Status = 503 })))
	require.NoError(t, err)
	spans := []feedback.Span{{From: at(0), To: at(10)}, {From: at(10), To: at(20)}}
	drift, err := p.Windows(t.Context(), "t1", "drift", spans)
	require.NoError(t, err)
	require.Equal(t, []float64{0.1}, drift["eu"][0].Values, "what was reported first for a moment stays")
	require.Equal(t, []float64{0.4}, drift["eu"][1].Values)
	failed, err := p.Windows(t.Context(), "t1", "route_failed", spans)
	require.NoError(t, err)
	require.Equal(t, [2]float64{1, 2}, [2]float64{failed["eu"][0].Hits, failed["eu"][0].Total}, "what routers decided")
	require.Equal(t, [2]float64{3, 100}, [2]float64{failed["us"][0].Hits, failed["us"][0].Total})
	require.Zero(t, failed["eu"][1].Total)
	other, err := p.Windows(t.Context(), "t2", "drift", spans)
	require.NoError(t, err)
	require.Empty(t, other)
}
