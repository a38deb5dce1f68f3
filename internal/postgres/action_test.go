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
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/round"
)

// body decodes what a command was answered with.
func body[T any](t testing.TB, answer api.Answer, err error) T {
	t.Helper()
	var v T
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(answer.Body, &v))
	return v
}

func kinds(t testing.TB, db *DB) (out []string) {
	t.Helper()
	entries, err := db.AuditLog().Leaves(t.Context(), 0, 1000)
	require.NoError(t, err)
	for _, e := range entries {
		var l struct{ Kind string }
		require.NoError(t, json.Unmarshal(e.Leaf, &l))
		out = append(out, l.Kind)
	}
	return out
}

func TestCatalog(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	feature := catalog.Feature{ID: "age", Schema: json.RawMessage(`{"type":"number","note":"\u0000"}`), Fingerprint: digest("age"),
		Consent: catalog.Consent{Granted: true, Purposes: []string{"train"}, Grantees: []string{"t9", "t2"}}}
	put := func(f catalog.Feature) catalog.Feature {
		answer, err := db.Catalog().Register(ctx, command("t1", "", ""), f, reply)
		return body[catalog.Feature](t, answer, err)
	}
	first := put(feature)
	require.Equal(t, 1, first.Version)
	require.Equal(t, []string{"t1", "t2", "t9"}, first.Consent.Grantees, "the owner always may")
	feature.Schema = json.RawMessage(`{"note":"\u0000", "type":"number"}`)
	require.Equal(t, 1, put(feature).Version, "the same schema in another order")
	feature.Schema = json.RawMessage(`{"type":"integer"}`)
	require.Equal(t, 2, put(feature).Version)
	feature.Fingerprint = digest("other")
	require.Equal(t, 3, put(feature).Version)
	put(catalog.Feature{ID: "bmi", Schema: json.RawMessage(`{}`)})

	seen := func(grantee string, features ...string) []catalog.Feature {
		out, err := db.Rounds().ConsentedFeatures(ctx, grantee, []string{"t1", "t3"}, features)
		require.NoError(t, err)
		return out
	}
	require.Len(t, seen("t2"), 2, "all, when none is named")
	require.Len(t, seen("t2", "bmi", "absent"), 1)
	require.True(t, seen("t2", "age")[0].Consent.Granted)
	require.Equal(t, []string{"t1", "t2"}, seen("t2", "age")[0].Consent.Grantees, "who else may is not told")
	require.False(t, seen("t4", "age")[0].Consent.Granted)
	require.Empty(t, seen("t4", "age")[0].Consent.Purposes)
	require.False(t, seen("t1", "bmi")[0].Consent.Granted, "registered without consent")
	page, err := db.Catalog().Features(ctx, caller("t1"), api.Page{After: "age", Limit: 5})
	require.NoError(t, err)
	require.Len(t, page, 1)
	require.Equal(t, "bmi", page[0].ID)

	withdrawn := body[catalog.Feature](t, must(db.Catalog().Withdraw(ctx, command("t1", "", ""), "age", reply)), nil)
	require.False(t, withdrawn.Consent.Granted)
	require.NotNil(t, withdrawn.Consent.WithdrawnAt)
	again := body[catalog.Feature](t, must(db.Catalog().Withdraw(ctx, command("t1", "", ""), "age", reply)), nil)
	require.Equal(t, withdrawn, again, "twice is once")
	require.False(t, seen("t2", "age")[0].Consent.Granted)
	require.False(t, seen("t1", "age")[0].Consent.Granted, "withdrawn is withdrawn for the owner too")
	_, err = db.Catalog().Withdraw(ctx, command("t2", "", ""), "age", reply)
	require.ErrorIs(t, err, api.ErrNotFound)
	require.Equal(t, []string{"feature.registered", "feature.registered", "feature.registered", "feature.registered", "feature.registered", "consent.withdrawn"}, kinds(t, db))
}

