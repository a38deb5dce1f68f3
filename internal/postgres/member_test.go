package postgres

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
)

// A group is one group of a secured round: three sites of clinic in eu, and two
// of owner in us, who are too few to hide among themselves and sit in eu too.
type group struct {
	t     testing.TB
	db    *DB
	ref   contract.StageRef // of stage advertise
	sites []site.Site
}

// secured begins a secured round and opens its first stage.
func secured(t testing.TB, db *DB, number int, sites []site.Site) group {
	t.Helper()
	subject := contract.Subject{Tenant: "owner", ModelID: "m1", TraceID: "0af7651916cd43dd8448eb211c80319c"}
	in := contract.RoundInput{Subject: subject, Run: "run-1", Number: number, Kind: round.Train, Base: blob("base"), State: blob("state")}
	_, err := db.Rounds().BeginRound(t.Context(), in, blob("manifest"), round.Secured(sites), privacy.Request{})
	require.NoError(t, err)
	g := group{t, db, contract.StageRef{Subject: subject, Run: "run-1", Number: number, Kind: round.Train, Region: "eu", Stage: round.StageAdvertise}, sites}
	require.NoError(t, db.Rounds().OpenStage(t.Context(), contract.RegionInput{Subject: subject, Run: "run-1", Number: number, Kind: round.Train, Region: "eu",
		Sites: len(sites), Manifest: blob("manifest"), Signature: blob("bundle"), Secured: true}, round.StageAdvertise, time.Now().Add(time.Minute)))
	return g
}

func five(t testing.TB, db *DB) []site.Site {
	startRun(t, db, "owner", "run-1", "owner", "clinic")
	return append(enrol(t, db, "clinic", "eu", 3), enrol(t, db, "owner", "us", 2)...)
}

func (g group) at(stage round.Stage) contract.StageRef {
	ref := g.ref
	ref.Stage = stage
	return ref
}

// inbox is what the site is given in the stage.
func inbox(stage round.Stage, s site.Site) artifact.Descriptor {
	return blob(fmt.Sprintf("%s of %s/%s", stage, s.Tenant, s.ID))
}

func members(stage round.Stage, sites []site.Site) []activities.Member {
	var out []activities.Member
	for _, s := range sites {
		out = append(out, activities.Member{Tenant: s.Tenant, Site: s.ID, Inbox: inbox(stage, s)})
	}
	return out
}

// say is what the site says in the stage.
func (g group) say(stage round.Stage, s site.Site) api.Submission {
	out := api.Submission{Stage: g.at(stage), Tenant: s.Tenant, Site: s.ID, Message: blob(fmt.Sprint("message", stage, s.ID)),
		Bundle: blob("bundle of " + s.ID), Statement: digest(fmt.Sprint("statement", stage, s.Tenant, s.ID))}
	if stage == round.StageMask {
		out.Update = blob("vector of " + s.ID)
	}
	return out
}

func (g group) submit(stage round.Stage, sites ...site.Site) {
	g.t.Helper()
	for _, s := range sites {
		require.NoError(g.t, g.db.Sites().Submit(g.t.Context(), caller(s.Tenant), g.say(stage, s)))
	}
}

// closes closes the stage and returns what came.
func (g group) closes(stage round.Stage) []activities.Submission {
	g.t.Helper()
	found, err := g.db.Rounds().CloseStage(g.t.Context(), g.at(stage))
	require.NoError(g.t, err)
	return found
}

func (g group) opens(stage round.Stage, sites []site.Site) error {
	return g.db.Rounds().OpenNext(g.t.Context(), g.at(stage), members(stage, sites), time.Now().Add(time.Minute))
}

// commits commits a survivor set and says which one is written.
func (g group) commits(set string) (artifact.Descriptor, error) {
	return g.db.Rounds().CommitSurvivors(g.t.Context(), g.ref, blob(set))
}

func (g group) work(s site.Site) []api.Work {
	g.t.Helper()
	found, err := g.db.Sites().Work(g.t.Context(), s.Tenant, s.ID, 0)
	require.NoError(g.t, err)
	return found
}

func (g group) counts(stage round.Stage) round.Counts {
	g.t.Helper()
	counts, err := g.db.Rounds().StageCounts(g.t.Context(), g.at(stage))
	require.NoError(g.t, err)
	return counts
}

