package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
)

func started() time.Time { return time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC) }

func voterOf(name, role string) approval.Approver {
	return approval.Approver{Name: name, Role: role, Key: digest(name), PublicKey: "PEM of " + name}
}

func asked(t testing.TB, id string) approval.Request {
	t.Helper()
	req, err := approval.NewRequest(approval.Ask{
		Action:    approval.Action{ID: id, Kind: "promotion", Tenant: "t1", Summary: "serve m1 v2", Environment: "production", Plan: digest(id), Risk: 60},
		Requester: "ann", Approvers: []approval.Approver{voterOf("bob", "owner"), voterOf("cyd", "owner"), voterOf("dan", "risk")},
		Rules: approval.DefaultRules(), Nonce: "nonce of " + id, OpenedAt: started(), TTL: time.Hour,
	})
	require.NoError(t, err)
	return req
}

func voted(name, role, decision string) approval.Vote {
	return approval.Vote{Approver: name, Role: role, Key: digest(name), Approve: decision == approval.Approve, Decision: decision, Reason: "why", Statement: digest(name + decision), At: started()}
}

// approvedBy opens a ballot and casts votes, as the workflow does.
func approvedBy(t *testing.T, p interface {
	OpenBallot(context.Context, approval.Request) (approval.Request, error)
	RecordBallot(context.Context, approval.Ballot) error
}, req approval.Request, votes ...approval.Vote) approval.Ballot {
	t.Helper()
	_, err := p.OpenBallot(t.Context(), req)
	require.NoError(t, err)
	b := approval.Open(req)
	for _, v := range votes {
		b, err = b.Cast(v)
		require.NoError(t, err)
		require.NoError(t, p.RecordBallot(t.Context(), b))
	}
	return b
}

func enrolVoters(t *testing.T, p api.Approvals, people ...approval.Approver) {
	t.Helper()
	for _, a := range people {
		_, err := p.AddApprover(t.Context(), command("t1", "", ""), a, func(approval.Approver) (api.Answer, error) { return api.Answer{}, nil })
		require.NoError(t, err)
	}
}

func TestAnApprovalIsUsedOnce(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	enrolVoters(t, db.Approvals(), voterOf("bob", "owner"), voterOf("dan", "risk"))
	bob, dan := voted("bob", "owner", approval.Approve), voted("dan", "risk", approval.Approve)
	b := approvedBy(t, db.Actions(), asked(t, "promote-1"), bob, dan)
	for range 2 { // the same use: an activity that is tried again
		begun, err := db.Actions().BeginBallot(t.Context(), contract.BeginInput{Ballot: b, Use: "run-1"}, nil, started().Add(time.Minute))
		require.NoError(t, err)
		require.Equal(t, started().Add(time.Minute), begun.Ballot.BegunAt)
	}
	leaves := kinds(t, db)
	_, err := db.Actions().BeginBallot(t.Context(), contract.BeginInput{Ballot: b, Use: "run-2"}, nil, started().Add(time.Minute))
	require.ErrorIs(t, err, approval.ErrUsed)
	require.ErrorIs(t, err, activities.ErrRefused)
	require.Equal(t, leaves, kinds(t, db), "nothing was written")

	late := approvedBy(t, db.Actions(), asked(t, "promote-2"), bob, dan)
	begun, err := db.Actions().BeginBallot(t.Context(), contract.BeginInput{Ballot: late, Use: "run-1"}, nil, started().Add(25*time.Hour))
	require.NoError(t, err)
	require.Equal(t, approval.Lapsed, begun.Ballot.Outcome)
	begun, err = db.Actions().BeginBallot(t.Context(), contract.BeginInput{Ballot: late, Use: "run-2"}, nil, started())
	require.NoError(t, err)
	require.Equal(t, approval.Lapsed, begun.Ballot.Outcome, "however often it is asked, by whatever clock")

	back := approvedBy(t, db.Actions(), asked(t, "promote-3"), bob, dan, voted("bob", "owner", approval.Revoke))
	require.Equal(t, approval.Revoked, back.Outcome)
	before := back
	before.Outcome = approval.Approved // a workflow that does not know
	begun, err = db.Actions().BeginBallot(t.Context(), contract.BeginInput{Ballot: before, Use: "run-1"}, nil, started())
	require.NoError(t, err)
	require.Equal(t, approval.Revoked, begun.Ballot.Outcome)
	require.True(t, begun.Ballot.BegunAt.IsZero())

	same := asked(t, "promote-4")
	same.Nonce = "nonce of promote-1"
	_, err = db.Actions().OpenBallot(t.Context(), same)
	require.Error(t, err, "a nonce is issued once")
}

