package postgres

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/feedback"
)

// A stage of three sites closes at its deadline with one who has not answered
// and one who was refused; another closes before it, because enough answered.
func TestWhatClosedStagesWereLike(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	conn, censor := admin(t, dsn), db.Censor()
	none, err := censor.ClosedStages(t.Context(), activities.Mark{}, 10)
	require.NoError(t, err)
	require.Empty(t, none)

	startRun(t, db, "owner", "run-1", "clinic", "north")
	sites := append(enrol(t, db, "clinic", "eu", 3), enrol(t, db, "north", "us", 2)...)
	ref := openRound(t, db, "owner", "run-1", 1, sites)
	send := func(i int, change func(*api.Submission)) {
		t.Helper()
		s := answer(ref, sites[i])
		s.Stage.Region = sites[i].Region
		change(&s)
		require.NoError(t, db.Sites().Submit(t.Context(), api.Caller{Tenant: sites[i].Tenant, Subject: sites[i].ID}, s))
	}
	send(0, func(s *api.Submission) { s.Norm = 1.5 })
	send(1, func(s *api.Submission) { s.Reason = "no update" })
	send(3, func(s *api.Submission) { s.Norm = 0.25 })
	for _, region := range []string{"eu", "us"} {
		closing := ref
		closing.Region = region
		_, err := db.Rounds().CloseStage(t.Context(), closing)
		require.NoError(t, err)
	}
	_, err = conn.Exec(t.Context(), `update fabric.stage set opened_at = closed_at - interval '90 seconds', deadline = case region when 'eu' then closed_at else closed_at + interval '1 minute' end`)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `update fabric.stage set closed_at = closed_at + interval '1 second', opened_at = opened_at + interval '1 second', deadline = deadline + interval '1 second' where region = 'us'`)
	require.NoError(t, err)

	found, err := censor.ClosedStages(t.Context(), activities.Mark{}, 10)
	require.NoError(t, err)
	require.Len(t, found, 2)
	first, second := found[0], found[1]
	require.Equal(t, activities.ClosedStage{Mark: first.Mark, Region: "eu", Step: "update", Seconds: 90, Asked: 3, Dropped: 1, Answers: 2, Refused: 1, Norms: []float64{1.5}}, first)
	require.Equal(t, activities.ClosedStage{Mark: second.Mark, Region: "us", Step: "update", Seconds: 90, Asked: 2, Answers: 1, Norms: []float64{0.25}}, second, "whom nobody waited for did not drop out")
	rest, err := censor.ClosedStages(t.Context(), first.Mark, 10)
	require.NoError(t, err)
	require.Equal(t, found[1:], rest)
	page, err := censor.ClosedStages(t.Context(), activities.Mark{}, 1)
	require.NoError(t, err)
	require.Equal(t, found[:1], page)

	// The policy loop of the run's owner reads the same from its own rows.
	now := time.Now()
	spans := []feedback.Span{{From: now.Add(-time.Hour), To: now.Add(-30 * time.Minute)}, {From: now.Add(-30 * time.Minute), To: now.Add(time.Hour)}}
	window := func(metric, target string) feedback.Window {
		t.Helper()
		all, err := db.Proposals().Windows(t.Context(), "owner", metric, spans)
		require.NoError(t, err)
		require.Contains(t, all, target, metric)
		require.Zero(t, all[target][0].Total+float64(len(all[target][0].Values)), "before")
		others, err := db.Proposals().Windows(t.Context(), "clinic", metric, spans)
		require.NoError(t, err)
		require.Empty(t, others, "not of another's rounds")
		return all[target][1]
	}
	share := func(w feedback.Window) [2]float64 { return [2]float64{w.Hits, w.Total} }
	require.Equal(t, [2]float64{1, 3}, share(window("round_dropout", "eu")))
	require.Equal(t, [2]float64{0, 2}, share(window("round_dropout", "us")))
	require.Equal(t, [2]float64{1, 1}, share(window("site_refused", "clinic/"+sites[1].ID)))
	require.Equal(t, [2]float64{0, 1}, share(window("site_refused", "clinic/"+sites[0].ID)))
	require.Equal(t, []float64{90}, window("stage_seconds", "us").Values)
	require.Equal(t, []float64{1.5}, window("update_norm", "eu").Values)
	for _, metric := range feedback.Metrics() {
		known := slices.Contains([]string{"round_dropout", "route_failed", "site_refused", "stage_seconds", "update_norm"}, metric)
		require.Equal(t, known, ownTelemetry(metric) != "", metric)
	}
}