// Registrations of one feature at once are versions one after the other.
func TestRegisterTogether(t *testing.T) {
	t.Parallel()
	const n = 12
	db, _ := open(t)
	var versions [n]catalog.Feature
	together(n, func(i int) {
		answer, err := db.Catalog().Register(t.Context(), command("t1", "", ""), catalog.Feature{ID: "age", Schema: fmt.Appendf(nil, `{"v":%d}`, i)}, reply)
		if err == nil {
			err = json.Unmarshal(answer.Body, &versions[i])
		}
		if err != nil {
			t.Error(err)
		}
	})
	seen := map[int]bool{}
	for _, f := range versions {
		seen[f.Version] = true
	}
	require.Len(t, seen, n)
	require.True(t, seen[1] && seen[n])
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestPromotionFromPlanToChampion(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	ctx := t.Context()
	startRun(t, db, "t1", "run-1")
	subject := contract.Subject{Tenant: "t1", ModelID: "m1"}
	in := contract.RegisterInput{Subject: subject, Run: "run-1", Number: 4, Candidate: contract.Candidate{Repository: "models/t1/m1", Package: blob("package")},
		Bundle: blob("bundle"), Weights: blob("weights"), Metrics: round.Metrics{Evaluated: 3}}
	var numbers [8]contract.Version
	together(len(numbers), func(i int) {
		var err error
		if numbers[i], err = db.Versions().Register(ctx, in); err != nil {
			t.Error(err)
		}
	})
	for _, v := range numbers {
		require.Equal(t, contract.Version{Number: 1, Repository: "models/t1/m1", Package: blob("package").Digest, Weights: blob("weights").Digest}, v, "once per package")
	}
	in.Candidate.Package = blob("second package") // now that the model's row is there
	together(len(numbers), func(i int) {
		var err error
		if numbers[i], err = db.Versions().Register(ctx, in); err != nil {
			t.Error(err)
		}
	})
	for _, v := range numbers {
		require.Equal(t, 2, v.Number)
	}
	upload := api.ModelVersion{ModelID: "m1", Repository: "models/t1/m1", Package: blob("uploaded"), Bundle: blob("b2"), Weights: blob("w2")}
	require.Equal(t, 3, body[api.ModelVersion](t, must(db.Models().RegisterUpload(ctx, command("t1", "", ""), upload, reply)), nil).Number)
	require.Equal(t, 3, body[api.ModelVersion](t, must(db.Models().RegisterUpload(ctx, command("t1", "", ""), upload, reply)), nil).Number)
	version, metrics, err := db.Versions().Version(ctx, "t1", "m1", 1)
	require.NoError(t, err)
	require.Equal(t, blob("bundle").Digest, version.Bundle)
	require.Equal(t, in.Metrics, metrics)
	_, _, err = db.Versions().Version(ctx, "t1", "m1", 4)
	require.ErrorIs(t, err, activities.ErrNotFound)
	_, err = db.Versions().Register(ctx, contract.RegisterInput{Subject: subject, Run: "run-9"})
	require.ErrorIs(t, err, activities.ErrNotFound)
	newest, err := db.Models().ModelVersion(ctx, caller("t1"), "m1", 0)
	require.NoError(t, err)
	require.Equal(t, 3, newest.Number)
	_, err = db.Models().ModelVersion(ctx, caller("t2"), "m1", 0)
	require.ErrorIs(t, err, api.ErrNotFound)

	action := api.Action{ID: "promote-1", Kind: api.KindPromotion, ModelID: "m1", Environment: "production", Plan: blob("plan"), Risk: 70, Need: 2}
	saved := body[api.Action](t, must(db.Actions().SavePlan(ctx, command("t1", "", ""), action, reply)), nil)
	require.Equal(t, "planned", saved.State)
	action.ID = "promote-2"
	require.Equal(t, "promote-1", body[api.Action](t, must(db.Actions().SavePlan(ctx, command("t1", "", ""), action, reply)), nil).ID, "the same plan is the same action")
	planned, err := db.Actions().Planned(ctx, caller("t1"), api.KindPromotion, action.Plan.Digest)
	require.NoError(t, err)
	require.Equal(t, "promote-1", planned.ID)
	_, err = db.Actions().Planned(ctx, caller("t2"), api.KindPromotion, action.Plan.Digest)
	require.ErrorIs(t, err, api.ErrNotFound)

	start := api.Start{Workflow: "ModelPromotion", ID: "promotion/promote-1", Queue: "control"}
	bob := command("t1", "", "")
	bob.Subject = "bob"
	started := body[api.Action](t, must(db.Actions().Apply(ctx, bob, "promote-1", start, reply)), nil)
	require.Equal(t, "started", started.State)
	require.Equal(t, "bob", started.Requester)
	_, err = db.Actions().Apply(ctx, bob, "promote-1", start, reply)
	require.ErrorIs(t, err, api.ErrConflict)
	_, err = db.Actions().Apply(ctx, bob, "promote-9", start, reply)
	require.ErrorIs(t, err, api.ErrNotFound)
	_, err = db.Actions().Planned(ctx, caller("t1"), api.KindPromotion, action.Plan.Digest)
	require.ErrorIs(t, err, api.ErrConflict, "it was started")

	end := contract.OutcomeInput{Subject: subject, Action: "promote-1", Kind: api.KindPromotion, Outcome: contract.Applied, Plan: action.Plan.Digest,
		Snapshot: contract.SnapshotRef{Version: 2, Digest: digest("snapshot")}, Evidence: []contract.Evidence{{Region: "eu", Snapshot: 2}}, Bundle: blob("statement")}
	require.ErrorIs(t, db.Actions().RecordOutcome(ctx, end, promotion.Plan{}), activities.ErrRefused, "a plan without a version")
	plan := promotion.Plan{ModelID: "m1", Environment: "production", Version: &promotion.Version{Number: 1}}
	require.NoError(t, db.Actions().RecordOutcome(ctx, end, plan))
	plan.Version.Number, end.Outcome = 2, "failed"
	require.NoError(t, db.Actions().RecordOutcome(ctx, end, plan), "the first end stands")
	model, err := db.Models().Model(ctx, caller("t1"), "m1")
	require.NoError(t, err)
	require.Equal(t, map[string]int{"production": 1}, model.Champions)
	require.Len(t, model.Versions, 3)
	require.Equal(t, 3, model.Versions[0].Number)
	done, err := db.Actions().Action(ctx, caller("t1"), api.KindPromotion, "promote-1")
	require.NoError(t, err)
	require.Equal(t, contract.Applied, done.State)
	require.Equal(t, end.Evidence, done.Evidence)
	require.Equal(t, end.Snapshot, done.Snapshot)
	_, err = db.Actions().Action(ctx, caller("t1"), api.KindPolicy, "promote-1")
	require.ErrorIs(t, err, api.ErrNotFound)
	end.Action = "promote-9"
	require.ErrorIs(t, db.Actions().RecordOutcome(ctx, end, plan), activities.ErrNotFound)
	require.Equal(t, []string{"run.accepted", "model.registered", "model.registered", "model.uploaded", "promotion.planned", "promotion.started", "promotion.applied"}, kinds(t, db))
	require.Equal(t, 2, count(t, admin(t, dsn), `select count(*) from fabric.outbox`))
}

func TestPolicyAndTuningOutcomes(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	begin := func(id, kind string) contract.OutcomeInput {
		_, err := db.Actions().Begin(ctx, command("t1", "", ""), api.Action{ID: id, Kind: kind, ModelID: "m1", Environment: "dev"}, api.Start{Workflow: "W", ID: id, Queue: "control"}, reply)
		require.NoError(t, err)
		return contract.OutcomeInput{Subject: contract.Subject{Tenant: "t1", ModelID: "m1"}, Action: id, Kind: kind, Outcome: contract.Applied}
	}
	document := json.RawMessage(`{ "revision": 3, "threshold": 50 }`)
	require.NoError(t, db.Actions().RecordOutcome(ctx, begin("policy-1", api.KindPolicy), promotion.Plan{Policy: &document}))
	require.ErrorIs(t, db.Actions().RecordOutcome(ctx, begin("policy-2", api.KindPolicy), promotion.Plan{Policy: &document}), activities.ErrStale, "a revision twice")
	fourth := json.RawMessage(`{"revision":4}`)
	require.NoError(t, db.Actions().RecordOutcome(ctx, begin("policy-3", api.KindPolicy), promotion.Plan{Policy: &fourth}))
	policies, err := db.Actions().Policies(ctx, api.Page{Limit: 10})
	require.NoError(t, err)
	require.Len(t, policies, 2)
	require.EqualValues(t, 4, policies[0].Revision)
	require.Equal(t, `{"revision":3,"threshold":50}`, string(policies[1].Document))
	require.Equal(t, artifact.DigestOf(policies[1].Document), policies[1].Digest)
	policies, err = db.Actions().Policies(ctx, api.Page{After: "4", Limit: 10})
	require.NoError(t, err)
	require.Len(t, policies, 1)
	_, err = db.Actions().Policies(ctx, api.Page{After: "four", Limit: 10})
	require.ErrorIs(t, err, api.ErrNotFound)

	tuning := promotion.Plan{ModelID: "m1", Tuning: &promotion.Tuning{Parameter: "learningRate", From: "0.1", To: "0.05"}}
	require.NoError(t, db.Actions().RecordOutcome(ctx, begin("tune-1", api.KindTuning), tuning))
	tuned, err := db.Actions().Tuned(ctx, "t1", "m1")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"learningRate": "0.05"}, tuned)
	tuned, err = db.Actions().Tuned(ctx, "t2", "m1")
	require.NoError(t, err)
	require.Empty(t, tuned)
	nothing := begin("tune-2", api.KindTuning)
	nothing.Outcome, nothing.Cause = contract.Unchanged, "no trial yet"
	require.NoError(t, db.Actions().RecordOutcome(ctx, nothing, promotion.Plan{}))
	_, err = db.Actions().Begin(ctx, command("t1", "", ""), api.Action{ID: "tune-2", Kind: api.KindTuning}, api.Start{}, reply)
	require.ErrorIs(t, err, api.ErrConflict)
}

