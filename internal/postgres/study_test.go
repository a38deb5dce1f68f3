package postgres

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/tuning"
)

// inquiry is a study of t1's model m1 with two dimensions.
func inquiry(id string) api.Study {
	return api.Study{
		ID: id, ModelID: "m1", Environment: "dev", Rounds: 40, Apply: true,
		Spec: tuning.Study{
			Space: tuning.Space{
				{Name: "learningRate", Kind: tuning.Double, Low: 1e-3, High: 1, Log: true},
				{Name: "strategy", Kind: tuning.Categorical, Values: []string{"fedavg", "fedadam"}},
			},
			Metric: "loss", Goal: "minimize", Trials: 5, Parallel: 2, Repeats: 2, Seed: 1<<53 - 1, Constraints: []tuning.Constraint{{Metric: "epsilon", AtMost: 0.1}},
		},
		Prior: []tuning.Trial{{Point: tuning.Point{0.1, 1}, State: tuning.Succeeded, Values: []float64{0.30000000000000004}}},
		Base: contract.RunInput{
			Subject: contract.Subject{Tenant: "t1", ModelID: "m1", TraceID: "0af7651916cd43dd8448eb211c80319c"}, Tenants: []string{"t1", "t2"},
			Params: round.Params{Rounds: 4, LearningRate: 0.1, Features: []string{"f"}},
		},
	}
}

func ref(number, repeat int) contract.TrialRef {
	return contract.TrialRef{Subject: contract.Subject{Tenant: "t1", ModelID: "m1", TraceID: "0af7651916cd43dd8448eb211c80319c"}, Study: "study-1", Number: number, Repeat: repeat}
}

func asAnn(key string) api.Command {
	return api.Command{Caller: api.Caller{Tenant: "t1", Subject: "ann", TraceID: "0af7651916cd43dd8448eb211c80319c"}, Operation: "startStudy", KeyHash: digest(key), Fingerprint: digest(key)}
}

func noted[T any](into *T) api.Reply[T] {
	return func(v T) (api.Answer, error) {
		*into = v
		return api.Answer{Status: 202, Body: []byte(`{}`)}, nil
	}
}

func accepted(t *testing.T, db *DB) {
	t.Helper()
	var written api.Study
	_, err := db.StudyViews().StartStudy(t.Context(), asAnn("start"), inquiry("study-1"), api.Start{
		Workflow: contract.Study.Name, ID: contract.StudyID("study-1"), Queue: contract.QueueControl, Input: contract.StudyInput{Study: "study-1"},
	}, noted(&written))
	require.NoError(t, err)
	require.Equal(t, "running", written.Status)
	require.Equal(t, "ann", written.Requester)
}

