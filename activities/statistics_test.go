package activities_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/dp"
	noised "github.com/atom-fabric/fabric/domain/summary"
)

// An attempt is one in memory. lose fails the next call of a method after
// its effect: the worker died before it could say so.
type attempt struct {
	asking  activities.Asking
	state   string
	answers []noised.Answer
	end     contract.StatisticsResult
	learnt  bool
	ends    int
	lose    string
}

var errLost = errors.New("the connection broke after the commit")

func (a *attempt) lost(method string) error {
	if a.lose == method {
		a.lose = ""
		return errLost
	}
	return nil
}

func (a *attempt) Asking(context.Context, contract.StatisticsInput) (activities.Asking, error) {
	if a.state == "" {
		return activities.Asking{}, activities.ErrNotFound
	}
	return a.asking, nil
}

func (a *attempt) Open(_ context.Context, _ contract.StatisticsInput, offered activities.Asking) (activities.Asking, error) {
	if a.state == noised.StateWaiting {
		a.asking, a.state = offered, noised.StateOpen
	}
	return a.asking, a.lost("Open")
}

func (a *attempt) Counts(context.Context, contract.StatisticsInput) (out contract.StatisticsCounts, err error) {
	for _, one := range a.answers {
		if one.Refused == "" {
			out.Answered++
		} else {
			out.Refused++
		}
	}
	return out, nil
}

func (a *attempt) Changed(context.Context, contract.StatisticsInput, time.Duration) error { return nil }

func (a *attempt) Shut(context.Context, contract.StatisticsInput) ([]noised.Answer, error) {
	if a.end.State == "" {
		a.state = noised.StateShut
	}
	return a.answers, a.lost("Shut")
}

func (a *attempt) Conclude(_ context.Context, _ contract.StatisticsInput, end contract.StatisticsResult, learnt bool) (contract.StatisticsResult, error) {
	if a.end.State == "" {
		a.end, a.learnt, a.state = end, learnt, end.State
		a.ends++
	}
	return a.end, a.lost("Conclude")
}

func statisticsInput() contract.StatisticsInput {
	return contract.StatisticsInput{Subject: subject(), Feature: "radius", Version: 1, Attempt: 1}
}

// attempted is a world with an attempt that was charged.
func attempted(t *testing.T) (*activitytest.World, *attempt, *activities.Statistic) {
	t.Helper()
	w := world(t)
	q, err := noised.Question{
		Tenant: "clinic", Feature: "radius", Version: 1, Bins: 8, Epsilon: 4, Delta: 1e-5, Columns: []noised.Column{{Name: "radius", Low: 0, High: 10}},
	}.Noised()
	require.NoError(t, err)
	a := &attempt{asking: activities.Asking{Question: q, Seconds: 30}, state: noised.StateWaiting}
	return w, a, &activities.Statistic{Blobs: w, Rounds: w.Rows(), Statistics: a, Signer: w, Now: clock}
}

// hear has every site that is asked answer over so many rows of 5.
func (a *attempt) hear(t *testing.T, rows int) {
	t.Helper()
	for i, site := range a.asking.Question.Sites {
		answer, err := noised.Count(a.asking.Question, site, slices.Repeat([][]float64{{5}}, rows), []int{0}, dp.NewStream(dp.Seed{byte(i)}))
		require.NoError(t, err)
		a.answers = append(a.answers, answer)
	}
}

func TestAQuestionIsSignedOverItsGrantAndSites(t *testing.T) {
	w, a, s := attempted(t)
	asked, err := act(t, contract.AskStatistics, s.AskStatistics, statisticsInput())
	require.NoError(t, err)
	require.Equal(t, len(a.asking.Question.Sites), asked.Sites)
	require.NotZero(t, asked.Sites)
	require.Equal(t, 30, asked.Seconds)

	_, err = w.Verify(t.Context(), w.Content[a.asking.Bundle.Digest], artifact.PredicateStatistics, asked.Question)
	require.NoError(t, err)
	var q noised.Question
	require.NoError(t, artifact.DecodeStrict(w.Content[asked.Question], &q))
	require.NoError(t, q.Validate())
	bundles, err := consent.Unpack(w.Content[q.Grants])
	require.NoError(t, err)
	subject, err := consent.SubjectOf([]byte(bundles[0]))
	require.NoError(t, err)
	verified, err := w.Verify(t.Context(), []byte(bundles[0]), artifact.PredicateGrant, subject)
	require.NoError(t, err)
	var grant consent.Grant
	require.NoError(t, artifact.DecodeStrict(verified, &grant))
	require.Equal(t, "radius", grant.Feature)
	require.Equal(t, "clinic", grant.Grantee)
	require.NoError(t, grant.Permits(q.Use(nil, clock())))
}