func TestBallots(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	opened := time.Date(2026, 11, 22, 10, 0, 0, 123_456_789, time.UTC)
	request := func(id string, at time.Time) approval.Request {
		return approval.Request{Action: approval.Action{ID: id, Kind: "promotion", Tenant: "t1", Summary: "serve m1 v2", Plan: digest(id)}, Nonce: "first of " + id, OpenedAt: at}
	}
	req := request("promote-1", opened)
	stands, err := db.Actions().OpenBallot(ctx, req)
	require.NoError(t, err)
	require.Equal(t, req, stands)
	second := req
	second.Nonce = "second"
	stands, err = db.Actions().OpenBallot(ctx, second)
	require.NoError(t, err)
	require.Equal(t, "first of promote-1", stands.Nonce)
	for i := range 3 {
		_, err = db.Actions().OpenBallot(ctx, request("promote-"+string(rune('a'+i)), opened.Add(time.Duration(i)*time.Second)))
		require.NoError(t, err)
	}

	yes := approval.Vote{Approver: "bob", Role: "owner", Key: digest("bob"), Approve: true, Statement: digest("yes"), At: opened}
	twice, broken := yes, approval.Vote{Approver: "\xffeve\x00\uFFFD", Refused: "not a bundle", At: opened}
	twice.Refused = "voted already"
	ballot := approval.Ballot{Request: req, Votes: []approval.Vote{yes}, Refused: []approval.Vote{twice, broken}, Outcome: approval.Pending}
	for range 2 { // again: no leaf more
		require.NoError(t, db.Actions().RecordBallot(ctx, ballot))
	}
	ballot.Outcome = approval.Approved
	require.NoError(t, db.Actions().RecordBallot(ctx, ballot))
	begun, err := db.Actions().BeginBallot(ctx, contract.BeginInput{Ballot: ballot, Use: "run-1"}, nil, opened)
	require.NoError(t, err)
	require.Equal(t, opened, begun.Ballot.BegunAt.UTC())
	ballot.Outcome = approval.Expired
	require.NoError(t, db.Actions().RecordBallot(ctx, ballot), "a ballot that is used stays as it ended")
	require.Equal(t, []string{"ballot.opened", "ballot.opened", "ballot.opened", "ballot.opened", "vote.counted", "vote.refused", "vote.refused", "ballot.approved", "ballot.begun"}, kinds(t, db))
	shown, err := db.Approvals().Ballot(ctx, caller("t1"), "promote-1")
	require.NoError(t, err)
	require.Equal(t, approval.Approved, shown.Outcome)
	require.Len(t, shown.Refused, 2)
	_, err = db.Approvals().Ballot(ctx, caller("t2"), "promote-1")
	require.ErrorIs(t, err, api.ErrNotFound)
	require.ErrorIs(t, db.Actions().RecordBallot(ctx, approval.Ballot{Request: request("promote-9", opened)}), activities.ErrNotFound)

	var paged []string
	page := api.Page{Limit: 2}
	for {
		found, err := db.Approvals().Ballots(ctx, caller("t1"), api.BallotFilter{State: approval.Pending}, page)
		require.NoError(t, err)
		for _, b := range found {
			paged = append(paged, b.Request.Action.ID)
			page.After = b.Request.OpenedAt.Format(time.RFC3339Nano) + "|" + b.Request.Action.ID
		}
		if len(found) < page.Limit {
			break
		}
	}
	require.Equal(t, []string{"promote-c", "promote-b", "promote-a"}, paged, "newest first, none twice, none lost")
	_, err = db.Approvals().Ballots(ctx, caller("t1"), api.BallotFilter{}, api.Page{After: "yesterday", Limit: 1})
	require.ErrorIs(t, err, api.ErrNotFound)
}

func TestApprovers(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	add := func(tenant, name, key string) error {
		_, err := db.Approvals().AddApprover(ctx, command(tenant, "", ""), approval.Approver{Name: name, Role: "owner", Key: digest(key), PublicKey: key}, reply)
		return err
	}
	require.NoError(t, add("t1", "bob", "k1"))
	require.NoError(t, add("t1", "bob", "k1"), "once more")
	require.ErrorIs(t, add("t1", "bob", "k2"), api.ErrConflict, "the name has another key")
	require.ErrorIs(t, add("t1", "cyd", "k1"), api.ErrConflict, "the key has another name")
	require.NoError(t, add("t2", "bob", "k1"), "another tenant")
	require.NoError(t, add("t1", "ann", "k3"))
	approvers, err := db.Actions().Approvers(ctx, "t1")
	require.NoError(t, err)
	require.Len(t, approvers, 2)
	require.Equal(t, "ann", approvers[0].Name)
	require.Equal(t, []string{"approver.added", "approver.added", "approver.added"}, kinds(t, db))
}