func TestAStudyFromItsStartToItsEnd(t *testing.T) {
	db, dsn := open(t)
	conn := admin(t, dsn)
	ctx := t.Context()
	accepted(t, db)
	again, err := db.StudyViews().StartStudy(ctx, asAnn("start"), inquiry("study-2"), api.Start{}, noted(new(api.Study)))
	require.NoError(t, err)
	require.True(t, again.Replayed, "the same key again")
	require.Equal(t, 1, count(t, conn, `select count(*) from fabric.outbox where workflow = 'Study'`))
	require.Equal(t, 1, count(t, conn, `select count(*) from fabric.study`))

	rows := db.Studies()
	study, err := rows.Study(ctx, "t1", "study-1")
	require.NoError(t, err)
	want := inquiry("study-1")
	require.Equal(t, want.Spec, study.Spec, "to the last bit")
	require.Equal(t, want.Prior, study.Prior)
	require.Equal(t, want.Base, study.Base)
	require.Equal(t, 40, study.Rounds)
	require.Empty(t, study.Jobs)
	_, err = rows.Study(ctx, "t2", "study-1")
	require.ErrorIs(t, err, activities.ErrNotFound)

	// Points: once by number, and no point twice.
	point := tuning.Point{0.30000000000000004, 1}
	require.NoError(t, rows.AddTrial(ctx, ref(1, 0), point))
	require.NoError(t, rows.AddTrial(ctx, ref(1, 0), tuning.Point{0.5, 0}), "the first point is the trial's")
	require.ErrorIs(t, rows.AddTrial(ctx, ref(2, 0), point), activities.ErrStale)
	require.NoError(t, rows.AddTrial(ctx, ref(2, 0), tuning.Point{0.5, 0}))
	stranger := ref(1, 0)
	stranger.Study = "study-7"
	require.ErrorIs(t, rows.AddTrial(ctx, stranger, point), activities.ErrNotFound)

	// Runs: one for each repeat, however often it is asked for at once.
	_, _, ok, err := rows.BegunRun(ctx, ref(1, 1))
	require.NoError(t, err)
	require.False(t, ok)
	params := round.Params{Rounds: 4, LearningRate: 0.3, Features: []string{"f"}}
	runs := make([]string, 8)
	var wait sync.WaitGroup
	for i := range runs {
		wait.Go(func() {
			var err error
			runs[i], err = rows.AddRun(ctx, ref(1, 1), fmt.Sprintf("run-%d", i), params)
			require.NoError(t, err)
		})
	}
	wait.Wait()
	for _, run := range runs {
		require.Equal(t, runs[0], run)
	}
	run, kept, ok, err := rows.BegunRun(ctx, ref(1, 1))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, runs[0], run)
	require.Equal(t, params, kept)
	written, err := db.Runs().Run(ctx, api.Caller{Tenant: "t1"}, run)
	require.NoError(t, err)
	require.Equal(t, "accepted", written.Status)
	require.Equal(t, "ann", written.Requester)
	require.Equal(t, "study-1", written.Study)
	require.Equal(t, []string{"t1", "t2"}, written.Tenants)
	require.Equal(t, 1, count(t, conn, `select count(*) from fabric.audit_leaf where convert_from(body, 'UTF8')::jsonb ->> 'kind' = 'run.accepted'`))
	require.Equal(t, 0, count(t, conn, `select count(*) from fabric.outbox where workflow = 'TrainingRun'`), "its study starts it")
	missing := ref(9, 1)
	_, err = rows.AddRun(ctx, missing, "run-9", params)
	require.ErrorIs(t, err, activities.ErrNotFound)

	// A run that is over, and what it came to.
	closeRun(t, db, run, round.Metrics{Evaluated: 10, Correct: 9, LossMicros: 5_000_000}, 4)
	facts, err := rows.Facts(ctx, "t1", run)
	require.NoError(t, err)
	require.Equal(t, activities.RunFacts{Status: "completed", Metrics: round.Metrics{Evaluated: 10, Correct: 9, LossMicros: 5_000_000}, Rounds: 4}, facts)
	_, err = rows.Facts(ctx, "t2", run)
	require.ErrorIs(t, err, activities.ErrNotFound)
	after := tuning.Job{Trial: tuning.Trial{Number: 1, Point: point, State: tuning.Active, Values: []float64{0.1 + 0.2}, Constraints: []float64{0.25}, Rungs: []int64{1 << 60}}, Ended: 1, Rounds: 4}
	require.NoError(t, rows.SaveTrial(ctx, ref(1, 1), 0, after))
	require.ErrorIs(t, rows.SaveTrial(ctx, ref(1, 1), 0, after), activities.ErrStale, "it counts once")
	after.State, after.Ended = tuning.Succeeded, 2
	require.NoError(t, rows.SaveTrial(ctx, ref(1, 2), 1, after))
	require.ErrorIs(t, rows.SaveTrial(ctx, ref(1, 2), 2, after), activities.ErrStale, "it is over")
	study, err = rows.Study(ctx, "t1", "study-1")
	require.NoError(t, err)
	after.Begun = 1
	require.Equal(t, []tuning.Job{after, {Trial: tuning.Trial{Number: 2, Point: tuning.Point{0.5, 0}, State: tuning.Active, Values: []float64{}, Constraints: []float64{}, Rungs: []int64{}}}}, study.Jobs)

	// Neither scorecards nor suggestions over finished runs see it.
	trials, err := db.Actions().Trials(ctx, "t1", "m1")
	require.NoError(t, err)
	require.Empty(t, trials)

	// A run that was begun and never started ends with the study, which ends once.
	left, err := rows.AddRun(ctx, ref(2, 1), "run-left", params)
	require.NoError(t, err)
	tune := &contract.TuneInput{Subject: contract.Subject{Tenant: "t1", ModelID: "m1", TraceID: "0af7651916cd43dd8448eb211c80319c"}, Action: "tune-1", Requester: "ann", Environment: "dev", Study: "study-1"}
	end := contract.CloseStudyInput{Subject: tune.Subject, Study: "study-1", StudyEnd: contract.StudyEnd{Status: "exhausted", Cause: "no budget"}}
	for range 2 {
		got, err := rows.CloseStudy(ctx, end, 1, tune)
		require.NoError(t, err)
		require.Equal(t, contract.StudyResult{Study: "study-1", Status: "exhausted", Cause: "no budget", Trials: 2, Best: 1, Suggestion: "tune-1"}, got)
		end.Status, end.Cause = "failed", "another end"
	}
	require.Equal(t, 1, count(t, conn, `select count(*) from fabric.outbox where workflow = 'AutoTune' and workflow_id = 'tune/tune-1'`))
	require.Equal(t, 1, count(t, conn, `select count(*) from fabric.audit_leaf where convert_from(body, 'UTF8')::jsonb ->> 'kind' = 'study.exhausted'`))
	action, err := db.Actions().Action(ctx, api.Caller{Tenant: "t1"}, api.KindTuning, "tune-1")
	require.NoError(t, err)
	require.Equal(t, "ann", action.Requester)
	written, err = db.Runs().Run(ctx, api.Caller{Tenant: "t1"}, left)
	require.NoError(t, err)
	require.Equal(t, "stopped", written.Status)

	shown, err := db.StudyViews().Study(ctx, api.Caller{Tenant: "t1"}, "study-1")
	require.NoError(t, err)
	require.Equal(t, 2, shown.Made)
	require.Equal(t, 4, shown.Used)
	require.Equal(t, tuning.Stopped, shown.Jobs[1].State)
	require.Equal(t, []api.StudyRun{{Number: 1, Repeat: 1, Run: run, Status: "completed"}, {Number: 2, Repeat: 1, Run: left, Status: "stopped"}}, shown.Runs)
	require.NotNil(t, shown.EndedAt)
	_, err = rows.CloseStudy(ctx, contract.CloseStudyInput{Subject: contract.Subject{Tenant: "t2"}, Study: "study-1"}, 0, nil)
	require.ErrorIs(t, err, activities.ErrNotFound)
	require.NoError(t, db.AuditLog().VerifyAll(ctx))
}

