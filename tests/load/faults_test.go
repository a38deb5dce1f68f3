//go:build bench

package load

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/tests/harness"
)

// The load of a scenario: requests a second, before, during and after a fault.
const (
	faultRate   = 100
	faultBefore = 2 * time.Second
	faultDuring = 6 * time.Second
	faultAfter  = 12 * time.Second // at most: until the endpoint is back
)

// A sample is one request.
type sample struct {
	at   time.Duration // since the start
	took time.Duration
	good bool
}

// A pace sends requests by the clock, whether or not earlier ones are answered.
type pace struct {
	mu      sync.Mutex
	samples []sample
	group   sync.WaitGroup
}

func (p *pace) run(began time.Time, rate int, during time.Duration, ask func() bool) {
	for n := range int(during.Seconds() * float64(rate)) {
		due := began.Add(time.Duration(n) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(due))
		p.group.Go(func() {
			good := ask()
			p.mu.Lock()
			defer p.mu.Unlock()
			p.samples = append(p.samples, sample{due.Sub(began), time.Since(due), good})
		})
	}
}

// quantile of the latencies, in milliseconds.
func quantile(samples []sample, percent int) float64 {
	took := make([]time.Duration, len(samples))
	for i, s := range samples {
		took[i] = s.took
	}
	slices.Sort(took)
	if len(took) == 0 {
		return 0
	}
	return float64(took[(len(took)-1)*percent/100].Microseconds()) / 1000
}

func goods(samples []sample) (n int) {
	for _, s := range samples {
		if s.good {
			n++
		}
	}
	return n
}

// A verdict is what one proxy made of one fault.
type verdict struct {
	success       float64 // per cent
	p50, p99      float64 // ms
	sent          int64   // requests that the faulty one got during the fault
	amplification float64
	eject, back   string // ms until it got no more than probes; until it had its share again
}

// scenario breaks one of two servers under load.
func scenario(t *testing.T, f *front, servers []*server, fault fault) verdict {
	client := newClient(256)
	defer client.CloseIdleConnections()
	ask := func() bool { _, whole := f.ask(context.Background(), client, "", ""); return whole }
	var before pace
	before.run(time.Now(), faultRate, faultBefore, ask)
	before.group.Wait()

	// Every tenth of a second, what the faulty one has got.
	got := servers[0].got.Load() + servers[1].got.Load()
	first := servers[0].got.Load()
	servers[0].set(t, fault)
	began := time.Now()
	var ticks []int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				ticks = append(ticks, servers[0].got.Load()-first)
			case <-stop:
				return
			}
		}
	}()
	var during pace
	during.run(began, faultRate, faultDuring, ask)
	during.group.Wait()
	close(stop)
	<-done
	v := verdict{success: 100 * float64(goods(during.samples)) / float64(len(during.samples)), p50: quantile(during.samples, 50), p99: quantile(during.samples, 99),
		sent: servers[0].got.Load() - first, amplification: float64(servers[0].got.Load()+servers[1].got.Load()-got) / float64(len(during.samples)), eject: "never"}
	// Set aside: from then on, less than a tenth of its share in every second.
	const bound = faultRate / 2 / 10
	for i := range ticks {
		quiet := true
		for j := i; j+10 < len(ticks); j++ {
			quiet = quiet && ticks[j+10]-ticks[j] <= bound
		}
		if quiet && i+10 < len(ticks) {
			v.eject = fmt.Sprint((i + 1) * 100)
			break
		}
	}
	servers[0].set(t, fine)
	v.back = fmt.Sprintf("> %d", faultAfter.Milliseconds())
	began = time.Now()
	var after pace
	over := make(chan struct{})
	go func() { after.run(began, faultRate, faultAfter, ask); close(over) }()
	for last := servers[0].got.Load(); time.Since(began) < faultAfter; {
		time.Sleep(500 * time.Millisecond)
		now := servers[0].got.Load()
		if now-last >= faultRate/2/5 { // a fifth of the requests
			v.back = fmt.Sprint(time.Since(began).Milliseconds())
			break
		}
		last = now
	}
	<-over
	after.group.Wait()
	return v
}