func TestSecuredRoundFromStageToStage(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	ctx := t.Context()
	sites := five(t, db)
	g := secured(t, db, 1, sites)
	_, cohort, _, err := db.Rounds().Begun(ctx, "owner", "run-1", 1)
	require.NoError(t, err)
	require.Equal(t, []round.Cohort{{Region: "eu", Sites: 5}}, cohort)
	for _, s := range sites {
		require.Len(t, g.work(s), 1, "%s/%s", s.Tenant, s.ID)
	}
	require.Equal(t, g.ref, g.work(sites[4])[0].Stage)
	state, err := db.Sites().Readable(ctx, "owner", "s1", digest("state"))
	require.NoError(t, err)
	require.Equal(t, blob("state"), state)

	g.submit(round.StageAdvertise, sites[:4]...)
	require.ErrorIs(t, g.opens(round.StageShare, sites[:4]), activities.ErrRefused, "advertise takes submissions")
	require.Len(t, g.closes(round.StageAdvertise), 4)
	require.NoError(t, g.opens(round.StageShare, sites[:4]))
	first := g.work(sites[0])
	require.NoError(t, db.Rounds().OpenNext(ctx, g.at(round.StageShare), members(round.StageShare, sites[1:]), time.Now().Add(time.Hour)))
	kept, err := db.Rounds().Members(ctx, g.at(round.StageShare))
	require.NoError(t, err)
	require.Equal(t, members(round.StageShare, sites[:4]), kept, "the first members stand")
	require.Equal(t, first, g.work(sites[0]), "and their deadline")
	require.Len(t, first, 1)
	require.Equal(t, g.at(round.StageShare), first[0].Stage)
	require.Equal(t, inbox(round.StageShare, sites[0]), first[0].Inbox)
	require.Equal(t, blob("manifest"), first[0].Manifest)
	require.Empty(t, g.work(sites[4]), "who did not advertise is asked no more")

	own, err := db.Sites().Readable(ctx, "clinic", "s0", inbox(round.StageShare, sites[0]).Digest)
	require.NoError(t, err)
	require.Equal(t, inbox(round.StageShare, sites[0]), own)
	_, err = db.Sites().Readable(ctx, "clinic", "s1", own.Digest)
	require.ErrorIs(t, err, api.ErrNotFound, "another member's inbox")
	_, err = db.Sites().Stage(ctx, "clinic", "s0", "run-1", 1, round.StageAdvertise)
	require.ErrorIs(t, err, api.ErrClosed)
	_, err = db.Sites().Stage(ctx, "clinic", "s0", "run-1", 1, round.StageMask)
	require.ErrorIs(t, err, api.ErrNotFound, "not open yet")
	_, err = db.Sites().Stage(ctx, "owner", "s1", "run-1", 1, round.StageShare)
	require.ErrorIs(t, err, api.ErrNotFound, "not a member")
	require.ErrorIs(t, db.Sites().Submit(ctx, caller("owner"), g.say(round.StageShare, sites[4])), api.ErrNotFound, "not a member")
	require.ErrorIs(t, db.Sites().Submit(ctx, caller("clinic"), g.say(round.StageMask, sites[0])), api.ErrNotFound, "not open yet")
	require.ErrorIs(t, db.Sites().Submit(ctx, caller("owner"), g.say(round.StageAdvertise, sites[4])), api.ErrClosed)

	g.submit(round.StageShare, sites[:3]...)
	refused := g.say(round.StageShare, sites[3])
	refused.Reason = "the message is of another run"
	require.NoError(t, db.Sites().Submit(ctx, caller("owner"), refused))
	require.Empty(t, g.work(sites[0]), "answered")
	require.Equal(t, round.Counts{Selected: 4, Accepted: 3, Rejected: 1}, g.counts(round.StageShare))
	require.Equal(t, round.Counts{Selected: 5, Accepted: 4}, g.counts(round.StageAdvertise))
	_, err = g.commits("too early")
	require.ErrorIs(t, err, activities.ErrNotFound)
	g.closes(round.StageShare)
	_, err = db.Sites().Readable(ctx, "clinic", "s0", own.Digest)
	require.ErrorIs(t, err, api.ErrNotFound, "the inbox of a closed stage")

	require.NoError(t, g.opens(round.StageMask, sites[:3]))
	g.submit(round.StageMask, sites[:3]...)
	sent := g.say(round.StageMask, sites[1])
	require.Equal(t, activities.Submission{Tenant: "clinic", Site: "s1", Update: sent.Update, Message: sent.Message}, g.closes(round.StageMask)[1])
	require.ErrorIs(t, g.opens(round.StageCheck, sites[:3]), activities.ErrRefused, "no survivors are committed")
	_, ok, err := db.Rounds().Survivors(ctx, g.ref)
	require.NoError(t, err)
	require.False(t, ok)
	set, err := g.commits("survivors")
	require.NoError(t, err)
	require.Equal(t, blob("survivors"), set)
	set, err = g.commits("others")
	require.NoError(t, err)
	require.Equal(t, blob("survivors"), set, "the first set stands")
	set, ok, err = db.Rounds().Survivors(ctx, g.ref)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, blob("survivors"), set)

	require.NoError(t, g.opens(round.StageCheck, sites[:3]))
	g.submit(round.StageCheck, sites[:3]...)
	g.closes(round.StageCheck)
	require.NoError(t, g.opens(round.StageUnmask, sites[:3]))
	shown, err := db.Runs().Run(ctx, caller("owner"), "run-1")
	require.NoError(t, err)
	require.Equal(t, []api.RoundRegion{{Region: "eu", Counts: round.Counts{Selected: 5, Accepted: 4}}}, shown.Rounds[0].Regions, "one line a group")
	require.NoError(t, db.Rounds().CloseRound(ctx, contract.CloseRoundInput{Subject: g.ref.Subject, Run: "run-1", Number: 1}))
	require.Empty(t, g.work(sites[0]))
	require.NoError(t, g.opens(round.StageUnmask, sites[:3]), "it was opened")

	conn := admin(t, dsn)
	leaves := `select count(*) from fabric.audit_leaf where convert_from(body, 'UTF8')::jsonb ->> 'kind' = $1 and convert_from(body, 'UTF8')::jsonb ->> 'state' = $2`
	for _, stage := range []string{"advertise", "share", "mask", "check", "unmask"} {
		require.Equal(t, 1, count(t, conn, leaves, "stage.opened", "eu/"+stage), stage)
	}
	require.Equal(t, 1, count(t, conn, leaves, "stage.closed", "eu/share: 3 accepted, 1 rejected"))
	require.Equal(t, 1, count(t, conn, leaves+` and convert_from(body, 'UTF8')::jsonb ->> 'digest' = $3`, "survivors.committed", "eu", digest("survivors")))
	require.NoError(t, db.AuditLog().VerifyAll(ctx))
}

