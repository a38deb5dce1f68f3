//go:build bench

package load

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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

// shots is how many connections the load by the clock has: more than requests
// are under way as long as they are answered.
const shots = 2048

// A volley is what the load of tests/load/peer saw. Latencies are microseconds
// since a request was due, of good answers.
type volley struct {
	Good, Bad           int64
	Statuses            map[string]int
	PerSecond, P50, P95 float64
	P99, Most           float64
}

func (v *volley) share() float64 { return 100 * float64(v.Good) / float64(max(1, v.Good+v.Bad)) }

// A gun is a process that asks by the clock and costs little itself: a client of
// net/http would take more of the two cores for a request than the router does.
type gun struct {
	program string
	dir     string
}

func newGun(t testing.TB) *gun {
	g := &gun{dir: t.TempDir()}
	g.program = filepath.Join(g.dir, "peer")
	out, err := exec.Command("go", "build", "-tags", "bench", "-o", g.program, "./peer").CombinedOutput()
	require.NoError(t, err, string(out))
	return g
}

// fire asks rate times a second, by the clock, on so many connections, whether or
// not earlier requests are answered.
func (g *gun) fire(t testing.TB, f *front, tenant string, conns, rate int, during time.Duration) (out volley) {
	address, path, _ := strings.Cut(strings.TrimPrefix(f.url, "http://"), "/")
	body := strings.Replace(f.body, `"own"`, `"`+tenant+`"`, 1)
	request := fmt.Sprintf("POST /%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", path, address, len(body))
	if f.bear != nil {
		request += "Authorization: Bearer " + f.bear[tenant] + "\r\n"
	}
	file := filepath.Join(g.dir, tenant)
	require.NoError(t, os.WriteFile(file, []byte(request+"\r\n"+body), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), during+time.Minute)
	defer cancel()
	text, err := exec.CommandContext(ctx, g.program, "load", "-to", address, "-request", file, "-conns", strconv.Itoa(conns), "-rate", strconv.Itoa(rate), "-time", during.String()).Output()
	require.NoError(t, err, string(text))
	require.NoError(t, json.Unmarshal(text, &out))
	return out
}

// saturation raises the rate until less is answered well than is asked, twice in
// a row, and returns the most that was answered.
func (g *gun) saturation(t testing.TB, f *front) (most float64) {
	for rate, behind := 400, 0; behind < 2; rate += rate / 4 {
		got := g.fire(t, f, "own", shots, rate, 3*time.Second)
		t.Logf("%d/s: %.0f/s good, %.2f %%, p95 %.1f ms", rate, got.PerSecond, got.share(), got.P95/1000)
		most = max(most, got.PerSecond)
		if behind++; got.PerSecond >= 0.9*float64(rate) {
			behind = 0
		}
	}
	return most
}

// TestRouterDistance is the budget P6: at 80 % of what the router can do, 95 %
// of the answers come within 500 ms in a region, and within a second from
// another one. Then half more is asked than it can do.
func TestRouterDistance(t *testing.T) {
	program, g := buildRouter(t), newGun(t)
	near, far := startServer(t, answerOf(1000), 5*time.Millisecond), startServer(t, answerOf(1000), 5*time.Millisecond)
	behind := &server{address: farAway(t, far.address)}
	var b strings.Builder
	fmt.Fprintf(&b, "# Distance\n\nThe router in region eu, an upstream of 5 ms there and one in us behind %v a round trip. Requests come by the clock, on %d\n"+
		"connections, whether or not earlier ones are answered. Saturation is the most that was answered while the rate was raised until less\n"+
		"was answered well than was asked, twice; then they come at 80 %% of that. Load, router and upstreams share the cores.\n\n"+
		"- command: `make faults-router`\n- machine: %s\n\n| answered in | saturation, /s | load, /s | good, %% | p50, ms | p95, ms | p99, ms | bound of p95, ms |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n", distance, shots, harness.Describe(t))
	f := startOurs(t, program, "eu", map[string][]*server{"eu": {near}, "us": {behind}}, nil)
	var most float64
	for _, where := range []struct {
		region string
		bound  float64
	}{{"eu", 500}, {"us", 1000}} {
		to := *f
		to.body = strings.TrimSuffix(f.body, "}") + `,"preferences":{"region":"` + where.region + `"}}`
		saturation := g.saturation(t, &to)
		most = max(most, saturation)
		got := g.fire(t, &to, "own", shots, int(0.8*saturation), 10*time.Second)
		fmt.Fprintf(&b, "| %s | %.0f | %.0f | %.2f | %.1f | %.1f | %.1f | %.0f |\n", where.region, saturation, 0.8*saturation, got.share(), got.P50/1000, got.P95/1000, got.P99/1000, where.bound)
		t.Logf("%s: %v", where.region, got.Statuses)
		check(t, got.share() >= 99.9, "%s: %.2f %% good at 80 %% of the saturation, want 99.9", where.region, got.share())
		check(t, got.P95/1000 < where.bound, "%s: p95 %.1f ms, want %.0f", where.region, got.P95/1000, where.bound)
	}
	require.Positive(t, far.got.Load())

	fmt.Fprint(&b, "\n## Half more than it can do\n\nOne upstream; the rate is 1.5 times the saturation. In the first row that is the upstream's, of 8 workers; in the second one it\n"+
		"is that of the two cores, of which what is refused takes its part, and what asks for it as well.\n\n"+
		"| limited by | saturation, /s | asked, /s | good, /s | of the saturation, % | p99 of the good, ms | otherwise |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, tt := range []struct {
		by      string
		workers int
	}{{"the upstream", 8}, {"the cores", 0}} {
		s := startServer(t, answerOf(1000), 5*time.Millisecond)
		if tt.workers > 0 {
			s.workers = make(chan struct{}, tt.workers)
		}
		f := startOurs(t, program, "eu", map[string][]*server{"eu": {s}}, nil)
		saturation := g.saturation(t, f)
		got := g.fire(t, f, "own", shots, int(1.5*saturation), 10*time.Second)
		fmt.Fprintf(&b, "| %s | %.0f | %.0f | %.0f | %.1f | %.1f | %v |\n", tt.by, saturation, 1.5*saturation, got.PerSecond, 100*got.PerSecond/saturation, got.P99/1000, got.Statuses)
		check(t, got.PerSecond >= 0.9*saturation, "limited by %s: %.0f/s good of %.0f", tt.by, got.PerSecond, saturation)
	}
	t.Log(b.String())
	write(t, "router_distance.md", b.String())
}

// check fails the test and goes on: the report has all rows.
func check(t testing.TB, ok bool, format string, args ...any) {
	t.Helper()
	if !ok {
		t.Errorf(format, args...)
	}
}
