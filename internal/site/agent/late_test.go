package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// weightsOf are those that train round n starts from; every round's differ.
func weightsOf(t *testing.T, blobs map[artifact.Digest][]byte, spec round.ModelSpec, n int) artifact.Descriptor {
	w := model.Initial(spec, uint64(100+n))
	for i := range w {
		for j := range w[i].F32 {
			if w[i].Name != round.TensorScale {
				w[i].F32[j] += float32(n) / 64
			}
		}
	}
	content, err := w.Encode()
	require.NoError(t, err)
	d := artifact.Describe(artifact.MediaTypeWeights, content)
	blobs[d.Digest] = content
	return d
}

// buffering makes an order that of round n of a buffered run, with the starts
// of the rounds before.
func buffering(t *testing.T, blobs map[artifact.Digest][]byte, n int, secure string) func(*round.Manifest) {
	return func(m *round.Manifest) {
		m.Params.Strategy = round.Strategy{Name: round.FedBuff, Buffer: 3, MaxStaleness: 2}
		m.Params.Secure.Mode, m.Params.Secure.Range = secure, 1024 // rows are not standardised here
		params, err := m.Params.Validate()
		require.NoError(t, err)
		m.Params, m.Number, m.Base = params, n, weightsOf(t, blobs, params.Model, n)
		for from := n - 1; from >= max(1, n-2); from-- {
			m.Starts = append(m.Starts, round.Start{Number: from, Base: weightsOf(t, blobs, params.Model, from).Digest})
		}
	}
}

// once starts an agent that performs one offer, and ends it.
func once(t *testing.T, opts Options, w *world, item v1.Work) (round.Answer, error) {
	a, err := New(opts, w, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	a.id, err = openIdentity(opts)
	require.NoError(t, err)
	defer a.id.close()
	require.NoError(t, a.enrol(t.Context()))
	return a.perform(t.Context(), item)
}

// An update whose round was closed before it came goes into the next round that
// takes it, as what it is; there it is sent once. One that nobody takes any more
// is forgotten, and the site trains anew.
func TestALateUpdateGoesIntoALaterRound(t *testing.T) {
	tests := []struct {
		name  string
		round int // in which it comes
		from  int // that the site says
		call  string
		code  string // of its refusal
	}{
		{"in time", 1, 0, "submit", "closed"},
		{"one round late", 2, 1, "submit", "closed"},
		{"one round late, as the upload says", 2, 1, "put", "no_open_stage"},
		{"as late as may be", 3, 1, "submit", "closed"},
		{"too late", 4, 0, "submit", "closed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts, w := options(t), newWorld(t)
			order := func(n int) v1.Work { return w.order(t, n, round.Train, buffering(t, w.blobs, n, round.SecureOff)) }
			closed := true
			w.fail = func(_ int, name string) (error, error) {
				if closed && name == tt.call {
					return problem(http.StatusConflict, tt.code), nil
				}
				return nil, nil
			}
			first, err := once(t, opts, w, order(1))
			require.Error(t, err)
			require.NotEmpty(t, first.Update)

			closed = false
			item := order(tt.round)
			w.offers = []v1.Work{item}
			answer, err := once(t, opts, w, item)
			require.NoError(t, err)
			require.Len(t, w.answered[tt.round], 1)
			sent := w.answered[tt.round][0]
			require.Equal(t, tt.from, sent.From)
			require.Equal(t, tt.from, opened(t, w, sent).From, "it is signed")
			if fresh := tt.from == 0 && tt.round > 1; fresh {
				require.NotEqual(t, first.Update, answer.Update)
			} else {
				require.Equal(t, first.Update, answer.Update)
			}

			// The round measures its own weights, whatever the site has learnt from.
			rows, held := rowsOf(t, opts)
			base, err := artifact.ParseTensors(w.blobs[artifact.Digest(item.Base.Digest)])
			require.NoError(t, err)
			want, err := trainer.Evaluate(round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: 30, Classes: 2}, base, held)
			require.NoError(t, err)
			want.Examples = int64(rows.Len())
			require.Equal(t, want, answer.Metrics)

			// It was given away: the next round gets another one.
			next, err := once(t, opts, w, order(tt.round+1))
			require.NoError(t, err)
			require.Zero(t, next.From)
			require.NotEqual(t, answer.Update, next.Update)
		})
	}
}

