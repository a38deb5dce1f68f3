//go:build bench

package proxies

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/token"
)

// Sizes of a run: seconds of a measurement, and how often each is repeated.
type scale struct{ seconds, rounds int }

func benchScale(t *testing.T) scale {
	t.Helper()
	s := scale{2, 3}
	if text := os.Getenv("FABRIC_ROUTER_SCALE"); text != "" { // e.g. 1x1, to try things out
		_, err := fmt.Sscanf(text, "%dx%d", &s.seconds, &s.rounds)
		require.NoError(t, err)
	}
	return s
}

// A proxy is something that stands before the runtime.
type proxy struct {
	name    string
	address string            // host:port
	pid     int               // with all below it
	request map[string]string // file, by size and path
	runtime string            // host:port
}

// A bench has the processes of a run.
type bench struct {
	t     *testing.T
	dir   string
	peer  string
	scale scale
	plane *plane
}

func TestRouterBench(t *testing.T) {
	if os.Getenv("FABRIC_BENCH") == "" {
		t.Fatal("this measures for minutes: make bench-router")
	}
	b := newBench(t)
	runtime1, runtime4, slow := b.runtime(0, 1000), b.runtime(0, 4000), b.runtime(5*time.Millisecond, 1000)
	requests := map[string]string{"1k": b.request(1000), "4k": b.request(4000)}
	v2 := map[string]string{"1k": b.inference(1000), "4k": b.inference(4000)}

	direct := proxy{name: "none (direct)", address: runtime1}
	fast := []proxy{direct, b.nginx(runtime1), b.haproxy(runtime1), b.peerProxy("reverse", runtime1), b.peerProxy("gin", runtime1)}
	slowed := []proxy{direct, b.nginx(slow), b.haproxy(slow), b.peerProxy("reverse", slow), b.peerProxy("gin", slow)}
	large := []proxy{{name: direct.name, address: runtime4}, b.nginx(runtime4), b.haproxy(runtime4), b.peerProxy("reverse", runtime4), b.peerProxy("gin", runtime4)}
	ours, oursSlow, oursLarge := b.router(runtime1), b.router(slow), b.router(runtime4)
	slowed[0].address = slow
	for i := range fast {
		fast[i].request, slowed[i].request, large[i].request = requests, requests, requests
	}
	with := func(list []proxy, p proxy) []proxy {
		p.request = requests
		invoke := p
		p.name, p.request = p.name+", V2", v2
		return append(list, invoke, p)
	}
	fast, slowed, large = with(fast, ours), with(slowed, oursSlow), with(large, oursLarge)

	r := &table{}
	for _, row := range []struct {
		what        string
		among       []proxy
		size        string
		conns, rate int
	}{
		{"1 KB, 1", fast, "1k", 1, 0},
		{"1 KB, 16", fast, "1k", 16, 0},
		{"1 KB, 64", fast, "1k", 64, 0},
		{"4 KB, 16", large, "4k", 16, 0},
		{"4 KB, 64", large, "4k", 64, 0},
		{"3,000/s, 5 ms", slowed, "1k", 64, 3000},
	} {
		if wanted(row.what) {
			r.rows(b, row.what, among(row.among), row.size, row.conns, row.rate)
		}
	}
	r.added = b.added(oursSlow.address) // before more is asked of it than it can do
	if wanted("swap") {
		r.swap(b, ours, requests["1k"])
	}
	if wanted("memory") {
		r.memory(b, oursSlow, requests["1k"])
	}
	if only() != nil { // to try things out: no report
		return
	}
	r.decisions(b)
	r.write(t, b)
	for _, failed := range r.failed {
		t.Error(failed)
	}
}

// only is which rows are measured; nil: all.
func only() *regexp.Regexp {
	if text := os.Getenv("FABRIC_ROUTER_ROWS"); text != "" { // e.g. "1 KB, 16|swap"
		return regexp.MustCompile("^(" + text + ")$")
	}
	return nil
}

// among leaves out the proxies that only a whole run asks.
func among(proxies []proxy) []proxy {
	text := os.Getenv("FABRIC_ROUTER_BESIDE") // e.g. "nginx|fabric.*"
	if only() == nil || text == "" {
		return proxies
	}
	name := regexp.MustCompile("^(" + text + ")$")
	return slices.DeleteFunc(slices.Clone(proxies), func(p proxy) bool { return !name.MatchString(p.name) })
}