// TestRouterFaults breaks an upstream in every way that we know of, under load,
// behind ours and behind nginx and HAProxy with a careful operator's settings.
func TestRouterFaults(t *testing.T) {
	program := buildRouter(t)
	faults := []struct {
		name  string
		fault fault
		size  int // of the answer
	}{
		{"accepts, then hangs", hang, 100},
		{"takes 2 s", slow, 100},
		{"body drips for 2 s", drip, 1000},
		{"5xx, always", errs100, 100},
		{"5xx at once, always", errsFast, 100},
		{"5xx, 30 %", errs30, 100},
		{"5xx, 5 %", errs5, 100},
		{"down and up each second", flap1s, 100},
		{"down and up each 100 ms", flap100ms, 100},
		{"resets before the headers", resetBefore, 100},
		{"resets idle connections", resetIdle, 100},
		{"resets in mid-body, 1 KB", resetMiddle, 1000},
		{"resets in mid-body, 256 KB", resetMiddle, 250_000},
		{"truncated chunks, 4 KB", chunksEnd, 4000},
		{"Content-Length too long", lengthLies, 1000},
		{"refuses connections", refuse, 100},
		{"drops SYNs", blackHole, 100},
	}
	only := os.Getenv("FABRIC_FAULTS") // part of a name, to try things out
	var b strings.Builder
	fmt.Fprintf(&b, "# Faults\n\nOne of two upstreams misbehaves for %v at %d requests/s; a good answer takes 5 ms. Its readiness checks go on saying yes.\n"+
		"The proxies are processes; nginx and HAProxy have short timeouts, retries on every kind of failure and passive ejection\n"+
		"(`tests/load/faultproxy_test.go`), and proxy plainly, while ours also authenticates, decides, audits and records.\n\n"+
		"- command: `make faults-router`\n- machine: %s\n\n"+
		"\"Got\" is how many requests the faulty one still got, \"sends\" how many both got for each request, \"aside\" after how many milliseconds it got\n"+
		"less than a tenth of its share for good, \"back\" how many milliseconds after the fault it had a fifth of the load again.\n\n"+
		"| fault | proxy | good, %% | p50, ms | p99, ms | got | sends | aside | back |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n", faultDuring, faultRate, harness.Describe(t))
	for _, tt := range faults {
		if !strings.Contains(tt.name, only) {
			continue
		}
		for _, kind := range []string{"ours", "nginx", "haproxy"} {
			ok := t.Run(tt.name+"/"+kind, func(t *testing.T) {
				answer := answerOf(tt.size)
				servers := []*server{startServer(t, answer, 5*time.Millisecond), startServer(t, answer, 5*time.Millisecond)}
				var f *front
				switch kind {
				case "ours":
					f = startOurs(t, program, "eu", map[string][]*server{"eu": servers}, nil)
				case "nginx":
					f = startNginx(t, servers)
				case "haproxy":
					f = startHAProxy(t, servers)
				}
				v := scenario(t, f, servers, tt.fault)
				t.Logf("%+v", v)
				fmt.Fprintf(&b, "| %s | %s | %.1f | %.1f | %.1f | %d | %.2f | %s | %s |\n", tt.name, f.name, v.success, v.p50, v.p99, v.sent, v.amplification, v.eject, v.back)
				if kind != "ours" {
					return
				}
				require.GreaterOrEqual(t, v.success, 99.9)
				require.LessOrEqual(t, v.amplification, 1.2)
				require.LessOrEqual(t, v.p99, 50.0, "at a 5 ms upstream")
			})
			_ = ok // the table has the others all the same
		}
	}
	leaves(t, program, &b)
	overload(t, program, &b)
	regions(t, program, &b)
	if only == "" {
		write(t, "router_faults.md", b.String())
	} else {
		t.Log(b.String())
	}
}