func TestARevokedApproverLosesTheirVotes(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	enrolVoters(t, db.Approvals(), voterOf("bob", "owner"), voterOf("dan", "risk"))
	b := approvedBy(t, db.Actions(), asked(t, "promote-1"), voted("bob", "owner", approval.Approve), voted("dan", "risk", approval.Approve))
	nothing := func(approval.Approver) (api.Answer, error) { return api.Answer{}, nil }
	_, touched, err := db.Approvals().RevokeApprover(t.Context(), command("t1", "", ""), "bob", "left", nothing)
	require.NoError(t, err)
	require.Equal(t, []string{"promote-1"}, touched)
	_, _, err = db.Approvals().RevokeApprover(t.Context(), command("t1", "", ""), "bob", "left", nothing)
	require.ErrorIs(t, err, api.ErrNotFound)

	leaves := kinds(t, db)
	begun, err := db.Actions().BeginBallot(t.Context(), contract.BeginInput{Ballot: b, Use: "run-1"}, nil, started())
	require.NoError(t, err)
	require.Len(t, begun.Losses, 1)
	require.Equal(t, leaves, kinds(t, db))
	after := b.Lose(begun.Losses)
	require.NoError(t, db.Actions().RecordBallot(t.Context(), after))
	shown, err := db.Approvals().Ballot(t.Context(), caller("t1"), "promote-1")
	require.NoError(t, err)
	require.Equal(t, approval.Pending, shown.Outcome)
	require.Len(t, shown.Withdrawn, 1)

	people, err := db.Approvals().Approvers(t.Context(), "t1")
	require.NoError(t, err)
	require.Len(t, people, 1)
	_, err = db.Approvals().AddApprover(t.Context(), command("t1", "", ""), voterOf("bob", "owner"), nothing)
	require.ErrorIs(t, err, api.ErrConflict, "a revoked key does not come back")
	fresh := voterOf("bob", "owner")
	fresh.Key = digest("bob's new key")
	enrolVoters(t, db.Approvals(), fresh)
}

func TestABrokenGlassOpensItsReviewWithIt(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	enrolVoters(t, db.Approvals(), voterOf("bob", "owner"), voterOf("cyd", "owner"), voterOf("dan", "risk"))
	b := approvedBy(t, db.Actions(), asked(t, "promote-1"), voted("bob", "owner", approval.BreakGlass))
	require.True(t, b.Glass)
	review, ok := b.Review("nonce of the review", started(), time.Hour)
	require.True(t, ok)
	for range 2 {
		begun, err := db.Actions().BeginBallot(t.Context(), contract.BeginInput{Ballot: b, Use: "run-1"}, &review, started())
		require.NoError(t, err)
		require.Equal(t, "nonce of the review", begun.Review.Nonce)
		review.Nonce = "a nonce of the second try"
	}
	require.Equal(t, []string{"ballot.opened", "vote.counted", "ballot.approved", "ballot.begun", "glass.broken", "review.opened"}, kinds(t, db)[3:])
	standing, err := db.Approvals().Standing(t.Context(), "t1")
	require.NoError(t, err)
	require.Equal(t, 1, standing.Reviews)
	require.Equal(t, 1, standing.Overdue, "it should have been signed off long ago")
	review.Nonce = "nonce of the review"
	r := approvedBy(t, db.Actions(), review, voted("cyd", "owner", approval.Approve), voted("dan", "risk", approval.Approve))
	require.Equal(t, approval.Approved, r.Outcome)
	standing, err = db.Approvals().Standing(t.Context(), "t1")
	require.NoError(t, err)
	require.Zero(t, standing.Reviews)
}

