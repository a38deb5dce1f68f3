package postgres

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
)

// allow registers a feature of the tenant and lets grantees use it.
func allow(t testing.TB, db *DB, tenant string, grantees ...string) {
	t.Helper()
	_, err := db.Catalog().Register(t.Context(), command(tenant, "", ""), catalog.Feature{ID: "age", Schema: json.RawMessage(`{"v":1}`), Fingerprint: digest("age"),
		Consent: catalog.Consent{Granted: true, Purposes: catalog.Purposes(), Grantees: grantees}}, reply)
	require.NoError(t, err)
}

// under returns the grants that a run of owner would begin under.
func under(t testing.TB, db *DB, owner string, tenants ...string) (out []consent.Record) {
	t.Helper()
	have, err := db.Rounds().Grants(t.Context(), owner, tenants, []string{"age"})
	require.NoError(t, err)
	for _, g := range have {
		if g.WithdrawnAt.IsZero() {
			out = append(out, g)
		}
	}
	require.Len(t, out, len(tenants))
	return out
}

// consented begins a round of owner's run under grants and opens a stage.
func consented(t testing.TB, db *DB, owner string, number int, stage round.Stage, cohort []site.Site, grants []consent.Record) contract.StageRef {
	t.Helper()
	subject := contract.Subject{Tenant: owner, ModelID: "m1"}
	in := contract.RoundInput{Subject: subject, Run: "run-1", Number: number, Kind: round.Train, Base: blob("base")}
	_, err := db.Rounds().BeginRound(t.Context(), in, blob("manifest"), round.Plain(cohort), privacy.Request{}, grants...)
	require.NoError(t, err)
	require.NoError(t, db.Rounds().OpenStage(t.Context(), contract.RegionInput{Subject: subject, Run: "run-1", Number: number, Kind: round.Train, Region: "eu",
		Sites: len(cohort), Manifest: blob("manifest"), Signature: blob("bundle")}, stage, time.Now().Add(time.Minute)))
	return contract.StageRef{Subject: subject, Run: "run-1", Number: number, Kind: round.Train, Region: "eu", Stage: stage}
}

// withdraws ends what the tenant allows, and has the workflow's first step done.
func withdraws(t testing.TB, db *DB, tenant string) (int64, []consent.Effect) {
	t.Helper()
	w := body[api.Withdrawal](t, must(db.Catalog().WithdrawGrants(t.Context(), command(tenant, "", ""), "age", nil, "a patient asked", reply)), nil)
	effects, err := db.Consents().Enforce(t.Context(), tenant, w.Epoch)
	require.NoError(t, err)
	again, err := db.Consents().Enforce(t.Context(), tenant, w.Epoch)
	require.NoError(t, err)
	require.Equal(t, effects, again, "twice is once")
	return w.Epoch, effects
}

func TestAWithdrawalInTheMiddleOfARound(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	allow(t, db, "t1", "t9")
	allow(t, db, "t2", "t9")
	mine, theirs := enrol(t, db, "t1", "eu", 2), enrol(t, db, "t2", "eu", 1)
	cohort := append(append([]site.Site{}, mine...), theirs...)
	startRun(t, db, "t9", "run-1", "t1", "t2")
	grants := under(t, db, "t9", "t1", "t2")
	ref := consented(t, db, "t9", 1, round.StageUpdate, cohort, grants)
	require.NoError(t, db.Sites().Submit(ctx, api.Caller{Tenant: "t1"}, answer(ref, mine[0])))
	require.NoError(t, db.Sites().Submit(ctx, api.Caller{Tenant: "t2"}, answer(ref, theirs[0])))

	shown, err := db.Catalog().Preview(ctx, caller("t1"), "age", nil)
	require.NoError(t, err)
	require.Len(t, shown.Effects, 1)
	require.Equal(t, consent.Dropped, shown.Effects[0].Action)
	counts, err := db.Rounds().StageCounts(ctx, ref)
	require.NoError(t, err)
	require.Equal(t, round.Counts{Selected: 3, Accepted: 2}, counts, "a preview changes nothing")

	epoch, effects := withdraws(t, db, "t1")
	require.EqualValues(t, 2, epoch)
	require.Len(t, effects, 1)
	require.Equal(t, consent.Effect{Owner: "t9", Run: "run-1", Round: 1, Model: "m1", Region: "eu", Stage: "update", Action: consent.Dropped, Sites: 2, At: effects[0].At}, effects[0])
	counts, err = db.Rounds().StageCounts(ctx, ref)
	require.NoError(t, err)
	require.Equal(t, round.Counts{Selected: 3, Accepted: 1, Rejected: 2}, counts, "nobody is waited for who may not answer")

	work, err := db.Sites().Work(ctx, "t1", mine[1].ID, 0)
	require.NoError(t, err)
	require.Empty(t, work, "the site that had not answered is not asked any more")
	require.ErrorIs(t, db.Sites().Submit(ctx, api.Caller{Tenant: "t1"}, answer(ref, mine[1])), api.ErrClosed)
	floors, now, err := db.Sites().Floors(ctx, "t1")
	require.NoError(t, err)
	require.EqualValues(t, 2, now)
	require.Equal(t, []consent.Floor{{Feature: "age", Grantee: "t1", Epoch: 2}, {Feature: "age", Grantee: "t9", Epoch: 2}}, floors)

	for range 2 {
		closed, err := db.Rounds().CloseStage(ctx, ref)
		require.NoError(t, err)
		require.Len(t, closed, 2)
		require.Equal(t, []string{haltedReason, ""}, []string{closed[0].Reason, closed[1].Reason})
	}
	answers, _, err := db.Rounds().Answers(ctx, "t9", "run-1", 1)
	require.NoError(t, err)
	require.Len(t, answers, 1)
	require.Equal(t, "t2", answers[0].Tenant, "the statement about the weights names it no more")

	in := contract.RoundInput{Subject: ref.Subject, Run: "run-1", Number: 2, Kind: round.Train, Base: blob("base")}
	_, err = db.Rounds().BeginRound(ctx, in, blob("m"), round.Plain(cohort), privacy.Request{}, grants...)
	require.ErrorIs(t, err, errGone, "a round that was planned before begins no more")
	_, _, ok, err := db.Rounds().Begun(ctx, "t9", "run-1", 2)
	require.NoError(t, err)
	require.False(t, ok)
}

