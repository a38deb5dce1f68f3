package integration

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"go.yaml.in/yaml/v3"

	"github.com/atom-fabric/fabric/internal/prom"
	"github.com/atom-fabric/fabric/internal/telemetry"
)

// temporal are the SDK's metrics that rules and dashboards use, as the SDK
// names and labels them. Source: go.temporal.io/sdk v1.50.0,
// internal/common/metrics/constants.go, and the calls that tag them in
// internal/internal_task_pollers.go, internal_event_handlers.go and
// common/metrics/grpc.go.
var temporal = map[string]struct {
	kind   string // "counter", "timer" or "gauge"
	labels []string
}{
	"temporal_workflow_completed":                 {"counter", []string{"workflow_type"}},
	"temporal_workflow_failed":                    {"counter", []string{"workflow_type"}},
	"temporal_workflow_canceled":                  {"counter", []string{"workflow_type"}},
	"temporal_workflow_endtoend_latency":          {"timer", []string{"workflow_type"}},
	"temporal_workflow_task_execution_failed":     {"counter", []string{"workflow_type", "failure_reason"}},
	"temporal_activity_execution_failed":          {"counter", []string{"activity_type"}},
	"temporal_activity_execution_latency":         {"timer", []string{"activity_type"}},
	"temporal_activity_schedule_to_start_latency": {"timer", []string{"task_queue"}},
	"temporal_worker_task_slots_used":             {"gauge", []string{"task_queue", "worker_type"}},
	"temporal_request_failure":                    {"counter", []string{"operation", "status_code"}},
	"temporal_sticky_cache_size":                  {"gauge", nil},
}

// scraped are the labels that Prometheus adds, and the series that it makes.
var scraped = []string{"job", "instance", "le"}

// A metric is a name that a query may use, and the labels that it has.
type metric struct{ labels []string }

// series maps each name that a process may expose to its labels.
type series map[string]metric

// add adds what a metric of a kind is called in an exposition.
func (s series) add(name, kind string, labels []string) {
	m := metric{append(slices.Clone(labels), scraped...)}
	switch kind {
	case "Histogram":
		s[name+"_bucket"], s[name+"_sum"], s[name+"_count"] = m, m, m
	default:
		s[name] = m
	}
}

// ours reads the metrics from the constructors in the sources: a vector shows
// nothing in its registry before it was counted on.
func ours(t *testing.T, s series) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator))) {
			case ".git", "bin", "dev", "tools", "tests":
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if name, kind, labels, ok := constructed(t, path, call); ok {
					require.Regexp(t, `^fabric_[a-z]+(_[a-z]+)+$`, name, path)
					s.add(name, kind, labels)
				}
			}
			return true
		})
		return nil
	})
	require.NoError(t, err)
}

// constructed reads a call of prometheus.NewCounter and its relatives.
func constructed(t *testing.T, path string, call *ast.CallExpr) (name, kind string, labels []string, ok bool) {
	fn, isSelector := call.Fun.(*ast.SelectorExpr)
	if !isSelector || len(call.Args) == 0 {
		return "", "", nil, false
	}
	if pkg, isIdent := fn.X.(*ast.Ident); !isIdent || pkg.Name != "prometheus" {
		return "", "", nil, false
	}
	require.NotEqual(t, "NewDesc", fn.Sel.Name, "%s: this test does not read descriptions made by hand", path)
	match := regexp.MustCompile(`^New(Counter|Gauge|Histogram)(Vec|Func)?$`).FindStringSubmatch(fn.Sel.Name)
	if match == nil {
		return "", "", nil, false
	}
	options, isLiteral := call.Args[0].(*ast.CompositeLit)
	require.True(t, isLiteral, "%s: the options of %s are not written out", path, fn.Sel.Name)
	for _, element := range options.Elts {
		field := element.(*ast.KeyValueExpr)
		switch key := field.Key.(*ast.Ident).Name; key {
		case "Name":
			name = text(t, path, field.Value)
		case "Namespace", "Subsystem":
			t.Fatalf("%s: write the whole name in Name, so that it can be searched for", path)
		case "ConstLabels":
			labels = append(labels, "service") // of api/metrics.go, the only one
			require.Equal(t, "metrics.go", filepath.Base(path), "%s: const labels are not expected here", path)
		}
	}
	require.NotEmpty(t, name, path)
	if match[2] == "Vec" {
		list, isLiteral := call.Args[1].(*ast.CompositeLit)
		require.True(t, isLiteral, "%s: the labels of %s are not written out", path, name)
		for _, element := range list.Elts {
			labels = append(labels, text(t, path, element))
		}
	}
	return name, match[1], labels, true
}

