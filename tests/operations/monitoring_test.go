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

// sooner are the changes to the rules by which a test sees in seconds what an
// operator is told after minutes: every "for" becomes two seconds, every range
// a shorter one, and these thresholds move. The expressions stay.
var sooner = []struct{ alert, from, to string }{
	{"FabricRoundStuck", "> 900", "> 8"},
	{"FabricApprovalExpires", "< 3600", "< 30 * 86400"},
}

// hastened writes the rules with those changes, and says each.
func hastened(t *testing.T, file string) {
	t.Helper()
	var tree map[string][]struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(text(t, "infra/prometheus/rules.yml")), &tree))
	ranges := regexp.MustCompile(`\[(\d+)m\]`)
	for _, g := range tree["groups"] {
		for i := range g.Rules {
			r := &g.Rules[i]
			if r.For != "" {
				r.For = "2s"
			}
			r.Expr = ranges.ReplaceAllString(r.Expr, "[40s]")
			for _, s := range sooner {
				if s.alert == r.Alert {
					require.Contains(t, r.Expr, s.from)
					r.Expr = strings.Replace(r.Expr, s.from, s.to, 1)
					t.Logf("override: %s: %s for %s", s.alert, s.to, s.from)
				}
			}
		}
	}
	t.Log("override: every for: is 2s, every range in minutes is 40s")
	out, err := yaml.Marshal(tree)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, out, 0o644))
}

// A monitor is a Prometheus with the rules of the tree and an Alertmanager
// that tells the test.
type monitor struct {
	url  string
	mu   sync.Mutex
	told []notice
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
	m, dir := &monitor{}, t.TempDir()
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
	hastened(t, filepath.Join(dir, "rules.yml"))
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
	require.Eventually(t, func() bool { return len(m.ask(t, "up == 1")) == 9 }, 2*time.Minute, time.Second, "Prometheus does not reach every process")
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

// fires waits until an alert fires in Prometheus and has arrived at
// Alertmanager's receiver, with the way to its page.
func (m *monitor) fires(t testing.TB, alert, page string) {
	t.Helper()
	began := time.Now()
	require.Eventually(t, func() bool {
		return len(m.ask(t, `ALERTS{alertstate="firing", alertname="`+alert+`"}`)) > 0
	}, 5*time.Minute, time.Second, "%s does not fire", alert)
	fired := time.Since(began)
	var n notice
	require.Eventually(t, func() bool {
		var ok bool
		n, ok = m.last(alert)
		return ok && n.Status == "firing" && n.at.After(began.Add(-time.Minute))
	}, time.Minute, 200*time.Millisecond, "%s does not arrive", alert)
	require.Equal(t, pagesURL+"docs/operations/"+page+".md", n.Annotations["runbook_url"])
	t.Logf("%s fired after %.1f s and was told after %.1f s: %s", alert, fired.Seconds(), time.Since(began).Seconds(), n.Annotations["summary"])
}

// resolves waits until it is over, and until that was told.
func (m *monitor) resolves(t testing.TB, alert string) {
	t.Helper()
	began := time.Now()
	require.Eventually(t, func() bool {
		n, _ := m.last(alert)
		return n.Status == "resolved" && len(m.ask(t, `ALERTS{alertname="`+alert+`"}`)) == 0
	}, 5*time.Minute, time.Second, "%s does not resolve", alert)
	t.Logf("%s resolved and told %.1f s after the last command of the page", alert, time.Since(began).Seconds())
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
