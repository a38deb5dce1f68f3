package router

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/atom-fabric/fabric/domain/endpoint"
)

// A sprint is a request that may be under way at several endpoints. The first
// leg runs in the request's goroutine; the others, if it is late, in those of a
// timer. Nobody answers for a sprint before all its legs have ended, so what
// the request lent them may be used again.
type sprint struct {
	r   *Router
	t   *trial
	ctx context.Context // of the request
	end time.Time       // of all legs

	mu     sync.Mutex
	ended  sync.Cond
	timer  *time.Timer
	delay  time.Duration
	cancel [tries]context.CancelFunc
	legs   int // started
	under  int // way
	winner int // leg that answered first, -1: none yet
	out    result
	at     int // candidate that the winner asked
	over   bool
	probe  bool // the first leg is a probe: its hedge costs no budget
}

// race sends the request to the entry and, if no answer comes within twice the
// 95th percentile, to another endpoint as well. The first answer counts, and
// the others are cancelled. While there is another endpoint, it has half of the
// time, so that a failure can still be made up for.
func (r *Router) race(ctx context.Context, t *trial, e entry) (result, error) {
	t.note(e)
	alone := len(t.target.candidates) == 1
	now := time.Now()
	end, ok := ctx.Deadline()
	switch {
	case !ok:
		end = now.Add(longestDeadline)
	case t.sent == 1 && !alone:
		end = now.Add(end.Sub(now) / 2)
	}
	first, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	if t.once || alone || t.sent >= tries {
		out, err := r.leg(first, t, e, func() endpoint.Result { return endpoint.Void })
		t.chosen = e.i
		return out, err
	}
	s := &sprint{r: r, t: t, ctx: ctx, end: end, winner: -1, delay: time.Duration(e.pace.HedgeAfter()), probe: e.probe, legs: 1, under: 1}
	s.ended.L = &s.mu
	s.cancel[0] = cancel
	s.mu.Lock()
	s.timer = time.AfterFunc(s.delay, s.hedge)
	s.mu.Unlock()
	out, err := r.leg(first, t, e, func() endpoint.Result { return s.verdict(0) })
	return s.finish(e.i, out, err)
}

// note remembers that the request goes to an endpoint.
func (t *trial) note(e entry) {
	t.skip[t.sent] = e.live
	t.sent++
}

// finish ends the first leg and waits for the others.
func (s *sprint) finish(i int, out result, err error) (result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.under--
	if err == nil || s.under == 0 || final(err) {
		s.stop()
	}
	if err == nil && s.winner < 0 {
		s.winner, s.out, s.at = 0, out, i
	} else if err == nil {
		out.Close()
	}
	for s.under > 0 {
		s.ended.Wait()
	}
	s.stop()
	if s.winner >= 0 {
		s.t.chosen = s.at
		return s.out, nil
	}
	return result{}, err
}

// final reports whether an error needs no second opinion.
func final(err error) bool {
	var input *inputError
	return errors.As(err, &input)
}

// stop lets no further leg begin, and cancels all but the winner.
func (s *sprint) stop() {
	s.over = true
	s.timer.Stop()
	for k := range s.legs {
		if k != s.winner {
			s.cancel[k]()
		}
	}
}

// verdict says of a cancelled leg whether it lost to one that began later.
func (s *sprint) verdict(leg int) endpoint.Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.winner > leg {
		return endpoint.Lost
	}
	return endpoint.Void
}

// hedge asks another endpoint, if there is one that has room and the budgets
// allow it, and comes again while nobody answers.
func (s *sprint) hedge() {
	e, k, ctx, ok := s.begin()
	if !ok {
		return
	}
	out, err := s.r.leg(ctx, s.t, e, func() endpoint.Result { return s.verdict(k) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.under--
	switch {
	case err == nil && s.winner < 0 && !s.over:
		s.winner, s.out, s.at = k, out, e.i
		s.r.metrics.hedgesWon.Inc()
		s.stop()
	case err == nil:
		out.Close()
	case s.under == 0: // the first one failed before; no answer can come any more
		s.stop()
	}
	s.ended.Broadcast()
}

func (s *sprint) begin() (entry, int, context.Context, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, r := s.t, s.r
	if s.over || t.sent >= tries || s.ctx.Err() != nil || !time.Now().Before(s.end) {
		return entry{}, 0, nil, false
	}
	ask := t.ask
	ask.Now, ask.Probe, ask.Crowd, ask.Skip = r.now(), false, false, t.skip[:t.sent]
	ask.Random = ask.Random*0x9e3779b97f4a7c15 + 1
	ask.Instead = nil // a canary that is late is no reason to leave its side
	i := r.pick(t.target, &ask)
	if i < 0 {
		return entry{}, 0, nil, false
	}
	e := entry{i: i, live: t.target.nodes[i].live, pace: t.target.paces[i], probe: ask.Probe}
	free := s.probe && s.legs == 1
	if !free && (!r.hedges.Spend(ask.Now) || !r.retries.Spend(ask.Now)) || !e.live.Enter() {
		if e.probe {
			e.live.Begin()
			e.live.Report(endpoint.Outcome{Now: ask.Now, Result: endpoint.Void, Probe: true})
		}
		return entry{}, 0, nil, false
	}
	r.metrics.hedges.Inc()
	t.note(e)
	ctx, cancel := context.WithDeadline(s.ctx, s.end)
	k := s.legs
	s.cancel[k] = cancel
	s.legs++
	s.under++
	s.delay *= 2
	s.timer.Reset(s.delay)
	return e, k, ctx, true
}
