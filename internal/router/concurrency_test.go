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

// A server of 16 workers, first come first served, gets three times what it
// can do: ten elevenths of it from one tenant. The other one's 99th percentile
// is at most twice what it is alone.
func TestOverloadIsSharedFairly(t *testing.T) {
	const workers, service, capacity = 16, 5 * time.Millisecond, 3200
	run := func(t *testing.T, big int) (small []time.Duration, refused map[string]int, done int) {
		synctest.Test(t, func(t *testing.T) {
			slots := make(chan struct{}, workers)
			s := newStage(t, "eu", func(ctx context.Context) error {
				select {
				case slots <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
				defer func() { <-slots }()
				// 4 to 6 ms: workers that all began and ended together would make whoever
				// finds them busy wait for all of another's time, or for none.
				return after(service - time.Millisecond + rand.N(2*time.Millisecond))(ctx)
			})
			ctx, cancel := context.WithCancel(t.Context())
			var group sync.WaitGroup
			group.Go(func() { s.adapt(ctx) })
			refused = map[string]int{}
			p := s.plan.Load()
			targets := map[string]*target{}
			for _, tenant := range []string{"big", "small"} {
				targets[tenant] = p.targets[p.table.Target(tenant, "own", "m", "production")]
			}
			send := func(tenant string, rate int, during, warm time.Duration) {
				began := time.Now()
				for n := range int(during.Seconds() * float64(rate)) {
					time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(rate))))
					counted := time.Since(began) > warm
					group.Go(func() {
						began := time.Now()
						_, err := s.one(ctx, func(t *trial) { t.target = targets[tenant] })
						s.mu.Lock()
						defer s.mu.Unlock()
						switch {
						case !counted:
						case err != nil:
							refused[tenant]++
						default:
							done++
							if tenant == "small" {
								small = append(small, time.Since(began))
							}
						}
					})
				}
			}
			group.Go(func() { send("small", 3*capacity/11, 10*time.Second, 5*time.Second) })
			if big > 0 {
				group.Go(func() { send("big", big, 10*time.Second, 5*time.Second) })
			}
			time.Sleep(12 * time.Second)
			cancel()
			group.Wait()
		})
		slices.Sort(small)
		return small, refused, done
	}
	alone, _, _ := run(t, 0)
	beside, refused, done := run(t, 3*capacity*10/11)
	tail := func(d []time.Duration) time.Duration { return d[len(d)*99/100] }
	t.Logf("small tenant: p99 %v alone, %v beside; refused %v; done %.0f/s of %d", tail(alone), tail(beside), refused, float64(done)/5, capacity)
	require.LessOrEqual(t, tail(beside), 2*tail(alone))
	require.Zero(t, refused["small"])
	require.Greater(t, float64(done)/5, 0.95*capacity, "what it can do, it does")
}