// leaves measures how soon an upstream learns that the client has left.
func leaves(t *testing.T, program string, b *strings.Builder) {
	fmt.Fprintf(b, "\n## A client that leaves\n\n100 clients leave 50 ms after they asked something that takes long: until the upstream is told.\n\n"+
		"| proxy | told, of 100 | p50, ms | p99, ms |\n| --- | --- | --- | --- |\n")
	for _, kind := range []string{"ours", "nginx", "haproxy"} {
		t.Run("leaves/"+kind, func(t *testing.T) {
			s := startServer(t, answerOf(100), 5*time.Millisecond)
			var f *front
			switch kind {
			case "ours":
				f = startOurs(t, program, "eu", map[string][]*server{"eu": {s}}, nil)
			case "nginx":
				f = startNginx(t, []*server{s})
			case "haproxy":
				f = startHAProxy(t, []*server{s})
			}
			told := make(chan time.Time, 1)
			s.onLeave = func(string) { told <- time.Now() }
			s.set(t, hang)
			var samples []sample
			for range 100 {
				client := newClient(1)
				ctx, cancel := context.WithCancel(context.Background())
				var left time.Time
				time.AfterFunc(50*time.Millisecond, func() { left = time.Now(); cancel() })
				f.ask(ctx, client, "", "")
				select {
				case at := <-told:
					samples = append(samples, sample{took: at.Sub(left), good: at.After(left)})
				case <-time.After(time.Second):
				}
				client.CloseIdleConnections()
			}
			s.set(t, fine)
			fmt.Fprintf(b, "| %s | %d | %.1f | %.1f |\n", f.name, goods(samples), quantile(samples, 50), quantile(samples, 99))
			if kind == "ours" {
				require.Equal(t, 100, goods(samples))
				require.LessOrEqual(t, quantile(samples, 99), 50.0)
			}
		})
	}
}

// overload asks three times what an upstream can do, ten elevenths of it for
// one tenant. The other one's tail is at most twice what it is alone.
func overload(t *testing.T, program string, b *strings.Builder) {
	const workers, service, capacity = 8, 20 * time.Millisecond, 400
	fmt.Fprintf(b, "\n## Overload\n\nAn upstream of %d workers and %v a request, a fifth more or less, does %d/s, and gets three times that, ten elevenths of it from one tenant.\n\n"+
		"| proxy | small tenant alone: p99, ms | beside the big one: good, %% | p99, ms | answered, /s |\n| --- | --- | --- | --- | --- |\n", workers, service, capacity)
	g := newGun(t)
	for _, kind := range []string{"ours", "nginx", "haproxy"} {
		t.Run("overload/"+kind, func(t *testing.T) {
			s := startServer(t, answerOf(100), service)
			s.workers = make(chan struct{}, workers)
			var f *front
			switch kind {
			case "ours":
				f = startOurs(t, program, "eu", map[string][]*server{"eu": {s}}, nil)
			case "nginx":
				f = startNginx(t, []*server{s})
			case "haproxy":
				f = startHAProxy(t, []*server{s})
			}
			lone := g.fire(t, f, "small", 128, 3*capacity/11, 8*time.Second)
			var few, many volley
			var both sync.WaitGroup
			both.Go(func() { many = g.fire(t, f, "big", 1024, 30*capacity/11, 14*time.Second) })
			time.Sleep(5 * time.Second) // limits move
			few = g.fire(t, f, "small", 128, 3*capacity/11, 8*time.Second)
			both.Wait()
			kept := few.share()
			fmt.Fprintf(b, "| %s | %.1f | %.1f | %.1f | %.0f |\n", f.name, lone.P99/1000, kept, few.P99/1000, few.PerSecond+many.PerSecond)
			t.Logf("alone %.1f, beside %.1f ms, %.1f %%, big %v", lone.P99/1000, few.P99/1000, kept, many)
			if kind == "ours" {
				require.GreaterOrEqual(t, kept, 99.0)
				require.LessOrEqual(t, few.P99, 2*lone.P99)
			}
		})
	}
}

// statuses counts answers by status.
func statuses(f *front, client *http.Client, tenant string, n int) map[int]int {
	out := map[int]int{}
	var mu sync.Mutex
	var p pace
	p.run(time.Now(), faultRate, time.Duration(n)*time.Second/faultRate, func() bool {
		status, whole := f.ask(context.Background(), client, tenant, "")
		mu.Lock()
		defer mu.Unlock()
		out[status]++
		return whole
	})
	p.group.Wait()
	return out
}