func TestDelegationsAreKept(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	enrolVoters(t, db.Approvals(), voterOf("bob", "owner"))
	g := approval.Granted{ID: digest("statement"), Delegator: voterOf("bob", "owner"), Key: digest("zoe"), Bundle: digest("bundle"),
		Delegation: approval.Delegation{From: "bob", To: "zoe", Nonce: "n", ExpiresAt: time.Now().Add(time.Hour)}}
	var got approval.Granted
	reply := func(g approval.Granted) (api.Answer, error) { got = g; return api.Answer{}, nil }
	for range 2 {
		_, err := db.Approvals().Delegate(t.Context(), command("t1", "", ""), g, reply)
		require.NoError(t, err)
	}
	other := g
	other.ID = digest("another statement, the same nonce")
	_, err := db.Approvals().Delegate(t.Context(), command("t1", "", ""), other, reply)
	require.ErrorIs(t, err, api.ErrConflict)
	stranger := g
	stranger.ID, stranger.Nonce, stranger.Delegator = digest("eve's"), "m", voterOf("eve", "owner")
	_, err = db.Approvals().Delegate(t.Context(), command("t1", "", ""), stranger, reply)
	require.ErrorIs(t, err, api.ErrConflict)
	_, _, err = db.Approvals().RevokeDelegation(t.Context(), command("t1", "", ""), g, "admin: gone", reply)
	require.NoError(t, err)
	require.False(t, got.RevokedAt.IsZero())
	standing, err := db.Approvals().Standing(t.Context(), "t1")
	require.NoError(t, err)
	require.Len(t, standing.Delegations, 1)
	require.False(t, standing.Delegations[0].RevokedAt.IsZero())
	require.Equal(t, []string{"approver.added", "delegation.granted", "delegation.revoked"}, kinds(t, db))
}

// Ten thousand ballots wait. A page of them, of all or of mine, comes within
// 50 ms, and by an index: the time does not grow with the list.
func TestAPageOfTenThousandBallots(t *testing.T) {
	db, dsn := open(t)
	const many = 10_000
	seedBallots(t, dsn, many)
	for name, filter := range map[string]api.BallotFilter{
		"pending": {State: approval.Pending}, "mine": {Awaited: []string{"bob"}}, "mine-or-delegated": {Awaited: []string{"bob", "dan"}}, "all": {},
	} {
		page, best, seen := api.Page{Limit: 50}, time.Hour, 0
		for range 5 {
			from := time.Now()
			found, err := db.Approvals().Ballots(t.Context(), caller("t1"), filter, page)
			took := time.Since(from)
			require.NoError(t, err)
			require.Len(t, found, 50)
			best, seen = min(best, took), seen+len(found)
			last := found[49]
			page.After = last.Request.OpenedAt.Format(time.RFC3339Nano) + "|" + last.Request.Action.ID
		}
		t.Logf("%s: a page of 50 of %d in %s", name, many, best)
		require.Less(t, best, 50*time.Millisecond, name)
	}
	pending := planOf(t, dsn, `select ballot from fabric.ballot where tenant = 't1' and outcome = 'pending' order by opened_at desc, action desc limit 50`)
	require.Contains(t, pending, "Index Scan Backward using ballot_", "all of them are pending: either index has the order")
	require.NotContains(t, pending, "Sort")
	require.Contains(t, planOf(t, dsn, `select action from fabric.ballot_duty where tenant = 't1' and approver = 'bob' and due order by opened_at desc, action desc limit 50`), "ballot_duty_mine")
}

func seedBallots(t *testing.T, dsn string, many int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	var rows, duties [][]any
	for i := range many {
		id := fmt.Sprintf("promote-%05d", i)
		req := asked(t, id)
		req.OpenedAt = started().Add(time.Duration(i) * time.Second)
		ballot := approval.Open(req)
		rows = append(rows, []any{"t1", id, req, ballot, req.OpenedAt, req.Expires()})
		for _, name := range ballot.Awaited() {
			duties = append(duties, []any{"t1", id, name, req.OpenedAt, true})
		}
	}
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `set local role fabric_app; set local fabric.tenant = 't1'`)
	require.NoError(t, err)
	for at := 0; at < many; at += 500 {
		var b pgx.Batch
		for _, r := range rows[at:min(at+500, many)] {
			b.Queue(`insert into fabric.ballot (tenant, action, request, ballot, opened_at, due_at) values ($1, $2, $3, $4, $5, $6)`, r...)
		}
		require.NoError(t, tx.SendBatch(t.Context(), &b).Close())
	}
	for part := range slices.Chunk(duties, 1000) {
		var b pgx.Batch
		for _, r := range part {
			b.Queue(`insert into fabric.ballot_duty (tenant, action, approver, opened_at, due) values ($1, $2, $3, $4, $5)`, r...)
		}
		require.NoError(t, tx.SendBatch(t.Context(), &b).Close())
	}
	require.NoError(t, tx.Commit(t.Context()))
	_, err = conn.Exec(t.Context(), `analyze fabric.ballot; analyze fabric.ballot_duty`)
	require.NoError(t, err)
}

func planOf(t *testing.T, dsn, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	rows, err := conn.Query(t.Context(), "explain (analyze, costs off) "+sql)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	text := strings.Join(lines, "\n")
	t.Log(text)
	return text
}