// Each step is done, not done, and done but not reported: what is published is
// the same, once, and the question that sites saw does not change.
func TestALostStepIsDoneOnce(t *testing.T) {
	var releases []artifact.Digest
	for _, lose := range []string{"", "Open", "Shut", "Conclude"} {
		t.Run("lost "+lose, func(t *testing.T) {
			w, a, s := attempted(t)
			a.lose = lose
			asked, err := act(t, contract.AskStatistics, s.AskStatistics, statisticsInput())
			if lose == "Open" {
				require.Error(t, err)
				require.Empty(t, kind(err), "it is tried again")
				seen := a.asking.Document.Digest
				asked, err = act(t, contract.AskStatistics, s.AskStatistics, statisticsInput())
				require.Equal(t, seen, asked.Question)
			}
			require.NoError(t, err)
			a.hear(t, 500)
			counts, err := act(t, contract.AwaitStatistics, s.AwaitStatistics, asked)
			require.NoError(t, err)
			require.Equal(t, contract.StatisticsCounts{Answered: asked.Sites}, counts)
			end := contract.StatisticsEnd{StatisticsInput: statisticsInput()}
			got, err := act(t, contract.PublishStatistics, s.PublishStatistics, end)
			if lose == "Shut" || lose == "Conclude" {
				require.Error(t, err)
				require.Empty(t, kind(err))
				got, err = act(t, contract.PublishStatistics, s.PublishStatistics, end)
			}
			require.NoError(t, err)
			require.Equal(t, noised.StatePublished, got.State, got.Cause)
			require.Equal(t, 1, a.ends)
			require.True(t, a.learnt)
			again, err := act(t, contract.PublishStatistics, s.PublishStatistics, end)
			require.NoError(t, err)
			require.Equal(t, got, again)
			var release noised.Release
			require.NoError(t, artifact.DecodeStrict(w.Content[got.Release.Digest], &release))
			require.InDelta(t, 5, release.Columns[0].Mean.Value, 0.2)
			require.True(t, release.Columns[0].Mean.Low <= 5 && 5 <= release.Columns[0].Mean.High)
			releases = append(releases, got.Release.Digest)
		})
	}
	require.Len(t, releases, 4)
}

func TestStatisticsThatAreNotPublished(t *testing.T) {
	asks := func(t *testing.T) (*activitytest.World, *attempt, *activities.Statistic) {
		w, a, s := attempted(t)
		_, err := act(t, contract.AskStatistics, s.AskStatistics, statisticsInput())
		require.NoError(t, err)
		return w, a, s
	}
	publish := func(t *testing.T, s *activities.Statistic, cause string) contract.StatisticsResult {
		got, err := act(t, contract.PublishStatistics, s.PublishStatistics, contract.StatisticsEnd{StatisticsInput: statisticsInput(), Cause: cause})
		require.NoError(t, err)
		return got
	}
	t.Run("without an answer nothing is told, and nothing is paid", func(t *testing.T) {
		_, a, s := asks(t)
		got := publish(t, s, "")
		require.Equal(t, noised.StateFailed, got.State)
		require.Contains(t, got.Cause, noised.ErrNobody.Error())
		require.Contains(t, got.Cause, "did not answer in time")
		require.False(t, a.learnt)
	})
	t.Run("a refusal that looked at rows is paid", func(t *testing.T) {
		_, a, s := asks(t)
		few, err := noised.Refuse(a.asking.Question, a.asking.Question.Sites[0], noised.FewRows)
		require.NoError(t, err)
		a.answers = []noised.Answer{few}
		require.Equal(t, noised.StateFailed, publish(t, s, "").State)
		require.True(t, a.learnt)
	})
	t.Run("too few rows", func(t *testing.T) {
		_, a, s := asks(t)
		a.hear(t, 2)
		got := publish(t, s, "")
		require.Equal(t, noised.StateInsufficient, got.State)
		require.NotEmpty(t, got.Cause)
		require.NotEmpty(t, got.Release.Digest)
	})
	t.Run("what ended before is not published", func(t *testing.T) {
		_, a, s := asks(t)
		a.hear(t, 500)
		got := publish(t, s, "it was canceled")
		require.Equal(t, contract.StatisticsResult{State: noised.StateFailed, Cause: "it was canceled"}, got)
		require.True(t, a.learnt, "sites have answered")
	})
	t.Run("what was withdrawn meanwhile is not published", func(t *testing.T) {
		_, a, s := asks(t)
		a.hear(t, 500)
		s.Now = func() time.Time { return clock().Add(-1000 * 24 * time.Hour) } // before the grant's beginning
		got := publish(t, s, "")
		require.Equal(t, noised.StateFailed, got.State)
		require.Contains(t, got.Cause, consent.ErrWaiting.Error())
	})
	t.Run("nobody is asked without a grant", func(t *testing.T) {
		_, _, s := attempted(t)
		s.Now = func() time.Time { return clock().Add(-1000 * 24 * time.Hour) }
		_, err := act(t, contract.AskStatistics, s.AskStatistics, statisticsInput())
		require.Equal(t, contract.NoConsent, kind(err))
	})
	t.Run("what was never asked for is not there", func(t *testing.T) {
		_, a, s := attempted(t)
		a.state = ""
		_, err := act(t, contract.AskStatistics, s.AskStatistics, statisticsInput())
		require.Equal(t, contract.BadPlan, kind(err))
	})
}
