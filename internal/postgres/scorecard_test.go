package postgres

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

// Two closed runs of which the first became version 1, one that is open, a round
// that failed, and a round of another model.
func TestCardFacts(t *testing.T) {
	db, dsn := open(t)
	a := admin(t, dsn)
	exec := func(sql string) {
		t.Helper()
		_, err := a.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	exec(`insert into fabric.run (tenant, id, model, tenants, params, requester, status, metrics, created_at, ended_at) values
		('t1', 'run-1', 'm1', '{t1}', '{"measurement":{"scoreBins":2}}', 'ann', 'completed', '{"evaluated":30,"correct":29,"measured":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}', '2026-11-20 10:00Z', '2026-11-20 11:00Z'),
		('t1', 'run-2', 'm1', '{t1}', '{}', 'ann', 'failed', '{}', '2026-11-20 12:00Z', '2026-11-20 13:00Z'),
		('t1', 'run-3', 'm1', '{t1}', '{}', 'ann', 'running', '{}', '2026-11-20 14:00Z', null),
		('t1', 'run-9', 'other', '{t1}', '{}', 'ann', 'completed', '{}', '2026-11-20 10:00Z', '2026-11-20 11:00Z')`)
	exec(`insert into fabric.round (tenant, run, number, kind, status, manifest, metrics, regions, started_at, ended_at) values
		('t1', 'run-1', 1, 'train', 'closed', '{}', '{}', '[{"region":"eu","counts":{"selected":4,"accepted":3}}]', '2026-11-20 10:00Z', '2026-11-20 10:05Z'),
		('t1', 'run-1', 2, 'evaluate', 'closed', '{}', '{}', '[{"region":"eu","counts":{"selected":4,"accepted":4},"metrics":{"evaluated":20,"correct":19},"partial":{"digest":"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"}},{"region":"us","counts":{"selected":2,"accepted":0},"cause":"nobody"}]', '2026-11-20 10:10Z', '2026-11-20 10:12Z'),
		('t1', 'run-2', 1, 'train', 'failed', '{}', '{}', '[]', '2026-11-20 12:00Z', '2026-11-20 12:30Z'),
		('t1', 'run-3', 1, 'train', 'open', '{}', '{}', '[]', '2026-11-20 14:00Z', null),
		('t1', 'run-9', 1, 'train', 'closed', '{}', '{}', '[]', '2026-11-20 10:00Z', '2026-11-20 10:05Z')`)
	exec(`insert into fabric.model (tenant, id) values ('t1', 'm1')`)
	exec(`insert into fabric.model_version (tenant, model, number, repository, package, bundle, run) values ('t1', 'm1', 1, 'r', '{"digest":"sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"}', '{}', 'run-1')`)

	names := func(f scorecard.Facts) (out []string) {
		for _, t := range f.Trials {
			out = append(out, t.Run+" "+t.Status)
		}
		return out
	}
	facts, err := db.Scorecards().Facts(t.Context(), api.Caller{Tenant: "t1"}, scorecard.Subject{Model: "m1"})
	require.NoError(t, err)
	require.Equal(t, []string{"run-1 completed", "run-2 failed"}, names(facts))
	require.EqualValues(t, 29, facts.Trials[0].Metrics.Correct)
	require.EqualValues(t, "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", facts.Trials[0].Metrics.Measured)
	require.Equal(t, 2, facts.Trials[0].Params.Measurement.ScoreBins)
	require.Len(t, facts.Operation.Rounds, 3)
	first := facts.Operation.Rounds[0]
	require.Equal(t, scorecard.RoundFact{Completed: true, Selected: 4, Accepted: 3, Started: first.Started, Ended: first.Started.Add(5 * time.Minute)}, first)
	require.False(t, facts.Operation.Rounds[2].Completed)
	require.Negative(t, facts.Operation.DrillAge)

	facts, err = db.Rollouts().CardFacts(t.Context(), scorecard.Subject{Tenant: "t1", Model: "m1"}, "run-3")
	require.NoError(t, err)
	require.Equal(t, []string{"run-1 completed", "run-2 failed", "run-3 completed"}, names(facts), "the one that is about to be over is judged")

	facts, err = db.CardFacts(t.Context(), scorecard.Subject{Tenant: "t1", Model: "m1", Version: 1, Region: "eu"}, "")
	require.NoError(t, err)
	require.Equal(t, []string{"run-1 completed"}, names(facts))
	require.EqualValues(t, 19, facts.Trials[0].Metrics.Correct)
	require.EqualValues(t, "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", facts.Trials[0].Metrics.Measured, "what the region counted")

	facts, err = db.CardFacts(t.Context(), scorecard.Subject{Tenant: "t1", Model: "m1", Region: "us"}, "")
	require.NoError(t, err)
	require.Zero(t, facts.Trials[0].Metrics.Evaluated, "nobody answered there")
	require.False(t, facts.Operation.Rounds[1].Completed)

	for name, subject := range map[string]scorecard.Subject{
		"a version that is not": {Tenant: "t1", Model: "m1", Version: 7},
		"a stranger's model":    {Tenant: "t2", Model: "m1"},
		"no such model":         {Tenant: "t1", Model: "m7"},
	} {
		facts, err = db.CardFacts(t.Context(), subject, "")
		require.NoError(t, err, name)
		require.Empty(t, facts.Trials, name)
	}
	_, err = db.CardFacts(t.Context(), scorecard.Subject{Model: "m1"}, "")
	require.Error(t, err)

	card := activities.VersionCard{Card: digest("a"), Status: "FAIL", Unproven: "fairness is FAIL"}
	for range 2 {
		require.NoError(t, db.Rollouts().KeepCard(t.Context(), "t1", "m1", 1, card))
	}
	require.Equal(t, 1, count(t, a, `select count(*) from fabric.version_card`))
	why, err := db.Rollouts().Unproven(t.Context(), "t1", "m1", 1)
	require.NoError(t, err)
	require.Equal(t, "fairness is FAIL", why)
}
