package postgres

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// Channels. Payloads hold ids only.
const (
	channelStage    = "fabric_stage"    // run/number/group/stage
	channelWork     = "fabric_work"     // region
	channelSnapshot = "fabric_snapshot" // version
	channelOutbox   = "fabric_outbox"   // nothing

	channelRevocation = "fabric_revocation" // nothing
)

const (
	pollAlone     = time.Second      // how often waiters look for themselves while nobody listens
	pollListening = 5 * time.Second  // and while somebody does, in case the connection is dead and says nothing
	forgetAfter   = 10 * time.Minute // a standing subscription that nobody used
)

// A hub listens on one connection and wakes everybody in the process who waits.
// A lost notification costs latency, never correctness: waiters look again.
type hub struct {
	mu       sync.Mutex
	waiters  map[string]map[chan struct{}]bool
	standing map[string]*standing
	up       atomic.Bool
	stop     context.CancelFunc
	done     chan struct{}
}

// A standing subscription outlives one wait, so that what happens between two
// waits is not missed.
type standing struct {
	wake   chan struct{}
	cancel func()
	used   time.Time
}

// listen starts the hub. It lives until close, beyond the context it was opened in.
func listen(ctx context.Context, cfg *pgx.ConnConfig, log *slog.Logger) *hub {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	h := &hub{waiters: map[string]map[chan struct{}]bool{}, standing: map[string]*standing{}, stop: stop, done: make(chan struct{})}
	go h.run(ctx, cfg, log)
	return h
}

func (h *hub) close() {
	h.stop()
	<-h.done
}

func (h *hub) run(ctx context.Context, cfg *pgx.ConnConfig, log *slog.Logger) {
	defer close(h.done)
	for pause := 50 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 2*time.Second) {
		began := time.Now()
		err := h.hear(ctx, cfg)
		h.up.Store(false)
		if ctx.Err() != nil {
			return
		}
		log.Warn("database notifications were interrupted", "error", err)
		if time.Since(began) > 10*time.Second {
			pause = 50 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// hear connects and passes notifications on until the connection fails.
func (h *hub) hear(ctx context.Context, cfg *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := become(ctx, conn, roleSystem); err != nil {
		return err
	}
	for _, channel := range []string{channelStage, channelWork, channelSnapshot, channelOutbox, channelRevocation} {
		if _, err := conn.Exec(ctx, "listen "+channel); err != nil {
			return err
		}
	}
	h.up.Store(true)
	h.wakeAll() // what was notified before we listened
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		h.wake(n.Channel)
		if n.Payload != "" {
			h.wake(n.Channel + ":" + n.Payload)
		}
	}
}

// subscribe returns a channel that is readable after the topic was notified:
// a channel's name, or that, ":" and a payload. Subscribe before looking.
func (h *hub) subscribe(topic string) (wake chan struct{}, cancel func()) {
	wake = make(chan struct{}, 1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiters[topic] == nil {
		h.waiters[topic] = map[chan struct{}]bool{}
	}
	h.waiters[topic][wake] = true
	return wake, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.waiters[topic], wake)
		if len(h.waiters[topic]) == 0 {
			delete(h.waiters, topic)
		}
	}
}

// stand returns the standing subscription of a topic. Two who share one may
// take each other's notice; the poll then wakes the other.
func (h *hub) stand(topic string) chan struct{} {
	now := time.Now()
	h.mu.Lock()
	s := h.standing[topic]
	if s != nil {
		s.used = now
		h.mu.Unlock()
		return s.wake
	}
	var old []*standing
	for name, other := range h.standing {
		if now.Sub(other.used) > forgetAfter {
			delete(h.standing, name)
			old = append(old, other)
		}
	}
	h.mu.Unlock()
	for _, other := range old {
		other.cancel()
	}
	wake, cancel := h.subscribe(topic)
	h.mu.Lock()
	s = h.standing[topic]
	if s == nil {
		h.standing[topic] = &standing{wake: wake, cancel: cancel, used: now}
	}
	h.mu.Unlock()
	if s != nil { // somebody else was faster
		cancel()
		return s.wake
	}
	return wake
}

// look says that the caller looks at the topic's state now: what was notified
// before is part of what it sees.
func (h *hub) look(topic string) {
	select {
	case <-h.stand(topic):
	default:
	}
}

// wait returns true when wake was notified, false after at most limit or when
// it is time to look again, and the context's error when it is done.
func (h *hub) wait(ctx context.Context, wake <-chan struct{}, limit time.Duration) (bool, error) {
	poll := pollAlone
	if h.up.Load() {
		poll = pollListening
	}
	timer := time.NewTimer(max(0, min(limit, poll)))
	defer timer.Stop()
	select {
	case <-wake:
		return true, nil
	case <-timer.C:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (h *hub) wake(topic string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for wake := range h.waiters[topic] {
		poke(wake)
	}
}

func (h *hub) wakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, waiters := range h.waiters {
		for wake := range waiters {
			poke(wake)
		}
	}
}

// poke leaves one notice, however many there were.
func poke(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}