// Weights that the order lists under another digest are not those that the site
// started from.
func TestALateUpdateIsOnlyForItsOwnStart(t *testing.T) {
	opts, w := options(t), newWorld(t)
	w.fail = func(_ int, name string) (error, error) {
		if name == "submit" {
			return problem(http.StatusConflict, "closed"), nil
		}
		return nil, nil
	}
	_, err := once(t, opts, w, w.order(t, 1, round.Train, buffering(t, w.blobs, 1, round.SecureOff)))
	require.Error(t, err)
	answer, err := once(t, opts, w, w.order(t, 2, round.Train, func(m *round.Manifest) {
		buffering(t, w.blobs, 2, round.SecureOff)(m)
		m.Starts[0].Base = artifact.DigestOf([]byte("others"))
	}))
	require.Error(t, err)
	require.Zero(t, answer.From)
}

// Each call of a late submission fails once, before its effect and after it;
// and the one that the fabric refuses because it has it is not sent again.
func TestALateUpdateIsSentOnceWhateverFails(t *testing.T) {
	opts, w := options(t), newWorld(t)
	closed := problem(http.StatusConflict, "closed")
	w.fail = func(_ int, name string) (error, error) {
		if name == "submit" {
			return closed, nil
		}
		return nil, nil
	}
	order := func(n int) v1.Work { return w.order(t, n, round.Train, buffering(t, w.blobs, n, round.SecureOff)) }
	first, err := once(t, opts, w, order(1))
	require.Error(t, err)

	// The answer to this one is lost, and the round is closed when it is repeated.
	calls := 0
	w.fail = func(_ int, name string) (error, error) {
		if name != "submit" {
			return nil, nil
		}
		if calls++; calls == 1 {
			return nil, errDown
		}
		return closed, nil
	}
	_, err = once(t, opts, w, order(2))
	require.Error(t, err)
	require.Len(t, w.answered[2], 1)
	require.Equal(t, string(first.Update), w.answered[2][0].Update.Digest)

	// The fabric has it, and says so. The site has nothing to give then but what
	// it learns anew.
	w.fail = func(_ int, name string) (error, error) {
		if name == "submit" {
			return problem(http.StatusConflict, "conflict"), nil
		}
		return nil, nil
	}
	again, err := once(t, opts, w, order(3))
	require.Error(t, err)
	require.Equal(t, 1, again.From)
	w.fail = func(int, string) (error, error) { return nil, nil }
	fresh, err := once(t, opts, w, order(3))
	require.NoError(t, err)
	require.Zero(t, fresh.From)
	require.NotEqual(t, first.Update, fresh.Update)
}

// Behind masks nobody says who is late: site 3 advertises too late for round 1,
// and comes with the same update into round 2, for 707 thousandths. A vector
// that was masked is the same after a restart, and its update is in no other.
func TestALateUpdateIsMasked(t *testing.T) {
	g := newGroup(t, 4, round.Train, nil)
	g.order(round.Train, buffering(t, g.blobs, 1, round.SecureOn))
	first := g.item(round.StageAdvertise, nil)
	g.fail = func(_ round.Stage, call string) (error, error) {
		if call == "submit" {
			return problem(http.StatusConflict, "closed"), nil
		}
		return nil, nil
	}
	require.Error(t, g.ask(3, first))
	learnt := g.keptBy(3)
	require.Equal(t, 1, learnt.late.Number)
	g.fail = func(round.Stage, string) (error, error) { return nil, nil }
	g.until(round.StageCheck, 0, 1, 2)
	for i := range 3 {
		require.Equal(t, 1, g.keptBy(i).late.Used, "site %d", i)
	}

	g.sent = map[string][]v1.SubmissionRequest{}
	g.order(round.Train, buffering(t, g.blobs, 2, round.SecureOn))
	g.until(round.StageMask, 0, 1, 2, 3)
	require.Equal(t, learnt, g.keptBy(3), "nothing of it has left the site")
	for _, i := range []int{0, 3} {
		inbox := g.routing.Inbox(g.index(i))
		require.NoError(t, g.ask(i, g.item(round.StageMask, inbox)))
		require.NoError(t, g.ask(i, g.item(round.StageMask, inbox)))
		twice := g.sent[fmt.Sprintf("%s %s", round.StageMask, g.sites[i].Site)]
		require.Equal(t, twice[0].Update, twice[1].Update)
		require.Equal(t, twice[0].Message, twice[1].Message)
	}
	g.until(round.StageUnmask, 0, 1, 2, 3)

	sum := g.sum(0, 1, 2, 3)
	require.EqualValues(t, 3*1000+707, sum.Weight)
	var rows int64
	for i := range 4 {
		kept := g.keptBy(i)
		require.Equal(t, map[bool]int{true: 1, false: 2}[i == 3], kept.late.Number, "site %d", i)
		require.Equal(t, 2, kept.late.Used)
		rows += kept.late.Metrics.Examples
	}
	require.Equal(t, rows, sum.Metrics.Examples)
	require.Equal(t, learnt.update, g.keptBy(3).update)
	for at, tensor := range sum.Tensors {
		for j, got := range tensor.F64 {
			want := 0.707 * float64(learnt.update[at].F32[j])
			for i := range 3 {
				want += float64(g.keptBy(i).update[at].F32[j])
			}
			require.InDelta(t, want, got, 4*g.form.Codec.Step())
		}
	}
}

