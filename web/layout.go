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
	return append(append([]navItem{{Label: "Inbox", Link: Path}}, recordNav()...), navItem{Label: "Settings", Link: link("settings")})
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
	}
}

func notice(name string) string {
	if text, ok := notices()[name]; ok {
		return text
	}
	return recordNotices()[name]
}

func (v *visit) page(title string, body any) page {
	p := page{
		Title: title, Who: v.who, SignedIn: v.signed, Simulation: v.c.opts.Simulation, Version: v.c.opts.Version,
		TemporalUI: v.c.opts.TemporalUI, Now: v.now(), Body: body, Notice: notice(v.query("done")), Back: v.r.URL.RequestURI(),
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
	shared, err := template.New("").Funcs(c.funcs()).Funcs(recordFuncs()).ParseFS(templateFiles, "templates/layout.html", "templates/parts/*.html")
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
