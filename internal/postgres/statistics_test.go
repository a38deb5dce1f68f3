package postgres

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
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
	"github.com/atom-fabric/fabric/domain/summary"
)

var labs = privacy.Feature{Tenant: "clinic", Feature: "labs"}

// lab registers a feature whose column has public bounds, for statistics by its
// owner and by grantees, and enrols a site.
func lab(t testing.TB, db *DB, schema string, grantees ...string) {
	t.Helper()
	f, err := catalog.Registration{Tenant: "clinic", ID: "labs", Schema: json.RawMessage(schema), Consented: true, Grantees: grantees}.Feature()
	require.NoError(t, err)
	_, err = db.Catalog().Register(t.Context(), command("clinic", "", schema), f, reply)
	require.NoError(t, err)
}

const labSchema = `{"properties":{"age":{"type":"number","minimum":0,"maximum":120}}}`

func wishes(epsilon float64) api.StatisticsWish {
	return api.StatisticsWish{Feature: "labs", Epsilon: epsilon, Bins: 8, Seconds: 60}
}

func askStatistics(t testing.TB, db *DB, key string, epsilon float64) (api.FeatureStatistics, error) {
	t.Helper()
	answer, err := db.Statistics().AskStatistics(t.Context(), command("clinic", key, "statistics"), wishes(epsilon), reply)
	if err != nil {
		return api.FeatureStatistics{}, err
	}
	var s api.FeatureStatistics
	require.NoError(t, json.Unmarshal(answer.Body, &s))
	return s, nil
}

func attemptOf(version, number int) contract.StatisticsInput {
	return contract.StatisticsInput{Subject: contract.Subject{Tenant: "clinic"}, Feature: "labs", Version: version, Attempt: number}
}

// offered completes a question for the sites and opens it.
func offered(t testing.TB, db *DB, in contract.StatisticsInput, sites ...string) activities.Asking {
	t.Helper()
	asking, err := db.Statistics().Asking(t.Context(), in)
	require.NoError(t, err)
	require.Empty(t, asking.Document)
	asking.Question.Sites, asking.Question.Epoch, asking.Question.Grants = sites, 1, digest("grants")
	require.NoError(t, asking.Question.Validate())
	text, _, err := asking.Question.Encode()
	require.NoError(t, err)
	asking.Document, asking.Bundle = artifact.Describe("application/json", text), blob("bundle")
	kept, err := db.Statistics().Open(t.Context(), in, asking)
	require.NoError(t, err)
	require.Equal(t, asking, kept)
	return kept
}

// saysTo has a site decline, or with why empty answer with numbers.
func saysTo(t testing.TB, db *DB, site, why string, asking activities.Asking) api.SiteAnswer {
	t.Helper()
	open, err := db.Statistics().Question(t.Context(), "clinic", site, asking.Document.Digest)
	require.NoError(t, err)
	answer, err := summary.Refuse(asking.Question, site, why)
	require.NoError(t, err)
	if why == "" {
		answer.Count, answer.Columns = 500, []summary.Sums{{Bins: make([]int64, 8)}}
	}
	require.NoError(t, answer.Check(asking.Question))
	text, err := json.Marshal(answer)
	require.NoError(t, err)
	return api.SiteAnswer{Of: open, Answer: answer, Text: string(text), Statement: artifact.DigestOf(text), Bundle: blob("said by " + site)}
}

