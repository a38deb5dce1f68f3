package agent

import (
	"crypto/ecdsa"
	"errors"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/summary"
	"github.com/atom-fabric/fabric/examples/tumour"
)

// asks has the fabric ask about the first column of the site's rows, under a
// grant of the tenant to itself.
func (w *world) asks(t testing.TB, grant func(*consent.Grant), change func(*summary.Question)) v1.SiteQuestion {
	t.Helper()
	g := granted(round.Manifest{Tenant: "hosp-north"}, grant)
	pack := w.consents(t, g)[0]
	q, err := summary.Question{
		Tenant: "hosp-north", Feature: "cells", Version: 1, Bins: 8, Epsilon: 2, Delta: 1e-5, Sites: []string{"north"}, Epoch: 1, Grants: pack.Grants,
		Columns: []summary.Column{{Name: tumour.Columns()[0], Low: 0, High: 40}},
	}.Noised()
	require.NoError(t, err)
	if change != nil {
		change(&q)
	}
	return w.question(t, q, w.key)
}

func (w *world) question(t testing.TB, q summary.Question, key *ecdsa.PrivateKey) v1.SiteQuestion {
	t.Helper()
	text, digest, err := q.Encode()
	require.NoError(t, err)
	statement, err := artifact.NewStatement("question", digest, artifact.PredicateStatistics, q)
	require.NoError(t, err)
	bundle, err := artifact.SignStatement(nil, key, statement)
	require.NoError(t, err)
	return v1.SiteQuestion{Question: string(text), Bundle: string(bundle), Grants: w.packs[q.Grants], Deadline: time.Now().Add(time.Minute)}
}

// asked starts the site's agent, has it answer, and returns what it sent.
func asked(t *testing.T, w *world, opts Options, floors []v1.ConsentFloor, item v1.SiteQuestion) (summary.Answer, string, error) {
	t.Helper()
	a := start(t, opts, w)
	var err error
	a.id, err = openIdentity(opts)
	require.NoError(t, err)
	defer a.id.close()
	require.NoError(t, a.enrol(t.Context()))
	require.NoError(t, a.heed(floors))
	before := len(w.said)
	declined, err := a.answerQuestion(t.Context(), item)
	if err != nil || len(w.said) == before {
		return summary.Answer{}, declined, err
	}
	sent := w.said[len(w.said)-1]
	verified, err := artifact.VerifyBundle([]*ecdsa.PublicKey{&a.id.key.PublicKey}, []byte(sent.Bundle), artifact.PredicateSummary, artifact.Digest(sent.Question))
	require.NoError(t, err)
	var answer summary.Answer
	require.NoError(t, artifact.DecodeStrict(verified.Predicate, &answer))
	return answer, declined, nil
}

// Nobody but the site decides what it tells: each case changes what it is asked,
// or what its operator allows.
func TestASiteAnswersWhatItsTenantAllows(t *testing.T) {
	tests := []struct {
		name   string
		grant  func(*consent.Grant)
		change func(*summary.Question)
		opts   func(*Options)
		floors []v1.ConsentFloor
		want   string // declined
	}{
		{name: "gives noised numbers"},
		{name: "declines without the action", grant: func(g *consent.Grant) { g.Actions = []string{consent.ActionTrain} }, want: summary.NoConsent},
		{name: "declines under another's grant", grant: func(g *consent.Grant) { g.Grantee = "consortium" }, want: summary.NoConsent},
		{name: "declines what has expired", grant: func(g *consent.Grant) { g.ExpiresAt = g.NotBefore.Add(time.Hour) }, want: summary.NoConsent},
		{name: "declines more epsilon than the grant's", grant: func(g *consent.Grant) { g.Constraints.MaxEpsilon = 1 }, want: summary.NoConsent},
		{name: "declines outside the grant's regions", grant: func(g *consent.Grant) { g.Constraints.Regions = []string{"us"} }, want: summary.NoConsent},
		{name: "declines what was withdrawn", floors: []v1.ConsentFloor{{Feature: "cells", Grantee: "hosp-north", Epoch: 2}}, want: summary.NoConsent},
		{name: "declines grants that are not those it names", change: func(q *summary.Question) { q.Grants = artifact.DigestOf(nil) }, want: summary.NoConsent},
		{name: "declines more epsilon than its operator's", opts: func(o *Options) { o.Floor.MaxEpsilon = 1.9 }, want: summary.NoLimits},
		{name: "declines a column that it has not", change: func(q *summary.Question) { q.Columns[0].Name = "height" }, want: summary.NoColumns},
		{name: "declines with too few rows", opts: func(o *Options) { o.MinRows = 100_000 }, want: summary.FewRows},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, opts := newWorld(t), options(t)
			if tt.opts != nil {
				tt.opts(&opts)
			}
			answer, declined, err := asked(t, w, opts, tt.floors, w.asks(t, tt.grant, tt.change))
			require.NoError(t, err)
			require.Equal(t, tt.want, declined)
			require.Equal(t, tt.want, answer.Refused)
			if tt.want != "" {
				require.Zero(t, answer.Count)
				require.Empty(t, answer.Columns)
				return
			}
			// ε = 2 hides rows, not the size of a hospital
			require.InDelta(t, tumour.Split()[0].Rows.Len(), answer.Count, 60)
			require.Len(t, answer.Columns, 1)
		})
	}
}

