package router

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A machine runs an upstream of so many workers, first come first served, some
// way off. A request takes service, a fifth more or less: workers that all begin
// and end together would give as many answers in a moment as in none. While it is starved nothing on it goes on: neither what it answers
// nor, if the router is on it too, what is sent.
type machine struct {
	slots    chan struct{}
	service  time.Duration
	distance time.Duration // of a round trip
	mu       sync.Mutex
	starved  time.Time // until then
}

// run returns when the machine has time to go on.
func (m *machine) run() {
	for {
		m.mu.Lock()
		until := m.starved
		m.mu.Unlock()
		if !time.Now().Before(until) {
			return
		}
		time.Sleep(time.Until(until))
	}
}

func (m *machine) answer(ctx context.Context) error {
	time.Sleep(m.distance / 2)
	select {
	case m.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	m.mu.Lock()
	service := m.service*4/5 + rand.N(m.service*2/5)
	m.mu.Unlock()
	err := after(service)(ctx)
	m.run()
	<-m.slots
	time.Sleep(m.distance / 2)
	return err
}

// starve takes the machine away for 2 to 25 ms, again and again: for a quarter
// of the time in all.
func (m *machine) starve(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil {
		pause := 2*time.Millisecond + time.Duration(random.Int64N(int64(23*time.Millisecond)))
		m.mu.Lock()
		m.starved = time.Now().Add(pause)
		m.mu.Unlock()
		time.Sleep(4 * pause)
	}
}

// A spell is a time of steady load on a machine.
type spell struct {
	during time.Duration
	rate   int // requests a second
	change func(*machine)
}

// A tally is what came of a spell, without its first part, in which the limiter
// learns.
type tally struct {
	sent, good int
	took       []time.Duration
	perSecond  float64 // good answers
}

func (t *tally) share() float64 { return float64(t.good) / float64(t.sent) }

func (t *tally) p(percent int) time.Duration {
	slices.Sort(t.took)
	return t.took[(len(t.took)-1)*percent/100]
}

const learning = 3 * time.Second

// simulate loads a machine, one spell after another.
func simulate(t *testing.T, m *machine, starved bool, spells ...spell) []tally {
	out := make([]tally, len(spells))
	synctest.Test(t, func(t *testing.T) {
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 1))
		t.Logf("seed %d", seed)
		m.slots = make(chan struct{}, cap(m.slots))
		s := newStage(t, "eu", m.answer)
		ctx, cancel := context.WithCancel(t.Context())
		var background, group sync.WaitGroup
		background.Go(func() { s.adapt(ctx) })
		if starved {
			background.Go(func() { m.starve(ctx, random) })
		}
		for i, now := range spells {
			if now.change != nil {
				m.mu.Lock()
				now.change(m)
				m.mu.Unlock()
			}
			began := time.Now()
			for n := range int(now.during.Seconds() * float64(now.rate)) {
				time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(now.rate))))
				if starved {
					m.run()
				}
				counted := time.Since(began) > learning
				group.Go(func() {
					began := time.Now()
					_, err := s.one(ctx, nil)
					if !counted {
						return
					}
					s.mu.Lock()
					defer s.mu.Unlock()
					out[i].sent++
					if err == nil {
						out[i].good++
						out[i].took = append(out[i].took, time.Since(began))
					}
				})
			}
			t.Logf("spell %d: limit %d, %d under way, %d wait", i, s.target.nodes[0].live.Limit(), s.target.nodes[0].live.InFlight(), s.target.nodes[0].live.Queued())
		}
		group.Wait()
		cancel()
		background.Wait()
	})
	for i := range out {
		out[i].perSecond = float64(out[i].good) / (spells[i].during - learning).Seconds()
		t.Logf("spell %d: %d of %d good, %.0f/s, p50 %v p99 %v", i, out[i].good, out[i].sent, out[i].perSecond, out[i].p(50), out[i].p(99))
	}
	return out
}

// P6: at 80 % of what the upstream can do nobody is refused, near or 80 ms away,
// also where the scheduler gives and takes the processor as it likes.
func TestNobodyIsRefusedBelowSaturation(t *testing.T) {
	for _, tt := range []struct {
		name     string
		distance time.Duration
		workers  int
		starved  bool
	}{
		{"near", 0, 8, false},
		{"near, starved", 0, 8, true},
		{"80 ms away", 80 * time.Millisecond, 8, false},
		{"80 ms away, starved", 80 * time.Millisecond, 8, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &machine{slots: make(chan struct{}, tt.workers), service: 5 * time.Millisecond, distance: tt.distance}
			rate := tt.workers * 200 * 4 / 5
			if tt.starved { // the machine has three quarters of its time
				rate = rate * 3 / 4
			}
			got := simulate(t, m, tt.starved, spell{during: 3*time.Second + learning, rate: rate / 8}, spell{during: 20 * time.Second, rate: rate})
			require.Equal(t, got[0].sent, got[0].good)
			require.GreaterOrEqual(t, got[1].share(), 0.9999)
			require.Less(t, got[1].p(99), tt.distance+150*time.Millisecond)
		})
	}
}

// Half more than it can do: it does what it can, in bounded time, and when the
// load is less again everybody is served.
func TestOverloadIsShedAndPasses(t *testing.T) {
	for _, starved := range []bool{false, true} {
		m := &machine{slots: make(chan struct{}, 8), service: 5 * time.Millisecond}
		capacity := 1600
		if starved {
			capacity = 1200
		}
		got := simulate(t, m, starved, spell{during: 6 * time.Second, rate: capacity / 2}, spell{during: 20 * time.Second, rate: capacity * 3 / 2}, spell{during: 10 * time.Second, rate: capacity / 2})
		require.GreaterOrEqual(t, got[1].perSecond, 0.95*float64(capacity))
		require.Less(t, got[1].p(99), 200*time.Millisecond)
		require.Equal(t, got[2].sent, got[2].good)
		require.Less(t, got[2].p(99), 60*time.Millisecond)
	}
}

// The upstream becomes twelve times slower for each request, but no less able:
// nobody is refused for that. Then it becomes less able, and is quick again.
func TestAStepInTheLatency(t *testing.T) {
	m := &machine{slots: make(chan struct{}, 400), service: 5 * time.Millisecond}
	got := simulate(t, m, false, spell{during: 6 * time.Second, rate: 2000},
		spell{during: 20 * time.Second, rate: 2000, change: func(m *machine) { m.service = 60 * time.Millisecond }},
		spell{during: 20 * time.Second, rate: 2000, change: func(m *machine) { m.service = 300 * time.Millisecond }}, // 1,333/s
		spell{during: 10 * time.Second, rate: 2000, change: func(m *machine) { m.service = 5 * time.Millisecond }})
	require.Equal(t, 1.0, got[0].share())
	require.GreaterOrEqual(t, got[1].share(), 0.9999)
	require.Less(t, got[1].p(99), 100*time.Millisecond)
	require.GreaterOrEqual(t, got[2].perSecond, 0.9*1333) // of 400 workers that begin and end together
	require.Less(t, got[2].p(99), 1200*time.Millisecond)  // half a second of it waiting here
	require.GreaterOrEqual(t, got[3].share(), 0.9999)
	require.Less(t, got[3].p(99), 20*time.Millisecond)
}