func TestOpenNextRefuses(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	sites := five(t, db)
	g := secured(t, db, 1, sites)
	g.closes(round.StageAdvertise)
	ended := secured(t, db, 2, sites)
	ended.closes(round.StageAdvertise)
	require.NoError(t, db.Rounds().CloseRound(ctx, contract.CloseRoundInput{Subject: g.ref.Subject, Run: "run-1", Number: 2}))
	stranger := site.Site{Tenant: "clinic", ID: "s9"}
	foreign, never, elsewhere := g, g, g
	foreign.ref.Tenant, never.ref.Number, elsewhere.ref.Region = "clinic", 9, "us"
	tests := []struct {
		name string
		call func() error
		want error
	}{
		{"a first stage", func() error { return g.opens(round.StageAdvertise, sites) }, activities.ErrRefused},
		{"the stage of a plain round", func() error { return g.opens(round.StageUpdate, sites) }, activities.ErrRefused},
		{"a stage that passes one by", func() error { return g.opens(round.StageMask, sites) }, activities.ErrRefused},
		{"a member that is not of the cohort", func() error { return g.opens(round.StageShare, []site.Site{stranger}) }, activities.ErrRefused},
		{"a member twice", func() error { return g.opens(round.StageShare, append(sites[:1:1], sites[0])) }, activities.ErrRefused},
		{"a round that has ended", func() error { return ended.opens(round.StageShare, sites) }, activities.ErrRefused},
		{"a round that never was", func() error { return never.opens(round.StageShare, sites) }, activities.ErrNotFound},
		{"a group that never was", func() error { return elsewhere.opens(round.StageShare, sites) }, activities.ErrRefused},
		{"another tenant's round", func() error { return foreign.opens(round.StageShare, sites) }, activities.ErrNotFound},
		{"another tenant's survivors", func() error { _, err := foreign.commits("x"); return err }, activities.ErrNotFound},
		{"a first stage in a round that has ended", func() error {
			return db.Rounds().OpenStage(ctx, contract.RegionInput{Subject: g.ref.Subject, Run: "run-1", Number: 2, Kind: round.Train, Region: "us"}, round.StageAdvertise, time.Now())
		}, activities.ErrRefused},
	}
	before, err := db.AuditLog().Checkpoint(ctx)
	require.NoError(t, err)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.ErrorIs(t, tt.call(), tt.want) })
	}
	after, err := db.AuditLog().Checkpoint(ctx)
	require.NoError(t, err)
	require.Equal(t, before, after, "what was refused left a leaf")
	require.NoError(t, g.opens(round.StageShare, sites), "and left nothing in the way")
	theirs, err := db.Rounds().Members(ctx, foreign.at(round.StageShare))
	require.NoError(t, err)
	require.Empty(t, theirs, "another tenant sees no members")
}

