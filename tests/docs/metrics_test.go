package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A meter is one metric as its constructor in the sources says it: a vector
// shows nothing in its registry before it was counted on.
type meter struct {
	name, kind, help string
	labels           []string
	where            string // folder
}

// who exposes the metrics of a folder; longer prefixes first.
var exposed = []struct{ folder, who string }{
	{"internal/router", "router"}, {"internal/upstream", "router"}, {"internal/inbound", "router"},
	{"internal/runtime", "runtime"}, {"internal/follow", "router, runtimes"}, {"internal/witness", "worker of a region"},
	{"worker", "worker"}, {"activities", "worker"}, {"internal/site", "site"}, {"api", "API"}, {"web", "API (console)"}, {"cmd/fabric", "API, worker"},
}

func exposer(folder string) string {
	for _, e := range exposed {
		if folder == e.folder || strings.HasPrefix(folder, e.folder+"/") {
			return e.who
		}
	}
	return "API, worker"
}

var constructor = regexp.MustCompile(`^New(Counter|Gauge|Histogram|Summary)(Vec|Func)?$`)

// meters reads every constructor of a metric in the product's sources.
func meters(t *testing.T) []meter {
	t.Helper()
	var all []meter
	for _, folder := range []string{"activities", "api", "cmd", "internal", "web", "worker"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if c, ok := n.(*ast.CallExpr); ok {
					if m, ok := constructed(t, path, c); ok {
						rel, err := filepath.Rel(root, filepath.Dir(path))
						require.NoError(t, err)
						m.where = filepath.ToSlash(rel)
						all = append(all, m)
					}
				}
				return true
			})
			return nil
		})
		require.NoError(t, err)
	}
	slices.SortFunc(all, func(a, b meter) int { return strings.Compare(a.name, b.name) })
	return all
}

// constructed reads a call of prometheus.NewCounter and its relatives.
func constructed(t *testing.T, path string, c *ast.CallExpr) (meter, bool) {
	fn, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || len(c.Args) == 0 {
		return meter{}, false
	}
	match := constructor.FindStringSubmatch(fn.Sel.Name)
	if pkg, ok := fn.X.(*ast.Ident); !ok || pkg.Name != "prometheus" || match == nil {
		return meter{}, false
	}
	options, ok := c.Args[0].(*ast.CompositeLit)
	require.True(t, ok, "%s: the options of %s are not written out", path, fn.Sel.Name)
	m := meter{kind: strings.ToLower(match[1])}
	for _, element := range options.Elts {
		field := element.(*ast.KeyValueExpr)
		switch field.Key.(*ast.Ident).Name {
		case "Name":
			m.name = spoken(t, path, field.Value)
		case "Help":
			m.help = spoken(t, path, field.Value)
		case "ConstLabels":
			m.labels = append(m.labels, "service") // of api/metrics.go, the only one
		}
	}
	if match[2] == "Vec" {
		list, ok := c.Args[1].(*ast.CompositeLit)
		require.True(t, ok, "%s: the labels of %s are not written out", path, m.name)
		for _, element := range list.Elts {
			m.labels = append(m.labels, spoken(t, path, element))
		}
	}
	return m, true
}

// spoken is the value of a string, also of one that is put together.
func spoken(t *testing.T, path string, e ast.Expr) string {
	t.Helper()
	switch e := e.(type) {
	case *ast.BasicLit:
		value, err := strconv.Unquote(e.Value)
		require.NoError(t, err)
		return value
	case *ast.BinaryExpr:
		return spoken(t, path, e.X) + spoken(t, path, e.Y)
	}
	t.Fatalf("%s: a text that is not written out", path)
	return ""
}

const metricsHead = `# Metrics

Made from the constructors in the sources; a test compares. Every process answers ` + "`GET /metrics`" + ` (Prometheus, with exemplars that hold a trace id), a worker where
` + "`FABRIC_METRICS_LISTEN`" + ` says. No label is a tenant, a person or an id. Beside these: what the Go runtime and the process say of themselves (` + "`go_*`, `process_*`" + `), and
the Temporal SDK's (` + "`temporal_*`" + `) of a worker. A histogram has the series ` + "`_bucket`, `_sum` and `_count`" + `.

The site exposes nothing: it listens on nothing. What is known of it are its answers, in the API's metrics. Alerts and dashboards that use these are in
[infra/prometheus](../../infra/prometheus) and [infra/grafana](../../infra/grafana).

| metric | kind | labels | means | of |
| --- | --- | --- | --- | --- |
`

func TestTheMetricsReferenceIsWhatIsRegistered(t *testing.T) {
	var b strings.Builder
	b.WriteString(metricsHead)
	all := meters(t)
	require.Greater(t, len(all), 40)
	for _, m := range all {
		require.NotEmpty(t, m.help, "%s says not what it means", m.name)
		labels := ""
		if len(m.labels) > 0 {
			labels = "`" + strings.Join(m.labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.name, m.kind, labels, strings.ReplaceAll(m.help, "|", `\|`), exposer(m.where))
	}
	written(t, "docs/reference/metrics.md", b.String())
}