func wanted(what string) bool { return only() == nil || only().MatchString(what) }

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), scale: benchScale(t)}
	b.peer = filepath.Join(b.dir, "peer")
	out, err := exec.Command("go", "build", "-tags", "bench", "-o", b.peer, "../peer").CombinedOutput()
	require.NoError(t, err, string(out))
	return b
}

// start starts a program that ends with the test.
func (b *bench) start(environ []string, path string, args ...string) int {
	b.t.Helper()
	log, err := os.Create(filepath.Join(b.dir, fmt.Sprintf("%s-%d.log", filepath.Base(path), time.Now().UnixNano())))
	require.NoError(b.t, err)
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), environ...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(b.t, cmd.Start())
	b.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		done := make(chan struct{})
		go func() { _ = cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-done
		}
		_ = log.Close()
		if b.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			b.t.Logf("%s: %.2000s", filepath.Base(path), text)
		}
	})
	return cmd.Process.Pid
}

// free returns an address that nobody listens on.
func (b *bench) free() string {
	b.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b.t, err)
	defer l.Close()
	return l.Addr().String()
}

// up waits until somebody listens.
func (b *bench) up(address string) {
	b.t.Helper()
	require.Eventually(b.t, func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond, "%s does not answer", address)
}

func (b *bench) runtime(delay time.Duration, size int) string {
	at := b.free()
	b.start(nil, b.peer, "runtime", "-listen", at, "-delay", delay.String(), "-size", strconv.Itoa(size))
	b.up(at)
	return at
}

func (b *bench) peerProxy(role, to string) proxy {
	at := b.free()
	pid := b.start(nil, b.peer, role, "-listen", at, "-to", "http://"+to)
	b.up(at)
	return proxy{name: map[string]string{"reverse": "Go ReverseProxy", "gin": "gin, decode and encode"}[role], address: at, pid: pid}
}

// nginx proxies with connections that are kept on both sides.
func (b *bench) nginx(to string) proxy {
	at, dir := b.free(), filepath.Join(b.dir, "nginx-"+strings.ReplaceAll(to, ":", "-"))
	require.NoError(b.t, os.MkdirAll(dir, 0o755))
	conf := filepath.Join(dir, "nginx.conf")
	b.file(conf, fmt.Sprintf(`daemon off; worker_processes 2; pid %[1]s/pid; error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000; client_body_buffer_size 64k; client_max_body_size 1m;
  client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  upstream runtime { server %[2]s; keepalive 256; keepalive_requests 1000000; }
  server { listen %[3]s backlog=4096; location / { proxy_pass http://runtime; proxy_http_version 1.1; proxy_set_header Connection ""; } }
}
`, dir, to, at))
	pid := b.start(nil, "/usr/sbin/nginx", "-c", conf, "-p", dir)
	b.up(at)
	return proxy{name: "nginx", address: at, pid: pid}
}

func (b *bench) haproxy(to string) proxy {
	at := b.free()
	conf := filepath.Join(b.dir, "haproxy-"+strings.ReplaceAll(to, ":", "-")+".cfg")
	b.file(conf, fmt.Sprintf(`global
  nbthread 2
  maxconn 8192
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  http-reuse always
listen front
  bind %s
  server runtime %s
`, at, to))
	pid := b.start(nil, "/usr/sbin/haproxy", "-f", conf, "-db")
	b.up(at)
	return proxy{name: "HAProxy", address: at, pid: pid}
}

