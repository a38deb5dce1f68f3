package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/endpoint"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/routing"
	"github.com/atom-fabric/fabric/internal/upstream"
)

// A stage is a router over endpoints that are functions. Its time is a
// bubble's: what takes minutes is over at once, and the same each time but for
// the seed of the drawn ones.
type stage struct {
	*Router
	target *target
	play   []func(ctx context.Context) error // by candidate

	mu     sync.Mutex
	sent   []int       // by candidate
	last   []time.Time // when it was last sent something
	under  []int       // way
	took   []time.Duration
	failed map[string]int
	asked  int
}

func newStage(t *testing.T, home string, play ...func(ctx context.Context) error) *stage {
	t.Helper()
	r, err := New(Options{
		Region: home, Version: "test", Listener: &net.TCPAddr{}, StateDir: t.TempDir(), Client: upstream.New(upstream.Options{}),
		Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Confirmed: time.Now, MaxAge: time.Hour, Now: time.Now,
	})
	require.NoError(t, err)
	s := routing.Snapshot{Version: 1, Policies: []policy.Document{policy.Default()}, Regions: []routing.Region{{Name: "eu", Policy: 1}},
		Packages: []routing.Package{{Tenant: "own", Model: "m", Version: 1, Manifest: artifact.DigestOf(nil), Regions: []string{"eu"}}},
		Routes:   []routing.Route{{Tenant: "own", Model: "m", Environment: "production", Version: 1, Regions: []string{"eu"}, Callers: []string{"big", "small"}}}}
	for i := range play {
		s.Endpoints = append(s.Endpoints, routing.Endpoint{Name: fmt.Sprintf("eu-%d", i), Region: "eu", Kind: policy.Neural, URL: fmt.Sprintf("http://127.0.0.1:%d", i+1)})
	}
	require.NoError(t, r.Use(s))
	n := len(play)
	return &stage{Router: r, target: r.plan.Load().targets[r.plan.Load().table.Target("own", "own", "m", "production")],
		play: play, sent: make([]int, n), last: make([]time.Time, n), under: make([]int, n), failed: map[string]int{}}
}

// one sends a request and keeps how it went.
func (s *stage) one(ctx context.Context, change func(*trial)) (*trial, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	t := &trial{target: s.target, ask: endpoint.Ask{Near: "eu", LimitMillis: latencyLimit, Weights: policy.Default().Weights, Random: rand.Uint64()}}
	t.send = func(ctx context.Context, i int) (result, error) {
		s.mu.Lock()
		s.sent[i]++
		s.under[i]++
		s.last[i] = time.Now()
		s.mu.Unlock()
		err := s.play[i](ctx)
		s.mu.Lock()
		s.under[i]--
		s.mu.Unlock()
		switch {
		case err != nil && errors.Is(ctx.Err(), context.Canceled):
			err = errGone
		case err != nil && ctx.Err() != nil:
			err = errTimeout
		}
		return result{}, err
	}
	if change != nil {
		change(t)
	}
	began := time.Now()
	_, err := s.try(ctx, t)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	s.took = append(s.took, time.Since(began))
	if err != nil {
		s.failed[err.Error()]++
	}
	return t, err
}

// load sends rate requests a second for so long and waits for all of them.
func (s *stage) load(rate int, during time.Duration) {
	var group sync.WaitGroup
	for range int(during.Seconds() * float64(rate)) {
		group.Go(func() { _, _ = s.one(context.Background(), nil) })
		time.Sleep(time.Second / time.Duration(rate))
	}
	group.Wait()
}

func (s *stage) reset() {
	s.took, s.asked, s.failed = nil, 0, map[string]int{}
	clear(s.sent)
}

func (s *stage) p(percent int) time.Duration {
	slices.Sort(s.took)
	return s.took[(len(s.took)-1)*percent/100]
}

func (s *stage) amplification() float64 {
	sum := 0
	for _, n := range s.sent {
		sum += n
	}
	return float64(sum) / float64(s.asked)
}

