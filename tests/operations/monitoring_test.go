//go:build operations

package operations

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/atom-fabric/fabric/tests/harness"
)

// TestRules has Prometheus' own tool check the rules, run their unit tests, and
// check the two configurations.
func TestRules(t *testing.T) {
	dir := filepath.Join(root, "infra/prometheus")
	for _, args := range [][]string{
		{"promtool", "check", "rules", "rules.yml"},
		{"promtool", "test", "rules", "tests.yml"},
		{"promtool", "check", "config", "prometheus.yml"},
		{"amtool", "check-config", "../alertmanager/alertmanager.yml"},
	} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		t.Logf("$ %s\n%s", strings.Join(args, " "), strings.TrimSpace(string(out)))
		require.NoError(t, err, "sh infra/setup/debian.sh operations")
	}
}

// factor is how many times sooner than an operator a test is told: the rules of
// the tree are evaluated as they are, but for time, which every "for", every
// range in minutes and the thresholds of sooner are divided by. 1 changes nothing.
func factor(t *testing.T) int {
	t.Helper()
	given := os.Getenv("RUNBOOKS_FACTOR")
	if given == "" {
		return 20
	}
	n, err := strconv.Atoi(given)
	require.NoError(t, err)
	require.True(t, n >= 1 && n <= 20, "RUNBOOKS_FACTOR=%d: from 1 to 20, ranges hold fifteen scrapes then", n)
	return n
}

// sooner are the thresholds that are times and would be waited for.
var sooner = map[string]int{"FabricRoundStuck": 900, "FabricOutboxLate": 60, "FabricDecisionRecordsLate": 300}

// ballot is the one threshold that is another for the test: a ballot is open for
// days, by the rules for approvals, and the alert comes in its last hour.
var ballot = struct{ alert, from, to string }{"FabricApprovalExpires", "< 3600", "< 30 * 86400"}

// hastened writes the rules for a factor, and says what differs.
func hastened(t *testing.T, file string, by int) {
	t.Helper()
	var tree map[string][]struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(text(t, "infra/prometheus/rules.yml")), &tree))
	ranges := regexp.MustCompile(`\[(\d+)m\]`)
	replace := func(r *rule, from, to string) {
		require.Contains(t, r.Expr, from, r.Alert)
		r.Expr = strings.Replace(r.Expr, from, to, 1)
		t.Logf("override: %s: %s for %s", r.Alert, to, from)
	}
	for _, g := range tree["groups"] {
		for i := range g.Rules {
			r := &g.Rules[i]
			if r.For != "" {
				d, err := time.ParseDuration(r.For)
				require.NoError(t, err, r.Alert)
				r.For = fmt.Sprintf("%dms", d.Milliseconds()/int64(by))
			}
			r.Expr = ranges.ReplaceAllStringFunc(r.Expr, func(m string) string {
				minutes, err := strconv.Atoi(m[1 : len(m)-2])
				require.NoError(t, err)
				return fmt.Sprintf("[%ds]", minutes*60/by)
			})
			if seconds, ok := sooner[r.Alert]; ok && by > 1 {
				replace(r, fmt.Sprintf("> %d", seconds), fmt.Sprintf("> %d", seconds/by))
			}
			if r.Alert == ballot.alert {
				replace(r, ballot.from, ballot.to)
			}
		}
	}
	t.Logf("time is %d times faster in the rules: every for, every range in minutes", by)
	out, err := yaml.Marshal(tree)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, out, 0o644))
}

// A monitor is a Prometheus with the rules of the tree and an Alertmanager
// that tells the test.
type monitor struct {
	url    string
	factor int
	mu     sync.Mutex
	told   []notice
	trials []trial
	away   int // processes that a page has stopped for as long as it mends
}

// A notice is an alert as it arrived at the receiver.
type notice struct {
	Status      string            `json:"status"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	at          time.Time
}

// watch starts both over a running system.
func watch(t *testing.T, s *harness.System) *monitor {
	t.Helper()
	m, dir := &monitor{factor: factor(t)}, t.TempDir()
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var message struct {
			Alerts []notice `json:"alerts"`
		}
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
			t.Errorf("the receiver was told no JSON: %v", err)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, n := range message.Alerts {
			n.at = time.Now()
			m.told = append(m.told, n)
		}
	}))
	t.Cleanup(receiver.Close)

	alerts, prom := free(t), free(t)
	routing := text(t, "infra/alertmanager/alertmanager.yml")
	for from, to := range map[string]string{
		"http://receiver:8080/alerts": receiver.URL, "group_wait: 10s": "group_wait: 0s", "group_interval: 1m": "group_interval: 1s",
	} {
		require.Contains(t, routing, from)
		routing = strings.ReplaceAll(routing, from, to)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "alertmanager.yml"), []byte(routing), 0o644))
	hastened(t, filepath.Join(dir, "rules.yml"), m.factor)
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s, scrape_timeout: 1s}\nrule_files: [rules.yml]\nalerting: {alertmanagers: [{static_configs: [{targets: [%q]}]}]}\nscrape_configs:\n", alerts)
	job := func(name string, targets ...string) {
		config += fmt.Sprintf("  - {job_name: %s, static_configs: [%s]}\n", name, strings.Join(targets, ", "))
	}
	at := func(off int, region string) string {
		if region == "" {
			return fmt.Sprintf("{targets: [%q]}", s.Address(off))
		}
		return fmt.Sprintf("{targets: [%q], labels: {region: %s}}", s.Address(off), region)
	}
	job("api", at(0, ""))
	job("worker", at(60, ""), at(61, "eu"), at(62, "us"), at(63, "apac"))
	job("router", at(4, ""))
	job("runtime", at(101, "eu"), at(102, "us"), at(103, "apac"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o644))

	bin := func(name string) string {
		path, err := exec.LookPath(name)
		require.NoError(t, err, "sh infra/setup/debian.sh operations")
		return path
	}
	harness.Run(t, bin("prometheus-alertmanager"), []string{"--config.file=" + filepath.Join(dir, "alertmanager.yml"), "--storage.path=" + filepath.Join(dir, "am"),
		"--web.listen-address=" + alerts, "--cluster.listen-address="})
	harness.Run(t, bin("prometheus"), []string{"--config.file=" + filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path=" + filepath.Join(dir, "tsdb"),
		"--web.listen-address=" + prom, "--enable-feature=exemplar-storage"})
	m.url = "http://" + prom
	require.Eventually(t, func() bool { return len(m.ask(t, "up == 1")) == targets }, 2*time.Minute, time.Second, "Prometheus does not reach every process")
	return m
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// ask returns the series of an instant query.
func (m *monitor) ask(t testing.TB, query string) []map[string]string {
	t.Helper()
	answer, err := http.Get(m.url + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return nil // it is starting
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusServiceUnavailable {
		return nil // the same
	}
	var body struct {
		Data struct {
			Result []struct {
				Metric map[string]string `json:"metric"`
			} `json:"result"`
		} `json:"data"`
	}
	require.NoError(t, json.NewDecoder(answer.Body).Decode(&body))
	var out []map[string]string
	for _, r := range body.Data.Result {
		out = append(out, r.Metric)
	}
	return out
}

func (m *monitor) last(alert string) (notice, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range slices.Backward(m.told) {
		if n.Labels["alertname"] == alert {
			return n, true
		}
	}
	return notice{}, false
}