// A stage that is closed says the same for ever: what is withdrawn then counts
// from the next stage on, and when there is none the round is tainted.
func TestAWithdrawalCountsFromTheFirstOpenStage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		first  round.Stage
		closed []round.Stage // and the next one is open, if there is one
		from   string
		action string
	}{
		{"before the group has opened", round.StageAdvertise, nil, "advertise", consent.Canceled},
		{"while keys are shared", round.StageAdvertise, []round.Stage{round.StageAdvertise}, "share", consent.Canceled},
		{"while vectors are masked", round.StageAdvertise, []round.Stage{round.StageAdvertise, round.StageShare}, "mask", consent.Dropped},
		{"when the survivors are committed to", round.StageAdvertise, []round.Stage{round.StageAdvertise, round.StageShare, round.StageMask}, "check", consent.Stopped},
		{"while shares are asked for", round.StageAdvertise, []round.Stage{round.StageAdvertise, round.StageShare, round.StageMask, round.StageCheck}, "unmask", consent.Stopped},
		{"when the sum can be opened", round.StageAdvertise, []round.Stage{round.StageAdvertise, round.StageShare, round.StageMask, round.StageCheck, round.StageUnmask}, "", consent.Tainted},
		{"when a plain stage is closed", round.StageUpdate, []round.Stage{round.StageUpdate}, "", consent.Tainted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			db, _ := open(t)
			ctx := t.Context()
			allow(t, db, "t1", "t9")
			sites := enrol(t, db, "t1", "eu", 1)
			startRun(t, db, "t9", "run-1", "t1")
			ref := consented(t, db, "t9", 1, tt.first, sites, under(t, db, "t9", "t1"))
			for _, s := range tt.closed {
				ref.Stage = s
				one := answer(ref, sites[0])
				one.Statement = digest(string(s))
				require.NoError(t, db.Sites().Submit(ctx, api.Caller{Tenant: "t1"}, one))
				before, err := db.Rounds().CloseStage(ctx, ref)
				require.NoError(t, err)
				require.Len(t, before, 1)
				require.Empty(t, before[0].Reason)
				if next, more := s.Following(); more && s != round.StageUpdate {
					if next == round.StageCheck {
						_, err := db.Rounds().CommitSurvivors(ctx, ref, blob("set"))
						require.NoError(t, err)
					}
					ref.Stage = next
					require.NoError(t, db.Rounds().OpenNext(ctx, ref, []activities.Member{{Tenant: "t1", Site: sites[0].ID, Inbox: blob("x")}}, time.Now().Add(time.Minute)))
				}
			}
			if tt.action == consent.Dropped {
				one := answer(ref, sites[0])
				one.Statement = digest("masked")
				require.NoError(t, db.Sites().Submit(ctx, api.Caller{Tenant: "t1"}, one))
			}
			_, effects := withdraws(t, db, "t1")
			require.Len(t, effects, 1)
			require.Equal(t, []string{tt.action, tt.from}, []string{effects[0].Action, effects[0].Stage})
			for _, s := range tt.closed {
				ref.Stage = s
				after, err := db.Rounds().CloseStage(ctx, ref)
				require.NoError(t, err)
				require.Empty(t, after[0].Reason, "stage %s was closed before", s)
			}
			halted, err := db.Rounds().Halted(ctx, ref)
			require.NoError(t, err)
			require.Equal(t, tt.action != consent.Tainted, len(halted) == 1)
			if tt.action == consent.Dropped {
				ref.Stage = round.StageMask
				dropped, err := db.Rounds().CloseStage(ctx, ref)
				require.NoError(t, err)
				require.Equal(t, haltedReason, dropped[0].Reason)
			}
		})
	}
}