var errRefusedConnection = fmt.Errorf("%w: %w", errUnreachable, &upstream.Error{Err: upstream.ErrUnreachable})

// after answers after so long, or ends with the context.
func after(took time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(took):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func hang(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// healthy takes 4 to 6 ms, and one in a hundred 9 ms.
func healthy(ctx context.Context) error {
	took := 4*time.Millisecond + rand.N(2*time.Millisecond)
	if rand.N(100) == 0 {
		took = 9 * time.Millisecond
	}
	return after(took)(ctx)
}

// One of two endpoints misbehaves for six seconds, at 100 and at 1,000 requests
// a second. Bounds: every request is answered, the 99th percentile is at most
// 50 ms at 5 ms upstream, at most 1.2 sends for a request.
func TestOneOfTwoMisbehaves(t *testing.T) {
	fail := func(share float64, err error) func(context.Context) error {
		return func(ctx context.Context) error {
			if rand.Float64() < share {
				return err
			}
			return healthy(ctx)
		}
	}
	flap := func(period time.Duration) func(context.Context) error {
		return func(ctx context.Context) error {
			if time.Now().UnixNano()/int64(period)%2 == 0 {
				return errRefusedConnection
			}
			return healthy(ctx)
		}
	}
	tests := []struct {
		name  string
		fault func(context.Context) error
		most  float64 // share of the requests that the faulty one still gets, at 1,000/s
	}{
		{"hangs", hang, 0.02},
		{"takes two seconds", after(2 * time.Second), 0.02},
		{"takes 100 ms", after(100 * time.Millisecond), 0.02},
		{"refuses", fail(1, errRefusedConnection), 0.02},
		{"breaks in the middle", func(ctx context.Context) error { _ = after(3 * time.Millisecond)(ctx); return errBadAnswer }, 0.02},
		{"errs always, at once", fail(1, errBadAnswer), 0.02},
		{"errs at 30 %", fail(0.3, errBadAnswer), 0.2},
		{"errs at 5 %", fail(0.05, errBadAnswer), 0.55},
		{"flaps every second", flap(time.Second), 0.4},
		{"flaps every 100 ms", flap(100 * time.Millisecond), 0.4},
	}
	for _, tt := range tests {
		for _, rate := range []int{100, 1000} {
			t.Run(fmt.Sprintf("%s at %d", tt.name, rate), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					broken := false
					s := newStage(t, "eu", func(ctx context.Context) error {
						if broken {
							return tt.fault(ctx)
						}
						return healthy(ctx)
					}, healthy)
					s.load(rate, 5*time.Second)
					require.Positive(t, s.sent[0], "it has its part before")
					require.Empty(t, s.failed)
					s.reset()
					broken = true
					s.load(rate, 6*time.Second)
					t.Logf("p99 %v, the faulty one got %d of %d, %.3f sends a request", s.p(99), s.sent[0], s.asked, s.amplification())
					require.Empty(t, s.failed)
					require.LessOrEqual(t, s.p(99), 50*time.Millisecond)
					require.LessOrEqual(t, s.amplification(), 1.2)
					most := tt.most
					if rate == 100 {
						most += 0.05 // each probe weighs more
					}
					require.LessOrEqual(t, float64(s.sent[0])/float64(s.asked), most)
					broken = false
					s.load(100, 40*time.Second)
					s.reset()
					s.load(100, 20*time.Second)
					require.Empty(t, s.failed)
					require.Positive(t, s.sent[0], "and after")
					require.Equal(t, endpoint.Open, s.target.nodes[0].live.Standing(s.now(), 0))
				})
			})
		}
	}
}

