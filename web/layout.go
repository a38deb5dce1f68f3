package web

import (
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"strings"
	"time"
)

//go:embed templates
var templateFiles embed.FS

// A page is what the layout is given. Templates of a page find their own data
// under .Body.
type page struct {
	Title      string
	Who        session
	SignedIn   bool
	Simulation bool // of the system
	Pretended  bool // anybody may sign in as anyone
	Nav        []navItem
	Notice     string
	Version    string
	TemporalUI string
	Now        time.Time
	Back       string // this page, for forms that lead back to it
	Body       any
}

type navItem struct {
	Label, Link string
	Here        bool
}

// nav is what the pages' menu shows, in this order.
func nav() []navItem {
	return []navItem{
		{Label: "Inbox", Link: Path},
		{Label: "Runs", Link: link("runs")},
		{Label: "Models", Link: link("models")},
		{Label: "Rollouts", Link: link("rollouts")},
		{Label: "Policies", Link: link("policies")},
		{Label: "Catalog", Link: link("catalog")},
		{Label: "Regions", Link: link("regions")},
		{Label: "Audit", Link: link("audit")},
		{Label: "Settings", Link: link("settings")},
	}
}

// notices are what a page may be asked to say once something was done: the
// address names one, it never holds the text.
func notices() map[string]string {
	return map[string]string{
		"signed-out":  "You are signed out.",
		"voted":       "Your vote counts.",
		"enrolled":    "The key is registered.",
		"unenrolled":  "The registration is revoked.",
		"tokens-gone": "Those tokens are refused from now on.",

		"run-pause":  "The run was asked to hold: the open round ends, no other begins.",
		"run-resume": "The run was asked to go on.",
		"run-stop":   "The run was asked to stop after its open round.",

		"rollout-pause":  "The rollout is paused: who has the version keeps it.",
		"rollout-resume": "The rollout goes on.",
		"rollout-abort":  "The rollout is aborted: what served before serves again.",

		"policy-pause":  "The policy rollout is paused.",
		"policy-resume": "The policy rollout goes on.",
		"policy-abort":  "The policy rollout is aborted: its regions go back.",

		"access-asked":   "Your request is sent to the feature's owner.",
		"access-approve": "The request is approved, and the grant recorded.",
		"access-reject":  "The request is rejected.",
		"access-revoke":  "The access is revoked, and the grant withdrawn.",
		"withdrawn":      "The consent is withdrawn. It holds from now on; see below what it reached.",
	}
}

func (v *visit) page(title string, body any) page {
	p := page{
		Title: title, Who: v.who, SignedIn: v.signed, Simulation: v.c.opts.Simulation, Version: v.c.opts.Version,
		TemporalUI: v.c.opts.TemporalUI, Now: v.now(), Body: body, Notice: notices()[v.query("done")], Back: v.r.URL.RequestURI(),
		Pretended: v.c.opts.SignIn != nil && v.c.opts.SignIn.Simulated(),
	}
	if v.signed {
		p.Nav = nav()
		for i, item := range p.Nav {
			at := v.r.URL.Path
			p.Nav[i].Here = at == item.Link || item.Link != Path && strings.HasPrefix(at, item.Link+"/")
		}
	}
	return p
}

// parse reads every page once: the layout, the parts that pages share
// (templates/parts), and the page itself.
func (c *Console) parse() (map[string]*template.Template, error) {
	shared, err := template.New("").Funcs(c.funcs()).ParseFS(templateFiles, "templates/layout.html", "templates/parts/*.html")
	if err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	files, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("templates: %w", err)
	}
	pages := map[string]*template.Template{}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "templates/"), ".html")
		if name == "layout" {
			continue
		}
		set, err := shared.Clone()
		if err == nil {
			set, err = set.ParseFS(templateFiles, file)
		}
		if err != nil {
			return nil, fmt.Errorf("templates: %w", err)
		}
		pages[name] = set.Option("missingkey=error")
	}
	return pages, nil
}