// An order for an older round, shown again, does not get what another has.
func TestAnUpdateIsInOneSumOnly(t *testing.T) {
	g := newGroup(t, 3, round.Train, nil)
	g.order(round.Train, buffering(t, g.blobs, 1, round.SecureOn))
	g.until(round.StageMask, 0, 1, 2)
	manifest, text, routing, index := g.manifest, g.text, g.routing, g.index(0)

	g.order(round.Train, buffering(t, g.blobs, 2, round.SecureOn)) // before any vector of round 1 was masked
	g.until(round.StageCheck, 0, 1, 2)
	require.Equal(t, 1, g.keptBy(0).late.Number)
	require.Equal(t, 2, g.keptBy(0).late.Used)

	g.manifest, g.text = manifest, text
	require.ErrorIs(t, g.ask(0, g.item(round.StageMask, routing.Inbox(index))), ErrSpent)

	// Nor is one update masked and another one written off for it: an older order
	// between had the site train again.
	g = newGroup(t, 3, round.Train, nil)
	g.order(round.Train, buffering(t, g.blobs, 2, round.SecureOn))
	g.until(round.StageMask, 0, 1, 2)
	manifest, text, routing, index = g.manifest, g.text, g.routing, g.index(0)
	g.order(round.Train, buffering(t, g.blobs, 1, round.SecureOn))
	require.NoError(t, g.ask(0, g.item(round.StageAdvertise, nil)))
	require.Equal(t, 1, g.keptBy(0).late.Number)
	g.manifest, g.text = manifest, text
	require.ErrorIs(t, g.ask(0, g.item(round.StageMask, routing.Inbox(index))), ErrSpent)
	require.Zero(t, g.keptBy(0).late.Used)
}

func TestLateUpdatesAreErased(t *testing.T) {
	opts, w := options(t), newWorld(t)
	_, err := once(t, opts, w, w.order(t, 1, round.Train, buffering(t, w.blobs, 1, round.SecureOff)))
	require.NoError(t, err)
	id, err := openIdentity(opts)
	require.NoError(t, err)
	defer id.close()
	for _, end := range []string{lateFile, lateUpdateFile} {
		require.Len(t, kept(t, opts, end), 1)
	}
	require.NoError(t, id.records.sweepLate(time.Now().Add(time.Hour+2*time.Minute)))
	require.Len(t, kept(t, opts, lateFile), 1, "three rounds of a minute, and an hour")
	require.NoError(t, id.records.sweepLate(time.Now().Add(time.Hour+4*time.Minute)))
	for _, end := range []string{lateFile, lateUpdateFile} {
		require.Empty(t, kept(t, opts, end))
	}
}

type keptUpdate struct {
	late   late
	update artifact.Tensors
}

// keptBy reads what a site has on its disk.
func (g *group) keptBy(i int) keptUpdate {
	id, err := openIdentity(g.sites[i])
	require.NoError(g.t, err)
	defer id.close()
	a := &Agent{opts: g.sites[i], id: id}
	o := order{Manifest: g.manifest}
	l, ok, err := a.late(o)
	require.NoError(g.t, err)
	require.True(g.t, ok)
	content, err := a.learnt(o, l)
	require.NoError(g.t, err)
	text, err := readAt(content, 0, content.SizeBytes)
	require.NoError(g.t, errors.Join(err, content.Close()))
	update, err := artifact.ParseTensors(text)
	require.NoError(g.t, err)
	l.Until = time.Time{}
	return keptUpdate{l, update}
}