// Asking charges, writes and starts in one transaction, and asking again, with
// any key, is given what is there: one entry, one workflow.
func TestStatisticsAreChargedOnceForAVersion(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	conn := admin(t, dsn)
	lab(t, db, labSchema)
	enrol(t, db, "clinic", "eu", 1)
	const askers = 20
	var wg sync.WaitGroup
	var charged atomic.Int32
	for i := range askers {
		wg.Go(func() {
			answer, err := db.Statistics().AskStatistics(t.Context(), command("clinic", fmt.Sprint(i), "statistics"), wishes(2), reply)
			var s api.FeatureStatistics
			if err == nil {
				err = json.Unmarshal(answer.Body, &s)
			}
			if err == nil && !s.Before {
				charged.Add(1)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, charged.Load())
	require.Equal(t, 1, count(t, conn, `select count(*) from fabric.privacy_entry where feature = 'labs' and run = 'statistics-1' and state = 'reserved'`))
	require.Equal(t, 1, count(t, conn, `select count(*) from fabric.outbox where workflow_id = 'statistics/clinic/labs/1/1'`))
	b := balance(t, db, labs)
	require.InDelta(t, 2, b.Reserved, 1e-4, "the same ledger, with the default budget")
	require.LessOrEqual(t, b.Reserved, 2.0)
	require.Equal(t, 10.0, b.EpsilonLimit)

	// Nobody is told that another one would not fit: there is no other.
	_, err := db.Budgets().SetBudget(t.Context(), command("clinic", "", "b"), privacy.Budget{Tenant: "clinic", Feature: "labs", EpsilonLimit: 3, Delta: 1e-5}, reply)
	require.NoError(t, err)
	seen, err := db.Censor().Census(t.Context())
	require.NoError(t, err)
	require.Zero(t, seen.Exhausted)
	require.InDelta(t, 1.0/3, seen.BudgetLeast, 1e-3)
	_, err = db.Budgets().SetBudget(t.Context(), command("clinic", "", "c"), privacy.Budget{Tenant: "clinic", Feature: "labs", EpsilonLimit: 10, Delta: 1e-5}, reply)
	require.NoError(t, err)

	// The same key is the same answer, after a crash of the caller, too.
	first, err := db.Statistics().AskStatistics(t.Context(), command("clinic", "0", "statistics"), wishes(2), reply)
	require.NoError(t, err)
	require.True(t, first.Replayed)

	// A new version is new rows: it costs again, out of what is left.
	lab(t, db, `{"properties":{"age":{"type":"number","minimum":0,"maximum":130}}}`)
	second, err := askStatistics(t, db, "", 2)
	require.NoError(t, err)
	require.Equal(t, 2, second.Question.Version)
	require.Greater(t, balance(t, db, labs).Reserved, 2.0)
}

func TestStatisticsThatMayNotBeAskedForChargeNothing(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	conn := admin(t, dsn)
	_, err := askStatistics(t, db, "", 1)
	require.ErrorIs(t, err, api.ErrNotFound)
	lab(t, db, labSchema)
	_, err = askStatistics(t, db, "", 1)
	require.ErrorIs(t, err, summary.ErrSites)
	enrol(t, db, "clinic", "eu", 1)
	var refused *privacy.RefusalError
	_, err = askStatistics(t, db, "", 11)
	require.ErrorAs(t, err, &refused)
	require.Equal(t, 10.0, refused.Left)
	require.ErrorIs(t, err, privacy.ErrExhausted)

	lab(t, db, `{"properties":{"age":{"type":"number"}}}`)
	_, err = askStatistics(t, db, "", 1)
	require.ErrorIs(t, err, summary.ErrUnbounded)
	lab(t, db, labSchema)
	_, err = db.Catalog().WithdrawGrants(t.Context(), command("clinic", "", ""), "labs", nil, "", reply)
	require.NoError(t, err)
	_, err = askStatistics(t, db, "", 1)
	require.ErrorIs(t, err, consent.ErrWithdrawn)
	require.Zero(t, count(t, conn, `select count(*) from fabric.privacy_entry`))
	require.Zero(t, count(t, conn, `select count(*) from fabric.statistics`))
	require.Zero(t, count(t, conn, `select count(*) from fabric.outbox where workflow = 'FeatureStatistics'`))
}

// From the question to the end, each write twice: the first one stays, and the
// budget is settled with the end.
func TestTheEndOfStatisticsSettlesTheirEntry(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		say    string
		answer bool
		end    string
		learnt bool
		left   float64
	}{
		"published":           {"", true, summary.StatePublished, true, 8},
		"nobody answered":     {"", false, summary.StateFailed, false, 10},
		"everybody declined":  {summary.NoColumns, true, summary.StateFailed, false, 10},
		"declined after rows": {summary.FewRows, true, summary.StateFailed, true, 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, _ := open(t)
			stats, ctx := db.Statistics(), t.Context()
			lab(t, db, labSchema)
			enrol(t, db, "clinic", "eu", 2)
			_, err := askStatistics(t, db, "", 2)
			require.NoError(t, err)
			in := attemptOf(1, 1)
			asking := offered(t, db, in, "s0", "s1")
			other := asking
			other.Bundle = blob("another bundle")
			kept, err := stats.Open(ctx, in, other)
			require.NoError(t, err)
			require.Equal(t, asking, kept, "sites have seen the first")

			var said api.SiteAnswer
			if tt.answer {
				said = saysTo(t, db, "s0", tt.say, asking)
				for range 2 {
					require.NoError(t, stats.AnswerQuestion(ctx, api.Caller{Tenant: "clinic", Subject: "s0"}, said))
				}
				again := said
				again.Statement = digest("something else")
				require.ErrorIs(t, stats.AnswerQuestion(ctx, api.Caller{Tenant: "clinic"}, again), api.ErrConflict)
				counts, err := stats.Counts(ctx, in)
				require.NoError(t, err)
				require.Equal(t, 1, counts.Answered+counts.Refused)
			}
			late := saysTo(t, db, "s1", summary.NoLimits, asking)
			for range 2 {
				answers, err := stats.Shut(ctx, in)
				require.NoError(t, err)
				if tt.answer {
					require.Equal(t, []summary.Answer{said.Answer}, answers)
				}
				require.Equal(t, tt.learnt, summary.Learnt(answers))
			}
			require.ErrorIs(t, stats.AnswerQuestion(ctx, api.Caller{Tenant: "clinic"}, late), api.ErrClosed)

			end := contract.StatisticsResult{State: tt.end, Cause: "because"}
			if tt.end == summary.StatePublished {
				end = contract.StatisticsResult{State: tt.end, Release: blob("release")}
			}
			got, err := stats.Conclude(ctx, in, end, tt.learnt)
			require.NoError(t, err)
			require.Equal(t, end, got)
			got, err = stats.Conclude(ctx, in, contract.StatisticsResult{State: summary.StateInsufficient}, !tt.learnt)
			require.NoError(t, err)
			require.Equal(t, end, got, "the first end stays")
			require.InDelta(t, tt.left, balance(t, db, labs).Left, 1e-3)
			require.Zero(t, balance(t, db, labs).Reserved)

			again, err := askStatistics(t, db, "", 2)
			require.NoError(t, err)
			if tt.end == summary.StatePublished {
				require.True(t, again.Before)
				require.Equal(t, 1, again.Attempt)
				return
			}
			require.False(t, again.Before)
			require.Equal(t, 2, again.Attempt)
		})
	}
}

// A site that waits is told of a question at once, and a question is only for
// those that it names.
func TestAWaitingSiteIsToldOfAQuestion(t *testing.T) {
	t.Parallel()
	db, _ := open(t)
	ctx := t.Context()
	lab(t, db, labSchema)
	enrol(t, db, "clinic", "eu", 2)
	enrol(t, db, "other", "eu", 1)
	_, err := askStatistics(t, db, "", 2)
	require.NoError(t, err)
	told := make(chan time.Duration, 1)
	began := time.Now()
	go func() {
		_, err := db.Sites().Work(ctx, "clinic", "s0", 20*time.Second)
		if err != nil {
			t.Error(err)
		}
		told <- time.Since(began)
	}()
	time.Sleep(200 * time.Millisecond)
	asking := offered(t, db, attemptOf(1, 1), "s0")
	require.Less(t, <-told, 5*time.Second)
	found, err := db.Statistics().Questions(ctx, "clinic", "s0")
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, asking.Question, found[0].Question)
	require.False(t, found[0].Deadline.IsZero())
	for _, who := range [][2]string{{"clinic", "s1"}, {"other", "s0"}} {
		found, err := db.Statistics().Questions(ctx, who[0], who[1])
		require.NoError(t, err)
		require.Empty(t, found)
		_, err = db.Statistics().Question(ctx, who[0], who[1], asking.Document.Digest)
		require.ErrorIs(t, err, api.ErrNotFound)
	}
	require.NoError(t, db.Statistics().AnswerQuestion(ctx, api.Caller{Tenant: "clinic"}, saysTo(t, db, "s0", summary.NoColumns, asking)))
	found, err = db.Statistics().Questions(ctx, "clinic", "s0")
	require.NoError(t, err)
	require.Empty(t, found)
}

