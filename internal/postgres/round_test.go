package postgres

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/privacy"
	"github.com/atom-fabric/fabric/domain/round"
)

func TestRoundFromStartToEnd(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	ctx := t.Context()
	startRun(t, db, "owner", "run-1", "owner", "clinic")
	cohort := append(enrol(t, db, "clinic", "eu", 2), enrol(t, db, "owner", "us", 1)...)
	ref := openRound(t, db, "owner", "run-1", 1, cohort)

	again, err := db.Rounds().BeginRound(ctx, contract.RoundInput{Subject: ref.Subject, Run: "run-1", Number: 1, Kind: round.Train}, blob("another"), nil, privacy.Request{})
	require.NoError(t, err)
	require.Equal(t, blob("manifestrun-11"), again, "the first manifest stands")
	manifest, regions, ok, err := db.Rounds().Begun(ctx, "owner", "run-1", 1)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, again, manifest)
	require.Equal(t, []round.Cohort{{Region: "eu", Sites: 2}, {Region: "us", Sites: 1}}, regions)

	work, err := db.Sites().Work(ctx, "clinic", "s0", 0)
	require.NoError(t, err)
	require.Len(t, work, 1)
	require.Equal(t, ref, work[0].Stage)
	require.Equal(t, blob("baserun-1"), work[0].Base)
	readable, err := db.Sites().Readable(ctx, "clinic", "s0", work[0].Base.Digest)
	require.NoError(t, err)
	require.Equal(t, work[0].Base, readable)

	first, second := answer(ref, cohort[0]), answer(ref, cohort[1])
	second.Reason, second.Update = "NaN in linear.weight", artifact.Descriptor{}
	require.NoError(t, db.Sites().Submit(ctx, caller("clinic"), first))
	require.NoError(t, db.Sites().Submit(ctx, caller("clinic"), first), "the same statement again")
	other := first
	other.Statement = digest("another statement")
	require.ErrorIs(t, db.Sites().Submit(ctx, caller("clinic"), other), api.ErrConflict)
	require.NoError(t, db.Sites().Submit(ctx, caller("clinic"), second))
	work, err = db.Sites().Work(ctx, "clinic", "s0", 0)
	require.NoError(t, err)
	require.Empty(t, work, "an answered stage is no work")
	_, err = db.Sites().Stage(ctx, "clinic", "s0", "run-1", 1, "")
	require.NoError(t, err, "but it is still the site's stage")

	counts, err := db.Rounds().StageCounts(ctx, ref)
	require.NoError(t, err)
	require.Equal(t, round.Counts{Selected: 2, Accepted: 1, Rejected: 1}, counts)
	shown, err := db.Runs().Run(ctx, caller("owner"), "run-1")
	require.NoError(t, err)
	require.Equal(t, "running", shown.Status)
	require.Equal(t, []api.RoundRegion{{Region: "eu", Counts: counts}, {Region: "us", Counts: round.Counts{Selected: 1}}}, shown.Rounds[0].Regions)

	closed, err := db.Rounds().CloseStage(ctx, ref)
	require.NoError(t, err)
	require.Equal(t, []activities.Submission{
		{Tenant: "clinic", Site: "s0", Update: first.Update, Metrics: first.Metrics},
		{Tenant: "clinic", Site: "s1", Metrics: second.Metrics, Reason: second.Reason},
	}, closed)
	twice, err := db.Rounds().CloseStage(ctx, ref)
	require.NoError(t, err)
	require.Equal(t, closed, twice)
	require.NoError(t, db.Sites().Submit(ctx, caller("clinic"), first), "what was accepted stays accepted")
	_, err = db.Sites().Stage(ctx, "clinic", "s0", "run-1", 1, "")
	require.ErrorIs(t, err, api.ErrClosed)
	_, err = db.Sites().Readable(ctx, "clinic", "s0", readable.Digest)
	require.ErrorIs(t, err, api.ErrNotFound, "the us stage is not this site's")

	end := contract.CloseRoundInput{Subject: ref.Subject, Run: "run-1", Number: 1, Weights: blob("weights"), Metrics: round.Metrics{Evaluated: 9, Correct: 8},
		Regions: []contract.RegionResult{{Region: "eu", Counts: counts, Dropped: []string{"clinic/s1: NaN\x00"}}}}
	require.NoError(t, db.Rounds().CloseRound(ctx, end))
	work, err = db.Sites().Work(ctx, "owner", "s0", 0)
	require.NoError(t, err)
	require.Empty(t, work, "the us stage ended with the round")
	end.Cause = "a second end"
	require.NoError(t, db.Rounds().CloseRound(ctx, end))
	runEnd := contract.CloseRunInput{Subject: ref.Subject, RunResult: contract.RunResult{Run: "run-1", Status: "completed", Rounds: 1, Weights: blob("weights"), Metrics: end.Metrics}}
	require.NoError(t, db.Rounds().CloseRun(ctx, runEnd))
	require.NoError(t, db.Rounds().CloseRun(ctx, runEnd))
	shown, err = db.Runs().Run(ctx, caller("owner"), "run-1")
	require.NoError(t, err)
	require.Equal(t, "completed", shown.Status)
	require.Equal(t, params(), shown.Params, "64-bit seeds and decimals survive")
	require.Equal(t, "closed", shown.Rounds[0].Status)
	require.Equal(t, []string{"clinic/s1: NaN\x00"}, shown.Rounds[0].Regions[0].Dropped)
	trials, err := db.Actions().Trials(ctx, "owner", "m1")
	require.NoError(t, err)
	require.Equal(t, []activities.Trial{{Run: "run-1", Params: params(), Metrics: end.Metrics, Status: "completed"}}, trials)
	callers, err := db.Snapshots().Callers(ctx, "owner", "m1")
	require.NoError(t, err)
	require.Equal(t, []string{"clinic"}, callers)

	conn := admin(t, dsn)
	for kind, n := range map[string]int{"run.accepted": 1, "site.enrolled": 3, "round.begun": 1, "stage.opened": 2, "submission.accepted": 1,
		"submission.rejected": 1, "stage.closed": 1, "round.closed": 1, "run.completed": 1} {
		require.Equal(t, n, count(t, conn, `select count(*) from fabric.audit_leaf where convert_from(body, 'UTF8')::jsonb ->> 'kind' = $1`, kind), kind)
	}
	require.NoError(t, db.AuditLog().VerifyAll(ctx))
}