// What is not signed by the fabric, is altered, or is another's, is not answered
// at all.
func TestASiteIgnoresWhatIsNoQuestion(t *testing.T) {
	w, stranger := newWorld(t), newWorld(t)
	good := w.asks(t, nil, nil)
	other := func(change func(*summary.Question)) v1.SiteQuestion { return w.asks(t, nil, change) }
	altered := good
	altered.Question += " "
	for name, item := range map[string]v1.SiteQuestion{
		"signed by somebody else": stranger.asks(t, nil, nil),
		"altered":                 altered,
		"of another tenant":       other(func(q *summary.Question) { q.Tenant = "hosp-south" }),
		"to another site":         other(func(q *summary.Question) { q.Sites = []string{"south"} }),
		"with too little noise":   other(func(q *summary.Question) { q.NoiseMultiplier /= 2 }),
		"without noise":           other(func(q *summary.Question) { q.NoiseMultiplier = 0 }),
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := asked(t, w, options(t), nil, item)
			require.Error(t, err)
			require.Empty(t, w.said)
		})
	}
}

// The same question is answered with the same bytes, also after a restart, after
// the rows changed, and when the first answer was lost; another question about
// the version is never answered with numbers.
func TestNoiseIsDrawnOnce(t *testing.T) {
	w, opts := newWorld(t), options(t)
	item := w.asks(t, nil, nil)
	down := true
	w.fail = func(_ int, name string) (error, error) {
		if name == "answer" && down {
			return problem(http.StatusConflict, "closed"), nil
		}
		return nil, nil
	}
	_, _, err := asked(t, w, opts, nil, item)
	require.Error(t, err)
	down = false

	first, _, err := asked(t, w, opts, nil, item)
	require.NoError(t, err)
	rows := tumour.Split()[1].CSV()
	require.NoError(t, os.WriteFile(opts.Data, rows, 0o600))
	again, _, err := asked(t, w, opts, nil, item)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Len(t, w.said, 2)
	require.Equal(t, w.said[0], w.said[1], "to the byte")

	other, declined, err := asked(t, w, opts, nil, w.asks(t, nil, func(q *summary.Question) { q.Columns[0].High = 50 }))
	require.NoError(t, err)
	require.Equal(t, summary.Answered, declined)
	require.Equal(t, summary.Answered, other.Refused)

	next, declined, err := asked(t, w, opts, nil, w.asks(t, nil, func(q *summary.Question) { q.Version = 2 }))
	require.NoError(t, err)
	require.Empty(t, declined)
	require.NotEqual(t, first.Question, next.Question)
}

// The loop answers what is handed out, beside its orders.
func TestTheLoopAnswersQuestions(t *testing.T) {
	w, opts := newWorld(t), options(t)
	w.questions = []v1.SiteQuestion{w.asks(t, nil, nil)}
	a := start(t, opts, w)
	var err error
	a.id, err = openIdentity(opts)
	require.NoError(t, err)
	defer a.id.close()
	require.NoError(t, a.turn(t.Context()))
	require.Len(t, w.said, 1)
	require.NoError(t, a.turn(t.Context()), "what was answered waits until it is asked for again")
	require.Len(t, w.said, 1)
	w.fail = func(int, string) (error, error) { return errors.New("down"), nil }
	require.Error(t, a.turn(t.Context()))
}