// A site waits by its own region, wherever its group is summed.
func TestMembersAreWoken(t *testing.T) {
	t.Parallel()
	const quick = 900 * time.Millisecond
	db, _ := open(t)
	ready(t, db)
	ctx := t.Context()
	sites := five(t, db)
	abroad := sites[4]
	var work []api.Work
	wait := func() (err error) {
		work, err = db.Sites().Work(ctx, abroad.Tenant, abroad.ID, 30*time.Second)
		return err
	}
	var g group
	require.Less(t, soon(t, wait, func() { g = secured(t, db, 1, sites) }), quick)
	require.Len(t, work, 1)
	g.submit(round.StageAdvertise, sites...)
	g.closes(round.StageAdvertise)
	require.Less(t, soon(t, wait, func() { require.NoError(t, g.opens(round.StageShare, sites)) }), quick)
	require.Equal(t, inbox(round.StageShare, abroad), work[0].Inbox)
	g.counts(round.StageShare)
	changed := func() error { return db.Rounds().StageChanged(ctx, g.at(round.StageShare), 30*time.Second) }
	require.Less(t, soon(t, changed, func() { g.submit(round.StageShare, abroad) }), quick)
}

// Many committers at once, each with its own set: one is written, and all are
// told which.
func TestCommitSurvivorsRace(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	sites := five(t, db)
	g := secured(t, db, 1, sites)
	for _, stage := range []round.Stage{round.StageAdvertise, round.StageShare} {
		g.closes(stage)
		next, _ := stage.Following()
		require.NoError(t, g.opens(next, sites))
	}
	var told sync.Map
	together(20, func(i int) {
		set, err := g.commits(fmt.Sprint("set ", i))
		if err != nil {
			t.Error(err)
		}
		told.Store(set, true)
	})
	var different int
	told.Range(func(any, any) bool { different++; return true })
	require.Equal(t, 1, different)
	require.Equal(t, 1, count(t, admin(t, dsn), `select count(*) from fabric.audit_leaf where convert_from(body, 'UTF8')::jsonb ->> 'kind' = 'survivors.committed'`))
}

// A round ends while its next stage opens: either the stage was opened and
// ended with the round, or it never opens. Who looks at the round's end knows
// all stages there will ever be.
func TestNoStageOpensAfterTheEnd(t *testing.T) {
	t.Parallel()
	const rounds = 16
	db, dsn := open(t)
	sites := five(t, db)
	opened := 0
	for n := range rounds {
		g := secured(t, db, n, sites)
		g.closes(round.StageAdvertise)
		together(2, func(i int) {
			if i == 0 {
				time.Sleep(time.Duration(n%4) * time.Millisecond)
				if err := db.Rounds().CloseRound(t.Context(), contract.CloseRoundInput{Subject: g.ref.Subject, Run: "run-1", Number: n}); err != nil {
					t.Error(err)
				}
				return
			}
			switch err := g.opens(round.StageShare, sites); {
			case err == nil:
				opened++
			case !errors.Is(err, activities.ErrRefused):
				t.Error(err)
			}
		})
	}
	t.Logf("%d of %d opened before the end", opened, rounds)
	require.Zero(t, count(t, admin(t, dsn), `select count(*) from fabric.stage where status = 'open'`))
}

func TestMembersAndSurvivorsOnlyGrow(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	sites := five(t, db)
	g := secured(t, db, 1, sites)
	for _, stage := range []round.Stage{round.StageAdvertise, round.StageShare} {
		g.closes(stage)
		next, _ := stage.Following()
		require.NoError(t, g.opens(next, sites))
	}
	_, err := g.commits("set")
	require.NoError(t, err)
	conn := admin(t, dsn)
	for _, table := range []string{"stage_member", "survivors"} {
		require.NotZero(t, count(t, conn, `select count(*) from fabric.`+table))
		for _, sql := range []string{`update fabric.%s set tenant = tenant`, `delete from fabric.%s`, `truncate fabric.%s`} {
			_, err := conn.Exec(t.Context(), fmt.Sprintf(sql, table))
			require.Equal(t, insufficientPrivilege, code(err), "%s: %v", fmt.Sprintf(sql, table), err)
		}
	}
}