// What was learnt before a withdrawal taints the weights, those that follow
// from them in this run and in others, and the versions, until somebody decides.
func TestTaintReachesWhatFollows(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	allow(t, db, "t1", "t9")
	allow(t, db, "t2", "t9")
	sites := append(enrol(t, db, "t1", "eu", 1), enrol(t, db, "t2", "eu", 1)...)
	startRun(t, db, "t9", "run-1", "t1", "t2")
	both, clean := under(t, db, "t9", "t1", "t2"), under(t, db, "t9", "t2")
	subject := contract.Subject{Tenant: "t9", ModelID: "m1"}
	run := func(run string, number int, base, weights string, grants []consent.Record) {
		in := contract.RoundInput{Subject: subject, Run: run, Number: number, Kind: round.Train, Base: blob(base)}
		_, err := db.Rounds().BeginRound(ctx, in, blob("m"), round.Plain(sites), privacy.Request{}, grants...)
		require.NoError(t, err)
		require.NoError(t, db.Rounds().CloseRound(ctx, contract.CloseRoundInput{Subject: subject, Run: run, Number: number, Kind: round.Train, Base: blob(base), Weights: blob(weights)}))
	}
	version := func(run string, number int, name string) int {
		v, err := db.Versions().Register(ctx, contract.RegisterInput{Subject: subject, Run: run, Number: number,
			Candidate: contract.Candidate{Repository: "r", Package: blob("package " + name)}, Bundle: blob("b"), Weights: blob(name)})
		require.NoError(t, err)
		return v.Number
	}
	run("run-1", 1, "w0", "w1", clean)
	first := version("run-1", 1, "w1")
	run("run-1", 2, "w1", "w2", both)
	second := version("run-1", 2, "w2")
	startRun(t, db, "t9", "run-2", "t2")
	run("run-2", 1, "w2", "w3", clean)
	third := version("run-2", 1, "w3")
	startRun(t, db, "t9", "run-3", "t2")
	run("run-3", 1, "w1", "w4", clean)
	fourth := version("run-3", 1, "w4")

	epoch, effects := withdraws(t, db, "t1")
	require.Len(t, effects, 1)
	require.Equal(t, consent.Tainted, effects[0].Action)
	report, err := db.Consents().Reached(ctx, "t1", epoch)
	require.NoError(t, err)
	require.Equal(t, []consent.Checkpoint{
		{Owner: "t9", Run: "run-1", Round: 2, Weights: blob("w2").Digest, Clean: blob("w1").Digest, CleanRound: 1},
		{Owner: "t9", Run: "run-2", Round: 1, Weights: blob("w3").Digest},
	}, report.Checkpoints)
	require.Len(t, report.Models, 2)
	tainted := func() (out []bool) {
		for _, n := range []int{first, second, third, fourth} {
			why, err := db.Versions().Tainted(ctx, "t9", "m1", n)
			require.NoError(t, err)
			out = append(out, why != "")
		}
		return out
	}
	require.Equal(t, []bool{false, true, true, false}, tainted())
	model, err := db.Models().Model(ctx, caller("t9"), "m1")
	require.NoError(t, err)
	require.Len(t, model.Taints, 2)

	record := contract.WithdrawalRecord{Subject: contract.Subject{Tenant: "t1"}, Epoch: epoch, Report: blob("report"), Markdown: blob("md"), Bundle: blob("bundle"), Undecided: true, Statement: digest("s")}
	require.NoError(t, db.Consents().RecordWithdrawal(ctx, record))
	decide := func(what string) error {
		_, err := db.Catalog().Decide(ctx, command("t1", "", ""), epoch, what, "lawful then", reply)
		return err
	}
	require.NoError(t, decide("stop"))
	require.Equal(t, []bool{false, false, false, false}, tainted(), "what was learnt lawfully stays")
	require.ErrorIs(t, decide("retire"), api.ErrConflict)
}