// router starts ours, the program as it ships: a signed snapshot, tokens, audit
// headers, records and metrics.
func (b *bench) router(to string) proxy {
	at := b.free()
	if b.plane == nil {
		b.plane = newPlane(b.t)
	}
	published := b.plane.route(b.t, to)
	state := filepath.Join(b.dir, "router-"+strings.ReplaceAll(to, ":", "-"))
	bin := filepath.Join(cmp.Or(os.Getenv("FABRIC_TEST_BIN"), "../../../bin"), "fabric-router")
	pid := b.start([]string{"FABRIC_LISTEN=" + at, "FABRIC_STATE_DIR=" + state, "FABRIC_REGION=eu", "FABRIC_SNAPSHOT_URL=" + published.URL,
		"FABRIC_TRUST_KEY=" + b.plane.trust, "FABRIC_JWKS=" + b.plane.jwks, "FABRIC_ISSUER=" + benchIssuer, "SIMULATION_MODE=false"}, bin, "serve")
	b.up(at)
	require.Eventually(b.t, func() bool {
		resp, err := http.Get("http://" + at + "/health") //nolint:noctx // a test's call
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, 10*time.Second, 20*time.Millisecond, "it has no snapshot")
	return proxy{name: ourName, address: at, pid: pid, runtime: to}
}

func (b *bench) file(path, text string) {
	b.t.Helper()
	require.NoError(b.t, os.WriteFile(path, []byte(text), 0o644))
}

const benchIssuer = "https://bench.invalid/fabric"

// bearer returns a caller's token.
func bearer(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	issuer, err := token.NewDevIssuer(key, benchIssuer)
	require.NoError(t, err)
	raw, err := issuer.Issue("fabric", token.Claims{Subject: "ann", Tenant: "t1"}.Lifetime(time.Now(), time.Hour))
	require.NoError(t, err)
	return raw
}

// request writes a call of /invoke with a body of size bytes.
func (b *bench) request(size int) string {
	const head, tail = `{"tenant":"t1","model_id":"m1","input":{"data":[[`, `]]}}`
	n := (size - len(head) - len(tail)) / 7
	return b.http("/invoke", head+strings.TrimSuffix(strings.Repeat("0.5234,", n), ",")+tail)
}

// inference writes the same as a request of the Open Inference Protocol.
func (b *bench) inference(size int) string {
	const head, tail = `{"inputs":[{"name":"rows","datatype":"FP64","shape":[1,%d],"data":[`, `]}]}`
	n := (size - len(head) - len(tail)) / 7
	return b.http("/v2/models/m1/infer", fmt.Sprintf(head, n)+strings.TrimSuffix(strings.Repeat("0.5234,", n), ",")+tail)
}

func (b *bench) http(path, body string) string {
	if b.plane == nil {
		b.plane = newPlane(b.t)
	}
	file := filepath.Join(b.dir, fmt.Sprintf("request-%d.txt", time.Now().UnixNano()))
	b.file(file, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		path, b.plane.token, len(body), body))
	return file
}

// A seen is what the load saw; see peer/load.go.
type seen struct {
	Good, Bad           int64
	Statuses            map[string]int
	Seconds, PerSecond  float64
	P50, P95, P99, Most float64
	CPU                 float64 // microseconds of the proxy a request
}

// load runs the load in a process of its own.
func (b *bench) load(p proxy, size string, conns, rate int, d time.Duration) seen {
	b.t.Helper()
	before := cpu(b.t, p.pid)
	ctx, cancel := context.WithTimeout(context.Background(), d+20*time.Second)
	defer cancel()
	text, err := exec.CommandContext(ctx, b.peer, "load", "-to", p.address, "-request", p.request[size], "-conns", strconv.Itoa(conns), "-rate", strconv.Itoa(rate), "-time", d.String()).Output()
	require.NoError(b.t, err, "%s: %s", p.name, text)
	var out seen
	require.NoError(b.t, json.Unmarshal(text, &out))
	if out.Good > 0 {
		out.CPU = float64((cpu(b.t, p.pid) - before).Microseconds()) / float64(out.Good)
	}
	if out.Bad > 0 {
		b.t.Logf("%s: %d of %d without a good answer: %v", p.name, out.Bad, out.Bad+out.Good, out.Statuses)
	}
	return out
}

// middle returns the repetition in the middle by what matters most.
func middle(all []seen, rate int) seen {
	slices.SortFunc(all, func(x, y seen) int {
		if rate > 0 {
			return cmp.Compare(x.P99, y.P99)
		}
		return cmp.Compare(x.PerSecond, y.PerSecond)
	})
	return all[len(all)/2]
}

// cpu returns the time that a process and those below it had, from /proc.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	if pid == 0 {
		return 0
	}
	total := ticks(pid)
	children, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	require.NoError(t, err)
	for _, path := range children {
		text, _ := os.ReadFile(path)
		for _, child := range strings.Fields(string(text)) {
			id, err := strconv.Atoi(child)
			require.NoError(t, err)
			total += ticks(id)
		}
	}
	return time.Duration(total) * 10 * time.Millisecond // 100 ticks a second, by the kernel's ABI
}

func ticks(pid int) (total int64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	for _, f := range fields[11:13] {
		n, _ := strconv.ParseInt(f, 10, 64)
		total += n
	}
	return total
}
