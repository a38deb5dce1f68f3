// Package operations checks what operators are given: alerts, dashboards,
// runbooks, guides, images. The conditions themselves are caused, and the
// commands of the pages run, under the build tag operations (make operations).
//
// Invariant: the commands that a test runs are those that stand on the page.
package operations

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const root = "../.."

// pagesURL is where a runbook_url leads to, and the folder of the tree that it
// shows.
const pagesURL = "https://github.com/atom-fabric/fabric/blob/main/"

// A rule is one of infra/prometheus/rules.yml.
type rule struct {
	Record      string            `yaml:"record"`
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func rules(t testing.TB) []rule {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(text(t, "infra/prometheus/rules.yml")), &file))
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

func text(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(content)
}

// Every alert says how bad it is and leads to a page that names it; the index
// has them all; and somebody has said when each fires.
func TestEveryAlertHasItsPage(t *testing.T) {
	index, cases := text(t, "docs/operations/README.md"), text(t, "infra/prometheus/tests.yml")
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		require.Contains(t, []string{"page", "ticket"}, r.Labels["severity"], r.Alert)
		require.NotEmpty(t, r.Annotations["summary"], r.Alert)
		page, ok := strings.CutPrefix(r.Annotations["runbook_url"], pagesURL)
		require.True(t, ok, "%s leads to %q", r.Alert, r.Annotations["runbook_url"])
		require.True(t, strings.HasPrefix(page, "docs/"), r.Alert)
		if strings.HasPrefix(page, "docs/operations/") {
			require.Contains(t, text(t, page), "`"+r.Alert+"`", "%s does not name %s", page, r.Alert)
		}
		require.Contains(t, index, "| `"+r.Alert+"` | ["+filepath.Base(page)+"]", "the index of docs/operations")
		require.Contains(t, cases, `alertname="`+r.Alert+`"`, "tests.yml says nothing of %s", r.Alert)
	}
}

// Native histograms drop the classic series: a rule on them would fall silent.
func TestQuantilesAreOfClassicBuckets(t *testing.T) {
	exprs := map[string]string{}
	for _, r := range rules(t) {
		exprs[r.Record+r.Alert] = r.Expr
	}
	for file, panels := range boards(t) {
		for _, p := range panels {
			for _, target := range p.Targets {
				exprs[file+": "+p.Title+" "+target.RefID] = target.Expr
			}
		}
	}
	seen := 0
	for where, expr := range exprs {
		for _, m := range regexp.MustCompile(`histogram_quantile\(([^,]+), *(.*)`).FindAllStringSubmatch(expr, -1) {
			require.Contains(t, m[2], "_bucket", where)
			require.Regexp(t, `by \([^)]*\ble\b[^)]*\)`, m[2], "%s: the bounds are aggregated away", where)
			seen++
		}
		require.NotRegexp(t, `histogram_(count|sum|avg|fraction)\(`, expr, where)
	}
	require.Greater(t, seen, 8)
}

// A panel is what of one the tests look at.
type panel struct {
	ID      int    `json:"id"`
	Title   string `json:"title"`
	GridPos struct {
		X, Y, W, H int
	} `json:"gridPos"`
	Targets []struct {
		RefID      string `json:"refId"`
		Expr       string `json:"expr"`
		Datasource struct {
			UID string `json:"uid"`
		} `json:"datasource"`
	} `json:"targets"`
}

func boards(t testing.TB) map[string][]panel {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "infra/grafana/dashboards/*.json"))
	require.NoError(t, err)
	out, uids := map[string][]panel{}, map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		var board struct {
			UID    string  `json:"uid"`
			Title  string  `json:"title"`
			Panels []panel `json:"panels"`
		}
		require.NoError(t, json.Unmarshal(content, &board), file)
		require.NotEmpty(t, board.UID, file)
		require.Empty(t, uids[board.UID], "%s and %s are one to Grafana", file, uids[board.UID])
		uids[board.UID] = file
		out[filepath.Base(file)] = board.Panels
	}
	return out
}

// The dashboards that operators were promised are there, and Grafana would show
// each panel: an id of its own, a place of its own, the provisioned source.
func TestDashboards(t *testing.T) {
	all := boards(t)
	for _, name := range []string{"overview.json", "training.json", "rounds.json", "router.json", "governance.json", "database.json", "api.json"} {
		require.Contains(t, all, name)
	}
	for name, panels := range all {
		ids, cells := map[int]bool{}, map[[2]int]string{}
		for _, p := range panels {
			require.False(t, ids[p.ID], "%s: id %d twice", name, p.ID)
			ids[p.ID] = true
			require.NotEmpty(t, p.Title, name)
			require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, "%s: %s is wider than the page", name, p.Title)
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					require.Empty(t, cells[[2]int{x, y}], "%s: %s lies on %s", name, p.Title, cells[[2]int{x, y}])
					cells[[2]int{x, y}] = p.Title
				}
			}
			for _, target := range p.Targets {
				require.Equal(t, "prometheus", target.Datasource.UID, "%s: %s", name, p.Title)
			}
		}
	}
}

// The parts that each runbook has.
var parts = []string{"## What you see", "## Why it matters", "## What to check", "## What mends it", "## How to know that it is mended"}

func TestRunbooksSayWhatTheyMust(t *testing.T) {
	for _, page := range []string{"stuck-round", "failed-replay", "key-rotation", "budget-exhausted", "replica-lag", "queue-unserved", "approvals-expiring", "audit-checkpoint", "decision-records", "routing-budget"} {
		content := text(t, "docs/operations/"+page+".md")
		last := -1
		for _, part := range parts {
			at := strings.Index(content, part)
			require.Greater(t, at, last, "%s lacks %q, or has it elsewhere", page, part)
			last = at
		}
	}
	for _, page := range []string{"stuck-round", "failed-replay", "region-loss", "key-rotation", "rollback", "budget-exhausted", "replica-lag"} {
		require.NotEmpty(t, commands(t, page, "check"), page)
		require.NotEmpty(t, commands(t, page, "mended"), page)
	}
}

// commands returns the blocks of a page of docs/operations that are fenced as
// shell for one purpose, in their order.
func commands(t testing.TB, page, purpose string) []string {
	t.Helper()
	var out []string
	for _, m := range regexp.MustCompile("(?ms)^```sh "+purpose+"\n(.*?)^```$").FindAllStringSubmatch(text(t, "docs/operations/"+page+".md"), -1) {
		out = append(out, m[1])
	}
	return out
}
