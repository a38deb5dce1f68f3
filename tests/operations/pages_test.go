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
		require.True(t, strings.HasPrefix(page, "docs/operations/"), r.Alert)
		require.Contains(t, text(t, page), "`"+r.Alert+"`", "%s does not name %s", page, r.Alert)
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
	Type    string `json:"type"`
	Title   string `json:"title"`
	GridPos struct {
		X, Y, W, H int
	} `json:"gridPos"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
		Overrides []struct {
			Matcher struct {
				ID      string `json:"id"`
				Options string `json:"options"`
			} `json:"matcher"`
			Properties []struct {
				ID    string `json:"id"`
				Value string `json:"value"`
			} `json:"properties"`
		} `json:"overrides"`
	} `json:"fieldConfig"`
	Targets []struct {
		RefID      string `json:"refId"`
		Expr       string `json:"expr"`
		Legend     string `json:"legendFormat"`
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

// unit is what an expression counts, by how it is written, in Grafana's units.
func unit(expr string) []string {
	has := func(part string) bool { return strings.Contains(expr, part) }
	switch {
	case strings.HasPrefix(expr, "vector("):
		return []string{"s", "short"} // a line to compare with
	case has("_norm_bucket"):
		return []string{"short"}
	case has("histogram_quantile("), has("_seconds:p"):
		return []string{"s"}
	case has(":ratio"), has("_ratio"), has(" / sum("), has(" / (max by"), has("process_cpu_seconds_total"):
		return []string{"percentunit"}
	case has("rate("), has(":rate"):
		return []string{"reqps", "ops"}
	case has("_seconds"):
		return []string{"s"}
	case has("_bytes"):
		return []string{"bytes"}
	}
	return []string{"short", "bool"}
}

// A panel says of every series what it is, in the unit that it has.
func TestPanelsAreReadable(t *testing.T) {
	for name, panels := range boards(t) {
		titles := map[string]bool{}
		for _, p := range panels {
			where := name + ": " + p.Title
			require.False(t, titles[p.Title], "%s: twice", where)
			titles[p.Title] = true
			require.Regexp(t, `^[A-Zp].{2,59}$`, p.Title, where)
			for _, target := range p.Targets {
				if p.Type == "stat" {
					require.Len(t, p.Targets, 1, where)
				} else {
					require.NotEmpty(t, target.Legend, "%s: a series without a name", where)
				}
				shown := p.FieldConfig.Defaults.Unit
				for _, o := range p.FieldConfig.Overrides {
					if o.Matcher.ID == "byFrameRefID" && o.Matcher.Options == target.RefID && o.Properties[0].ID == "unit" {
						shown = o.Properties[0].Value
					}
				}
				require.Contains(t, unit(target.Expr), shown, "%s: %s", where, target.Expr)
			}
		}
	}
}

// The parts that each runbook has.
var parts = []string{"## What you see\n", "## Why it matters\n", "## What to check\n", "## What mends it\n", "## How to know that it is mended\n", "## How it was tried\n"}

// Every page that an alert leads to is a runbook, names its alerts in the first
// line, and has all parts in their order, with commands that look and commands
// that show that it is mended. A page without commands that mend says so.
func TestRunbooksSayWhatTheyMust(t *testing.T) {
	of := map[string][]string{}
	for _, r := range rules(t) {
		if r.Alert != "" {
			page := strings.TrimSuffix(filepath.Base(r.Annotations["runbook_url"]), ".md")
			of[page] = append(of[page], r.Alert)
		}
	}
	for _, page := range []string{"stuck-round", "failed-replay", "region-loss", "key-rotation", "rollback", "budget-exhausted", "replica-lag"} {
		require.Contains(t, of, page, "no alert leads to it")
		require.NotEmpty(t, commands(t, page, "mend"), page)
	}
	for page, alerts := range of {
		content := text(t, "docs/operations/"+page+".md")
		_, named, _ := strings.Cut(content, "\n\nAlerts: ")
		named, _, _ = strings.Cut(named, ".\n")
		require.ElementsMatch(t, alerts, strings.Split(strings.ReplaceAll(named, "`", ""), ", "), "%s, the line of its alerts", page)
		last := -1
		for _, part := range parts {
			at := strings.Index(content, "\n"+part)
			require.Greater(t, at, last, "%s lacks %q, or has it elsewhere", page, part)
			last = at
		}
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