// Another tenant sees what is published while a grant allows it statistics.
func TestWhoSeesPublishedStatistics(t *testing.T) {
	t.Parallel()
	db, dsn := open(t)
	ctx, stats := t.Context(), db.Statistics()
	lab(t, db, labSchema, "lab")
	enrol(t, db, "clinic", "eu", 1)
	_, err := askStatistics(t, db, "", 2)
	require.NoError(t, err)
	in := attemptOf(1, 1)
	asking := offered(t, db, in, "s0")
	see := func(tenant string, version int) (api.FeatureStatistics, error) {
		return stats.FeatureStatistics(ctx, caller(tenant), "clinic", "labs", version)
	}
	own, err := see("clinic", 0)
	require.NoError(t, err)
	require.Equal(t, summary.StateOpen, own.State)
	_, err = see("lab", 0)
	require.ErrorIs(t, err, api.ErrNotFound, "what is not published is the owner's alone")

	require.NoError(t, stats.AnswerQuestion(ctx, api.Caller{Tenant: "clinic"}, saysTo(t, db, "s0", "", asking)))
	_, err = stats.Shut(ctx, in)
	require.NoError(t, err)
	_, err = stats.Conclude(ctx, in, contract.StatisticsResult{State: summary.StatePublished, Release: blob("release")}, true)
	require.NoError(t, err)
	theirs, err := see("lab", 1)
	require.NoError(t, err)
	require.Equal(t, blob("release"), theirs.Release)
	require.Empty(t, theirs.Question.Sites)
	for _, tenant := range []string{"other", "s0"} {
		_, err = see(tenant, 0)
		require.ErrorIs(t, err, api.ErrNotFound)
	}
	_, err = see("clinic", 2)
	require.ErrorIs(t, err, api.ErrNotFound)
	_, err = db.Catalog().WithdrawGrants(ctx, command("clinic", "", ""), "labs", []string{"lab"}, "", reply)
	require.NoError(t, err)
	_, err = see("lab", 0)
	require.ErrorIs(t, err, api.ErrNotFound)

	// Not even the owner of the rows takes back what was published.
	conn := admin(t, dsn)
	for _, sql := range []string{
		`update fabric.statistics set state = 'failed'`, `delete from fabric.statistics`, `truncate fabric.statistics cascade`,
		`update fabric.statistics_answer set document = '{}'`, `delete from fabric.statistics_answer`,
	} {
		_, err := conn.Exec(ctx, sql)
		require.Equal(t, "42501", code(err), sql)
	}
}
