//go:build bench

package load

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/tests/harness"
)

// A suite is the benchmarks of a package that need one another's limits: they
// run in one process, whose peak memory is theirs.
type suite struct{ pkg, bench string }

// A line is one benchmark: the least of its runs, and what it reported beside.
type line struct {
	name    string
	millis  float64
	metrics []string
	peak    int64 // MiB of its process
}

// A goal is a row of the targets: a benchmark, and what it must not exceed.
type goal struct {
	work, bench string
	most        float64 // milliseconds
	limit       string  // what bounds it: a metric or a benchmark of the same process
}

// goals are the targets of the federated engine, on two cores.
func goals() []goal {
	return []goal{
		{"FedAvg in memory, 10 x 10 M float32, plain Go", "BenchmarkSum/plain", 60, "memory read"},
		{"the same, assembly", "BenchmarkSum/best", 30, "memory read"},
		{"coordinate median, 50 x 1 M, plain Go", "BenchmarkMedian/plain", 240, "comparators"},
		{"the same, assembly", "BenchmarkMedian/best", 60, "comparators"},
		{"Krum distances, 50 x 1 M, plain Go", "BenchmarkDistances/plain", 350, "arithmetic"},
		{"the same, assembly", "BenchmarkDistances/best", 130, "arithmetic"},
		{"streamed FedAvg with digest check, 10 x 10 M from files", "BenchmarkMerge/read", 182, "SHA-256: 400 MB at 2.2 GB/s"},
		{"quantise with stochastic rounding, 10 M", "BenchmarkEncode/10M-float32", 60, "BenchmarkEncode/key-stream-one-thread"},
		{"secure aggregation, server, n = 64 complete, d = 1 M, 20 % dropped", "BenchmarkServer/n=64/d=1M/complete/dropped=13/unmask", 350, "BenchmarkServer/n=64/d=1M/complete/dropped=13/limit"},
		{"the same, k = 16", "BenchmarkServer/n=64/d=1M/k=16/dropped=13/unmask", 120, "BenchmarkServer/n=64/d=1M/k=16/dropped=13/limit"},
		{"a site's masking, n = 64 complete, d = 1 M", "BenchmarkSite/mask/n=64/d=1M/k=63", 80, "BenchmarkSite/limit/k=63"},
		{"secure aggregation, server, n = 1,000, d = 100,000, 10 % dropped", "BenchmarkServer/n=1000/d=100k/formula/dropped=100/unmask", 5000, "BenchmarkServer/n=1000/d=100k/formula/dropped=100/limit"},
		{"the same, a site, all stages", "BenchmarkSite/all/n=1000/d=100k", 300, "BenchmarkSite/limit/n=1000/d=100k"},
	}
}

// TestEngine writes the figures of the federated engine. They are figures and
// no test of the machine: it fails when a benchmark is missing, not when a
// neighbour makes it slow.
func TestEngine(t *testing.T) {
	dir := t.TempDir()
	found := map[string]line{}
	var order []string
	for _, s := range []suite{
		{"kernel", "BenchmarkSum|BenchmarkMedian$|BenchmarkTrimmedMean|BenchmarkDistances"}, {"aggregate", "BenchmarkFedAvg"}, {"aggregate", "BenchmarkMerge"},
		{"ring", "BenchmarkEncode"}, {"dp", "BenchmarkNoise"}, {"secagg", "BenchmarkServer"}, {"secagg", "BenchmarkSite"}, {"secagg", "BenchmarkAddVector"},
	} {
		for _, l := range run(t, dir, s) {
			if _, ok := found[l.name]; !ok {
				order = append(order, l.name)
			}
			found[l.name] = l
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# The federated engine's hot loops\n\n- command: `make bench` (`go test -tags bench -count=1 -run TestEngine ./tests/load`)\n- machine: %s\n\n"+
		"Least of five runs each. The limit is the time that the bound alone takes, measured in the same process: the key stream with\n"+
		"nothing done with it, the bytes read once, the bytes hashed. Peak memory is of the whole benchmark process, its inputs included.\n\n", harness.Describe(t))
	b.WriteString("| work | figure, ms | target, ms | held | limited by | peak, MiB |\n|---|---|---|---|---|---|\n")
	for _, g := range goals() {
		l, ok := found[g.bench]
		require.True(t, ok, "no benchmark %s", g.bench)
		limit := strings.Join(append([]string{g.limit}, l.metrics...), ", ")
		if at, ok := found[g.limit]; ok {
			limit = fmt.Sprintf("AES-CTR: %.1f ms", at.millis)
		}
		fmt.Fprintf(&b, "| %s | %.1f | %.0f | %s | %s | %d |\n", g.work, l.millis, g.most, held(l.millis <= g.most), limit, l.peak)
	}
	b.WriteString("\n## Every benchmark\n\n| benchmark | ms | reported beside |\n|---|---|---|\n")
	for _, name := range order {
		fmt.Fprintf(&b, "| %s | %.2f | %s |\n", name, found[name].millis, strings.Join(found[name].metrics, ", "))
	}
	write(t, "engine.md", b.String())
}

func held(ok bool) string {
	if ok {
		return "yes"
	}
	return "no"
}

// run runs a suite in a process of its own.
func run(t *testing.T, dir string, s suite) []line {
	t.Helper()
	binary := filepath.Join(dir, s.pkg+".test")
	if _, err := os.Stat(binary); err != nil {
		out, err := exec.Command("go", "test", "-c", "-o", binary, "../../domain/"+s.pkg).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	cmd := exec.Command(binary, "-test.run=^$", "-test.bench="+s.bench, "-test.benchtime=3x", "-test.count=5", "-test.timeout=15m")
	cmd.Dir = "../../domain/" + s.pkg
	var out, failed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failed
	require.NoError(t, cmd.Run(), "%s\n%s", out.String(), failed.String())
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	require.True(t, ok)
	return parse(t, out.String(), usage.Maxrss/1024)
}

// parse keeps the least time of every benchmark, and what that run reported.
func parse(t *testing.T, text string, peak int64) []line {
	t.Helper()
	form := regexp.MustCompile(`(?m)^(Benchmark\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op(.*)$`)
	var lines []line
	at := map[string]int{}
	for _, m := range form.FindAllStringSubmatch(text, -1) {
		nanos, err := strconv.ParseFloat(m[2], 64)
		require.NoError(t, err)
		l := line{name: m[1], millis: nanos / 1e6, peak: peak}
		fields := strings.Fields(m[3])
		for i := 0; i+1 < len(fields); i += 2 {
			if !strings.HasSuffix(fields[i+1], "/op") {
				l.metrics = append(l.metrics, fields[i]+" "+fields[i+1])
			}
		}
		i, seen := at[l.name]
		switch {
		case !seen:
			at[l.name] = len(lines)
			lines = append(lines, l)
		case l.millis < lines[i].millis:
			lines[i] = l
		}
	}
	require.NotEmpty(t, lines, text)
	return lines
}