func TestRoundRefuses(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	startRun(t, db, "owner", "run-1", "owner", "clinic")
	cohort := enrol(t, db, "clinic", "eu", 3)
	ref := openRound(t, db, "owner", "run-1", 1, cohort[:2])
	stranger, elsewhere, never := answer(ref, cohort[2]), answer(ref, cohort[0]), answer(ref, cohort[0])
	elsewhere.Stage.Region = "us"
	never.Stage.Number = 2
	tests := []struct {
		name string
		call func() error
		want error
	}{
		{"an answer of a site that was not asked", func() error { return db.Sites().Submit(ctx, caller("clinic"), stranger) }, api.ErrNotFound},
		{"an answer in another region", func() error { return db.Sites().Submit(ctx, caller("clinic"), elsewhere) }, api.ErrNotFound},
		{"an answer in a round that never was", func() error { return db.Sites().Submit(ctx, caller("clinic"), never) }, api.ErrNotFound},
		{"a site's look at a stage it is not in", func() error { _, err := db.Sites().Stage(ctx, "clinic", "s2", "run-1", 1, ""); return err }, api.ErrNotFound},
		{"another tenant's site of the same name", func() error { _, err := db.Sites().Stage(ctx, "owner", "s0", "run-1", 1, ""); return err }, api.ErrNotFound},
		{"weights that no open stage starts from", func() error { _, err := db.Sites().Readable(ctx, "clinic", "s0", digest("x")); return err }, api.ErrNotFound},
		{"weights without a digest", func() error { _, err := db.Sites().Readable(ctx, "clinic", "s0", ""); return err }, api.ErrNotFound},
		{"work of a site that is not enrolled", func() error { _, err := db.Sites().Work(ctx, "clinic", "s9", 0); return err }, api.ErrNotFound},
		{"a round without its run", func() error {
			_, err := db.Rounds().BeginRound(ctx, contract.RoundInput{Subject: ref.Subject, Run: "run-9", Kind: round.Train}, blob("m"), round.Plain(cohort), privacy.Request{})
			return err
		}, activities.ErrNotFound},
		{"a stage without its round", func() error {
			return db.Rounds().OpenStage(ctx, contract.RegionInput{Subject: ref.Subject, Run: "run-1", Number: 9, Kind: round.Train, Region: "eu"}, round.StageUpdate, time.Now())
		}, activities.ErrNotFound},
		{"counts of a stage that never opened", func() error { _, err := db.Rounds().StageCounts(ctx, never.Stage); return err }, activities.ErrNotFound},
		{"the end of a stage that never opened", func() error { _, err := db.Rounds().CloseStage(ctx, never.Stage); return err }, activities.ErrNotFound},
		{"the end of a round that never was", func() error {
			return db.Rounds().CloseRound(ctx, contract.CloseRoundInput{Subject: ref.Subject, Run: "run-1", Number: 9})
		}, activities.ErrNotFound},
		{"the end of a run that never was", func() error {
			return db.Rounds().CloseRun(ctx, contract.CloseRunInput{Subject: ref.Subject, RunResult: contract.RunResult{Run: "run-9", Status: "failed"}})
		}, activities.ErrNotFound},
		{"another tenant's run", func() error { _, err := db.Runs().Run(ctx, caller("clinic"), "run-1"); return err }, api.ErrNotFound},
		{"a site's second key", func() error {
			s := cohort[0]
			s.PublicKey = newKey(t)
			_, err := db.Sites().Enrol(ctx, caller("clinic"), s)
			return err
		}, api.ErrConflict},
		{"a site's move to another region", func() error {
			s := cohort[0]
			s.Region = "us"
			_, err := db.Sites().Enrol(ctx, caller("clinic"), s)
			return err
		}, api.ErrConflict},
		{"one key for two sites", func() error {
			s := cohort[0]
			s.ID = "s9"
			_, err := db.Sites().Enrol(ctx, caller("clinic"), s)
			return err
		}, api.ErrConflict},
		{"a key that is none", func() error {
			s := cohort[0]
			s.PublicKey = "hello"
			_, err := db.Sites().Enrol(ctx, caller("clinic"), s)
			return err
		}, artifact.ErrKey},
		{"a leaf that no log may hold", func() error { return db.Ledger().Append(ctx, audit.Leaf{Kind: "\xff"}) }, audit.ErrLeafText},
	}
	before, err := db.AuditLog().Checkpoint(ctx)
	require.NoError(t, err)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.ErrorIs(t, tt.call(), tt.want) })
	}
	after, err := db.AuditLog().Checkpoint(ctx)
	require.NoError(t, err)
	require.Equal(t, before, after, "what was refused left a leaf")
	same, err := db.Sites().Enrol(ctx, caller("clinic"), cohort[0])
	require.NoError(t, err)
	require.Equal(t, cohort[0].EnrolledAt, same.EnrolledAt)
}

// A run that ends with a round open leaves sites nothing to do.
func TestEndOfRunEndsItsRounds(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	startRun(t, db, "owner", "run-1", "owner")
	cohort := enrol(t, db, "owner", "eu", 1)
	ref := openRound(t, db, "owner", "run-1", 0, cohort)
	require.NoError(t, db.Rounds().CloseRun(ctx, contract.CloseRunInput{Subject: ref.Subject, RunResult: contract.RunResult{Run: "run-1", Status: "failed", Cause: "no quorum"}}))
	work, err := db.Sites().Work(ctx, "owner", "s0", 0)
	require.NoError(t, err)
	require.Empty(t, work)
	require.ErrorIs(t, db.Sites().Submit(ctx, caller("owner"), answer(ref, cohort[0])), api.ErrClosed)
	run, err := db.Runs().Run(ctx, caller("owner"), "run-1")
	require.NoError(t, err)
	require.Equal(t, "failed", run.Rounds[0].Status)
	callers, err := db.Snapshots().Callers(ctx, "owner", "m1")
	require.NoError(t, err)
	require.Empty(t, callers)
}