// text is the value of a string literal.
func text(t *testing.T, path string, e ast.Expr) string {
	t.Helper()
	literal, ok := e.(*ast.BasicLit)
	require.True(t, ok, "%s: not a literal", path)
	value, err := strconv.Unquote(literal.Value)
	require.NoError(t, err)
	return value
}

// libraries adds what the process's own collectors and the Temporal SDK
// expose, as a registry of ours shows it: the exporter appends units.
func libraries(t *testing.T, s series) {
	t.Helper()
	tel, err := telemetry.New(t.Context(), "test", telemetry.Options{Out: io.Discard})
	require.NoError(t, err)
	handler := opentelemetry.NewMetricsHandler(opentelemetry.MetricsHandlerOptions{
		Meter: tel.Meters.Meter("temporal-sdk-go"), OnError: func(err error) { t.Error(err) }, UseMonotonicCounters: true,
	})
	for name, m := range temporal {
		tags := map[string]string{}
		for _, label := range m.labels {
			tags[label] = "x"
		}
		switch tagged := handler.WithTags(tags); m.kind {
		case "counter":
			tagged.Counter(name).Inc(1)
		case "timer":
			tagged.Timer(name).Record(time.Second)
		case "gauge":
			tagged.Gauge(name).Update(1)
		}
	}
	families, err := tel.Registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		kind := "Gauge"
		if family.GetType().String() == "HISTOGRAM" {
			kind = "Histogram"
		}
		var labels []string
		for _, pair := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, pair.GetName())
		}
		s.add(family.GetName(), kind, labels)
	}
	s.add("up", "Gauge", []string{"region"}) // made by Prometheus for each target, labelled by infra/prometheus/prometheus.yml
	s.add("ALERTS", "Gauge", []string{"alertname", "alertstate"})
}

// A query is an expression and where it stands.
type query struct{ where, expr string }