// Consent is what grants amount to now: by grantee, and no longer than they say.
func TestConsentIsDerived(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	_, err := db.Catalog().Register(ctx, command("t1", "", ""), catalog.Feature{ID: "age", Schema: json.RawMessage(`{}`)}, reply)
	require.NoError(t, err)
	seen := func(grantee string) catalog.Consent {
		out, err := db.Rounds().ConsentedFeatures(ctx, grantee, []string{"t1"}, []string{"age"})
		require.NoError(t, err)
		require.Len(t, out, 1)
		return out[0].Consent
	}
	require.False(t, seen("t1").Granted)
	give := func(g consent.Grant) consent.Record {
		g.Feature = "age"
		return body[consent.Record](t, must(db.Catalog().Grant(ctx, command("t1", "", ""), g, artifact.Descriptor{}, reply)), nil)
	}
	first := give(consent.Grant{Grantee: "t2", Actions: []string{"train"}})
	require.Equal(t, "g000001", first.ID)
	give(consent.Grant{Grantee: "t2", Actions: []string{"stats"}})
	give(consent.Grant{Grantee: "t3", Actions: []string{"train"}, NotBefore: time.Now().Add(time.Hour)})
	for _, by := range []string{"first", "second"} {
		kept, err := db.Rounds().KeepGrant(ctx, "t1", first.ID, blob(by))
		require.NoError(t, err)
		require.Equal(t, blob("first"), kept, "who signed it first")
	}
	over := give(consent.Grant{Grantee: "t4", Actions: []string{"train"}, NotBefore: time.Now().Add(-2 * time.Hour), ExpiresAt: time.Now().Add(-time.Hour)})
	require.Equal(t, consent.Expired, over.At(time.Now()))
	require.Equal(t, []string{"stats", "train"}, seen("t2").Purposes)
	require.False(t, seen("t3").Granted, "not yet")
	require.False(t, seen("t4").Granted, "no more")
	require.False(t, seen("t1").Granted, "the owner gave itself nothing")
	withdraws(t, db, "t1")
	require.False(t, seen("t2").Granted)
	again := give(consent.Grant{Grantee: "t2", Actions: []string{"train"}})
	require.EqualValues(t, 2, again.Epoch, "what is granted after a withdrawal is of its epoch")
	require.True(t, seen("t2").Granted)
	list, epoch, err := db.Catalog().ListGrants(ctx, caller("t1"), "", api.Page{Limit: 50})
	require.NoError(t, err)
	require.EqualValues(t, 2, epoch)
	require.Len(t, list, 5)
}

// Access is asked for, decided and taken back as data, over tenants.
func TestAccessRequests(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	_, err := db.Catalog().Register(ctx, command("t1", "", ""), catalog.Feature{ID: "age", Schema: json.RawMessage(`{"secret":1}`), Description: "years", Tags: []string{"demo"}}, reply)
	require.NoError(t, err)
	card := func() api.Card {
		cards, err := db.Catalog().Cards(ctx, caller("t2"), "year", api.Page{Limit: 10})
		require.NoError(t, err)
		require.Len(t, cards, 1)
		return cards[0]
	}
	require.Equal(t, api.Card{Tenant: "t1", Feature: "age", Description: "years", Tags: []string{"demo"}, Access: "NONE"}, card())
	ask := func(id string) api.Access {
		return body[api.Access](t, must(db.Catalog().RequestAccess(ctx, command("t2", "", id), api.Access{ID: id, Owner: "t1", Feature: "age", Purpose: "HMB",
			Actions: []string{"train"}, Days: 30, Reason: "a study"}, reply)), nil)
	}
	require.Equal(t, "access-1", ask("access-1").ID)
	require.Equal(t, "access-1", ask("access-2").ID, "one that waits is the one")
	require.Equal(t, "PENDING", card().Access)
	decide := func(tenant string, event consent.AccessEvent) (api.Answer, error) {
		return db.Catalog().DecideAccess(ctx, command(tenant, "", ""), "access-1", event, "", reply)
	}
	_, err = decide("t2", consent.Approve)
	require.ErrorIs(t, err, api.ErrNotFound, "who asks does not decide")
	answer, err := decide("t1", consent.Approve)
	approved := body[api.Access](t, answer, err)
	require.Equal(t, consent.Provisioned, approved.State)
	require.Equal(t, "PROVISIONED", card().Access)
	list, err := db.Catalog().AccessRequests(ctx, caller("t2"))
	require.NoError(t, err)
	require.Len(t, list, 1)
	answer, err = decide("t1", consent.Revoke)
	require.Equal(t, consent.Revoked, body[api.Access](t, answer, err).State)
	require.Equal(t, "REVOKED", card().Access)
	_, err = decide("t1", consent.Approve)
	require.ErrorIs(t, err, api.ErrClosed)
	_, err = db.Catalog().RequestAccess(ctx, command("t2", "", ""), api.Access{ID: "access-9", Owner: "t1", Feature: "absent", Days: 1, Actions: []string{"train"}}, reply)
	require.ErrorIs(t, err, api.ErrNotFound)
}