// Where everything fails there is nothing to be won by sending more.
func TestTroubleEverywhereIsNotMultiplied(t *testing.T) {
	for name, fault := range map[string]func(context.Context) error{
		"errs": func(context.Context) error { return errBadAnswer }, "hangs": hang, "slow": after(300 * time.Millisecond),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, "eu", fault, fault, fault)
				s.load(100, 20*time.Second)
				require.LessOrEqual(t, s.amplification(), 1.2+0.02, "and the probes' hedges")
				require.LessOrEqual(t, s.p(100), 2*time.Second)
				if name == "slow" {
					require.Empty(t, s.failed, "ejection ranks: somebody is still asked")
				}
			})
		})
	}
}

func TestTwoOfThreeHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := false
		faulty := func(ctx context.Context) error {
			if broken {
				return hang(ctx)
			}
			return healthy(ctx)
		}
		s := newStage(t, "eu", faulty, faulty, healthy)
		s.load(300, 5*time.Second)
		s.reset()
		broken = true
		s.load(300, 6*time.Second)
		require.Empty(t, s.failed)
		require.LessOrEqual(t, s.p(99), 50*time.Millisecond)
		require.LessOrEqual(t, s.amplification(), 1.2)
	})
}

// What another endpoint would refuse as well, or what must not be done twice,
// is not sent again.
func TestWhatIsNotSentAgain(t *testing.T) {
	tests := []struct {
		name   string
		once   bool
		err    error
		sent   int
		passed bool
	}{
		{"bad input", false, &inputError{"no"}, 1, false},
		{"a failure", false, errBadAnswer, 2, true},
		{"a refused connection", false, errRefusedConnection, 2, true},
		{"a failure of what must not be done twice", true, errBadAnswer, 1, false},
		{"what certainly was not done", true, errRefusedConnection, 2, true},
		{"what broke after it was sent", true, fmt.Errorf("%w: %w", errUnreachable, &upstream.Error{Err: upstream.ErrReset}), 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				play := func(context.Context) error {
					if calls++; calls == 1 {
						return tt.err
					}
					return nil
				}
				s := newStage(t, "eu", play, play)
				trial, err := s.one(t.Context(), func(t *trial) { t.once = tt.once })
				require.Equal(t, tt.passed, err == nil, "%v", err)
				require.Equal(t, tt.sent, trial.sent)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "eu", after(500*time.Millisecond), after(500*time.Millisecond))
		trial, err := s.one(t.Context(), func(t *trial) { t.once = true })
		require.NoError(t, err)
		require.Equal(t, 1, trial.sent, "nor is it hedged")
		trial, err = s.one(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, 2, trial.sent)
	})
}

// A tenant whose deadlines are too short, or who leaves, must not set an
// endpoint aside for everybody.
func TestNobodyIsBlamedForTheCallersHaste(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "eu", healthy, healthy)
		s.load(100, time.Second)
		for range 200 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, err := s.one(ctx, nil)
			require.ErrorIs(t, err, errTimeout)
			cancel()
			ctx, cancel = context.WithCancel(t.Context())
			time.AfterFunc(time.Millisecond, cancel)
			_, err = s.one(ctx, nil)
			require.ErrorIs(t, err, errGone)
		}
		for _, n := range s.target.nodes {
			require.Equal(t, endpoint.Open, n.live.Standing(s.now(), 0))
			require.Zero(t, n.live.InFlight())
		}
	})
}

// Whoever finds out that the only endpoints hang is told that nothing came in
// time; once they are set aside, that nobody can answer.
func TestWhenAllHangNobodyIsHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "eu", hang, hang)
		var codes []string
		for range 8 {
			trial, err := s.one(t.Context(), nil)
			codes = append(codes, unanswered(trial, err).code)
		}
		require.Equal(t, "deadline_exceeded", codes[0])
		require.Equal(t, "none_healthy", codes[len(codes)-1])
	})
}

func TestACallerWhoLeavesIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "eu", hang, hang)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, cancel)
		began := time.Now()
		trial, err := s.one(ctx, nil)
		require.ErrorIs(t, err, errGone)
		require.Equal(t, 300*time.Millisecond, time.Since(began))
		require.Greater(t, trial.sent, 1, "hedged meanwhile")
		require.Equal(t, []int{0, 0}, s.under)
	})
}
