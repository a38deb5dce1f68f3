//go:build bench

package load

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/tests/harness"
)

// distance is what a round trip between two regions takes longer than one
// within: half of it each way.
const distance = 80 * time.Millisecond

// farAway listens for a server as if it were that far away.
func farAway(t testing.TB, to string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				time.Sleep(distance) // of the handshake
				far, err := net.Dial("tcp", to)
				if err != nil {
					near.Close()
					return
				}
				go carry(far, near)
				carry(near, far)
			}()
		}
	}()
	return l.Addr().String()
}

// carry copies with half of the distance between a byte's arrival and its
// departure, however many are on the way.
func carry(from, to net.Conn) {
	type chunk struct {
		due   time.Time
		bytes []byte
	}
	way := make(chan chunk, 1024)
	go func() {
		defer to.Close()
		for c := range way {
			time.Sleep(time.Until(c.due))
			if _, err := to.Write(c.bytes); err != nil {
				from.Close()
			}
		}
	}()
	defer close(way)
	for {
		buf := make([]byte, 16<<10)
		n, err := from.Read(buf)
		if n > 0 {
			way <- chunk{time.Now().Add(distance / 2), buf[:n]}
		}
		if err != nil {
			return
		}
	}
}

// TestRouterDistance is the budget P6: at 80 % of what the router can do, 95 %
// of the answers come within 500 ms in a region, and within a second from
// another one.
func TestRouterDistance(t *testing.T) {
	near, far := startServer(t, answerOf(1000), 5*time.Millisecond), startServer(t, answerOf(1000), 5*time.Millisecond)
	behind := &server{address: farAway(t, far.address)}
	f := startOurs(t, buildRouter(t), "eu", map[string][]*server{"eu": {near}, "us": {behind}}, nil)
	var b strings.Builder
	fmt.Fprintf(&b, "# Distance\n\nThe router in region eu, an upstream of 5 ms there and one in us behind %v a round trip. Saturation is what 128 connections get\n"+
		"that ask again as soon as they are answered; then requests come by the clock at 80 %% of that. Load, router and upstreams share the cores.\n\n"+
		"- command: `make faults-router`\n- machine: %s\n\n| answered in | saturation, /s | load, /s | good, %% | p50, ms | p95, ms | p99, ms | bound of p95, ms |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n", distance, harness.Describe(t))
	for _, where := range []struct {
		region string
		bound  float64
	}{{"eu", 500}, {"us", 1000}} {
		g := *f
		g.body = strings.TrimSuffix(f.body, "}") + `,"preferences":{"region":"` + where.region + `"}}`
		client := newClient(1024)
		var done atomic.Int64
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		var group sync.WaitGroup
		for range 128 {
			group.Go(func() {
				for ctx.Err() == nil {
					if _, whole := g.ask(ctx, client, "", ""); whole {
						done.Add(1)
					}
				}
			})
		}
		time.Sleep(2 * time.Second) // connections open, limits move
		before := done.Load()
		time.Sleep(3 * time.Second)
		saturation := float64(done.Load()-before) / 3
		cancel()
		group.Wait()
		var p pace
		var refused, broken atomic.Int64
		p.run(time.Now(), int(0.8*saturation), 8*time.Second, func() bool {
			status, whole := g.ask(context.Background(), client, "", "")
			switch {
			case status >= 500:
				refused.Add(1)
			case !whole:
				broken.Add(1)
			}
			return whole
		})
		p.group.Wait()
		client.CloseIdleConnections()
		good := 100 * float64(goods(p.samples)) / float64(len(p.samples))
		fmt.Fprintf(&b, "| %s | %.0f | %.0f | %.2f | %.1f | %.1f | %.1f | %.0f |\n", where.region, saturation, 0.8*saturation, good,
			quantile(p.samples, 50), quantile(p.samples, 95), quantile(p.samples, 99), where.bound)
		t.Logf("%s: %d refused, %d broken\n%s", where.region, refused.Load(), broken.Load(), b.String())
		require.GreaterOrEqual(t, good, 99.9)
		require.Less(t, quantile(p.samples, 95), where.bound)
	}
	require.Positive(t, far.got.Load())
	write(t, "router_distance.md", b.String())
}