// queries returns the expressions of the rules and the dashboards, and the
// names that the rules record.
func queries(t *testing.T) (all []query, recorded series) {
	t.Helper()
	var rules struct {
		Groups []struct {
			Rules []struct {
				Record string `yaml:"record"`
				Alert  string `yaml:"alert"`
				Expr   string `yaml:"expr"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	content, err := os.ReadFile(filepath.Join(root, "infra/prometheus/rules.yml"))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(content, &rules))
	recorded = series{}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			all = append(all, query{"rule " + r.Record + r.Alert, r.Expr})
			if r.Record != "" {
				recorded[r.Record] = metric{append(grouped(r.Expr), scraped...)}
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(root, "infra/grafana/dashboards/*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		var board struct {
			Panels []struct {
				Title   string `json:"title"`
				Targets []struct {
					Expr string `json:"expr"`
				} `json:"targets"`
			} `json:"panels"`
		}
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(content, &board))
		require.NotEmpty(t, board.Panels, file)
		for _, p := range board.Panels {
			require.NotEmpty(t, p.Targets, "%s: %s", file, p.Title)
			for _, target := range p.Targets {
				all = append(all, query{filepath.Base(file) + ": " + p.Title, target.Expr})
			}
		}
	}
	for metric, q := range prom.Queries() {
		if metric == "drift" || metric == "privacy_attack_advantage" {
			continue // of a tenant's scorecard, and of an attack of its own: not the fabric's to expose
		}
		for _, expr := range []string{q.Hits, q.Total, q.Value} {
			if expr != "" {
				all = append(all, query{"the policy loop: " + metric, strings.NewReplacer("$window", "5m", "$step", "1m").Replace(expr)})
			}
		}
	}
	return all, recorded
}

// grouped returns the labels that an expression aggregates by.
func grouped(expr string) []string {
	var labels []string
	for _, m := range regexp.MustCompile(`\bby \(([^)]*)\)`).FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(m[1], ",") {
			labels = append(labels, strings.TrimSpace(label))
		}
	}
	return labels
}

// language is what a query may hold beside names of metrics.
var language = []string{
	"sum", "max", "min", "count", "rate", "increase", "delta", "changes", "absent", "time", "histogram_quantile", "vector",
	"by", "on", "group_left", "and", "or", "unless", "bool",
}

// names returns the names of metrics in an expression with the labels that
// each is selected by.
func names(expr string) map[string][]string {
	labels := grouped(expr)
	expr = regexp.MustCompile(`\b(by|on|group_left|without|ignoring) \([^)]*\)`).ReplaceAllString(expr, "")
	found := map[string][]string{}
	for _, m := range regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{[^}]*\})?`).FindAllStringSubmatch(durations(expr), -1) {
		if slices.Contains(language, m[1]) {
			continue
		}
		found[m[1]] = append(found[m[1]], labels...)
		for _, s := range regexp.MustCompile(`([a-zA-Z_]+)\s*(?:=~|!~|!=|=)\s*"`).FindAllStringSubmatch(m[2], -1) {
			found[m[1]] = append(found[m[1]], s[1])
		}
	}
	return found
}

// durations removes ranges, whose units read like names.
func durations(expr string) string {
	return regexp.MustCompile(`\[[0-9a-z]+\]`).ReplaceAllString(expr, "")
}

func TestEveryMetricOfRulesAndDashboardsIsRegistered(t *testing.T) {
	known := series{}
	ours(t, known)
	require.Contains(t, known, "fabric_http_requests_total")
	libraries(t, known)
	all, recorded := queries(t)
	maps.Copy(known, recorded)
	require.Greater(t, len(all), 40)
	for _, q := range all {
		used := names(q.expr)
		for name, labels := range used {
			m, ok := known[name]
			require.True(t, ok, "%s uses %s, which nothing exposes", q.where, name)
			if len(used) > 1 {
				continue // which of them a grouping is for, a parser would know
			}
			for _, label := range labels {
				require.Contains(t, m.labels, label, "%s uses label %s of %s", q.where, label, name)
			}
		}
		require.True(t, len(used) > 0 || strings.HasPrefix(q.expr, "vector("), q.where)
	}
	for name := range temporal {
		require.True(t, slices.ContainsFunc(all, func(q query) bool { return strings.Contains(q.expr, name) }), "%s is used nowhere", name)
	}
}

func TestNamesAreFoundInAQuery(t *testing.T) {
	for expr, want := range map[string]map[string][]string{
		`up{job=~"api|worker"} == 0`: {"up": {"job"}},
		`histogram_quantile(0.95, sum by (region, le) (rate(fabric_x_seconds_bucket{code!="5..", a="b"}[5m])))`: {"fabric_x_seconds_bucket": {"region", "le", "code", "a"}},
		`fabric:a:b + on () group_left () misspelt_name`:                                                        {"fabric:a:b": nil, "misspelt_name": nil},
	} {
		require.Equal(t, want, names(expr), expr)
	}
}

func TestRunbooksOfAlertsExist(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(root, "infra/prometheus/rules.yml"))
	require.NoError(t, err)
	found := regexp.MustCompile(`runbook_url: https://github.com/atom-fabric/fabric/blob/main/(\S+)`).FindAllStringSubmatch(string(content), -1)
	require.NotEmpty(t, found)
	for _, m := range found {
		require.FileExists(t, filepath.Join(root, m[1]))
	}
}