func TestStudiesOfATenant(t *testing.T) {
	db, dsn := open(t)
	ctx := t.Context()
	accepted(t, db)
	var written api.Study
	for i := range 2 {
		_, err := db.StudyViews().RecordStudyStop(ctx, api.Command{Caller: api.Caller{Tenant: "t1", Subject: "ann"}, Operation: "stopStudy", KeyHash: digest(fmt.Sprint(i)), Fingerprint: digest("s")}, "study-1", noted(&written))
		require.NoError(t, err)
	}
	require.Equal(t, 1, count(t, admin(t, dsn), `select count(*) from fabric.audit_leaf where convert_from(body, 'UTF8')::jsonb ->> 'kind' = 'study.stop_requested'`))
	_, err := db.StudyViews().RecordStudyStop(ctx, api.Command{Caller: api.Caller{Tenant: "t2"}}, "study-1", noted(&written))
	require.ErrorIs(t, err, api.ErrNotFound)
	_, err = db.StudyViews().StartStudy(ctx, asAnn("another"), inquiry("study-1"), api.Start{}, noted(&written))
	require.ErrorIs(t, err, api.ErrConflict)

	for _, tt := range []struct {
		tenant string
		filter api.RunFilter
		after  string
		want   int
	}{
		{"t1", api.RunFilter{}, "", 1},
		{"t1", api.RunFilter{Status: "running", Model: "m1"}, "", 1},
		{"t1", api.RunFilter{Status: "completed"}, "", 0},
		{"t1", api.RunFilter{Model: "m2"}, "", 0},
		{"t1", api.RunFilter{}, "study-1", 0},
		{"t2", api.RunFilter{}, "", 0},
	} {
		found, err := db.StudyViews().Studies(ctx, api.Caller{Tenant: tt.tenant}, tt.filter, api.Page{Limit: 10, After: tt.after})
		require.NoError(t, err)
		require.Len(t, found, tt.want, "%+v", tt)
	}
	_, err = db.StudyViews().Study(ctx, api.Caller{Tenant: "t2"}, "study-1")
	require.ErrorIs(t, err, api.ErrNotFound)
}

// closeRun brings a run to its end.
func closeRun(t *testing.T, db *DB, run string, m round.Metrics, rounds int) {
	t.Helper()
	require.NoError(t, db.Rounds().CloseRun(t.Context(), contract.CloseRunInput{
		Subject: contract.Subject{Tenant: "t1", ModelID: "m1", TraceID: "0af7651916cd43dd8448eb211c80319c"}, RunResult: contract.RunResult{Run: run, Status: "completed", Rounds: rounds, Metrics: m},
	}))
}
