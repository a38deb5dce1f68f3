package router

import (
	"context"
	"sync"
	"time"

	"github.com/atom-fabric/fabric/domain/endpoint"
)

// How long, and how many, requests wait for an endpoint that has all it can
// take. While the queue never empties, nobody waits long: a standing queue adds
// its whole length to every answer and serves nobody better.
// Source: CoDel as in Maurer, Fail at Scale, ACM Queue 13(8), 2015.
const (
	longestWait  = 500 * time.Millisecond
	standingWait = 100 * time.Millisecond
	standing     = time.Second // without an empty moment
	queueTotal   = 4096
	queueTenant  = 1024
)

// limitEvery is how often the limits of endpoints move.
const limitEvery = 100 * time.Millisecond

// A queue is where requests wait for room at an endpoint. It takes turns
// between tenants, so that one with ten times the requests delays another by
// one of its own requests, not by all of them.
type queue struct {
	live     *endpoint.Live
	gradient endpoint.Gradient // of the goroutine that steps it

	mu    sync.Mutex
	line  endpoint.Fair[*waiter]
	empty time.Time // when it last was
}

// A waiter waits for its turn.
type waiter struct{ turn chan struct{} }

// wait returns when the request has its room, which is counted already.
func (q *queue) wait(ctx context.Context, tenant string) error {
	w := &waiter{turn: make(chan struct{})}
	now := time.Now()
	q.mu.Lock()
	all, own := q.line.Len(tenant)
	if all >= queueTotal || own >= queueTenant {
		q.mu.Unlock()
		return errBusy
	}
	if all == 0 {
		q.empty = now
	}
	patience := longestWait
	if now.Sub(q.empty) > standing {
		patience = standingWait
	}
	if end, ok := ctx.Deadline(); ok {
		patience = min(patience, end.Sub(now)/2)
	}
	q.line.Push(tenant, w)
	q.live.Queue(1)
	q.mu.Unlock()
	q.next() // room may have come between the pick and now

	timer := time.NewTimer(patience)
	defer timer.Stop()
	var err error
	select {
	case <-w.turn:
		return nil
	case <-timer.C:
		err = errBusy
	case <-ctx.Done():
		if err = errTimeout; ctx.Err() == context.Canceled {
			err = errGone
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.line.Remove(tenant, w) {
		return nil // its turn came at the same moment
	}
	q.live.Queue(-1)
	return err
}

// next gives the room that there is to those whose turn it is. It is called
// whenever a request ends, and costs a load where nobody waits.
func (q *queue) next() {
	if q.live.Queued() == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if all, _ := q.line.Len(""); all == 0 || !q.live.TakeQueued() {
			return
		}
		w, _ := q.line.Pop()
		q.live.Queue(-1)
		close(w.turn)
	}
}

// lateness takes limitEvery and returns how much later than wanted this process
// was woken meanwhile, on average.
func lateness(ctx context.Context) (lag time.Duration, ok bool) {
	const times = 10
	timer := time.NewTimer(limitEvery / times)
	defer timer.Stop()
	first, n := time.Now(), 0
	for began := first; began.Sub(first) < limitEvery; n++ { // fewer times if each is late
		if n > 0 {
			timer.Reset(limitEvery / times)
		}
		select {
		case <-ctx.Done():
			return 0, false
		case <-timer.C:
		}
		now := time.Now()
		lag += max(0, now.Sub(began)-limitEvery/times)
		began = now
	}
	return lag / time.Duration(n), true
}

// adapt moves the limits of endpoints, and the door, until ctx ends.
func (r *Router) adapt(ctx context.Context) {
	keeper := doorkeeper{waited: r.waited, began: r.opts.Now()}
	for {
		lag, ok := lateness(ctx)
		if !ok {
			return
		}
		p := r.plan.Load()
		if p == nil {
			continue
		}
		for _, n := range p.nodes {
			n.queue.gradient.Step(r.now(), int64(lag), n.live)
			n.queue.next()
		}
		keeper.window(p, r.opts.Now())
	}
}
