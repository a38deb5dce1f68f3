// Package reportcard draws a scorecard for people: as HTML with plots, and as
// Markdown.
//
// Invariant: what is drawn is the card and nothing else. Every figure of every
// dimension appears, also one that says too little; nothing is green but what
// passes; names are escaped, and a page loads nothing and runs nothing.
package reportcard

import (
	"bytes"
	"fmt"
	"html/template"
	"strings"

	"github.com/atom-fabric/fabric/domain/chart"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

// Markdown returns the card as tables.
func Markdown(c scorecard.Card) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Scorecard of %s\n\n", plain(title(c)))
	fmt.Fprintf(&b, "%s, overall %d of 100; accuracy's lower end %d of 100, over %d runs. %s\n", c.Status, c.Overall, c.Score, c.Runs, plain(verdict(c)))
	for _, d := range c.Dimensions {
		fmt.Fprintf(&b, "\n## %s: %s%s\n", d.Name, d.Status, critical(d))
		for _, note := range d.Notes {
			fmt.Fprintf(&b, "\n- %s", plain(note))
		}
		if len(d.Notes) > 0 {
			b.WriteString("\n")
		}
		if len(d.Figures) > 0 {
			b.WriteString("\n| figure | value | 95 % | limit | rows | verdict |\n|---|---|---|---|---|---|\n")
		}
		for _, f := range d.Figures {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", plain(f.Name), value(f), interval(f), limit(f), rows(f), said(f))
		}
		if len(d.Curve) > 0 {
			b.WriteString("\n| rows | mean score | share of positives |\n|---|---|---|\n")
			for _, p := range d.Curve {
				fmt.Fprintf(&b, "| %d | %.4f | %.4f |\n", p.N, p.Score, p.Rate)
			}
		}
	}
	return b.String()
}

// HTML returns the card as one page without scripts or outside references.
func HTML(c scorecard.Card) ([]byte, error) {
	page, err := template.New("page").Funcs(template.FuncMap{
		"value": value, "interval": interval, "limit": limit, "rows": rows, "said": said, "critical": critical,
		"bar": bar, "curve": curve, "title": title, "verdict": verdict, "class": class, "plots": func() template.CSS { return template.CSS(chart.Style) },
	}).Parse(pageTemplate)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = page.Execute(&b, c)
	return b.Bytes(), err
}

func title(c scorecard.Card) string {
	s := c.Subject
	name := s.Model
	if s.Tenant != "" {
		name = s.Tenant + "/" + name
	}
	if s.Version > 0 {
		name += fmt.Sprintf(" version %d", s.Version)
	}
	if s.Region != "" {
		name += " in " + s.Region
	}
	return name
}

func verdict(c scorecard.Card) string {
	gate := c.Gate()
	switch gate.Decision {
	case scorecard.Open:
		return "Nothing critical stands against a promotion."
	case scorecard.Closed:
		return "It is not promoted: " + strings.Join(gate.Reasons, "; ") + "."
	}
	return "Too little is known to promote it: " + strings.Join(gate.Reasons, "; ") + "."
}

func critical(d scorecard.Dimension) string {
	if d.Critical {
		return " (critical)"
	}
	return ""
}

func value(f scorecard.Figure) string {
	if f.Status == scorecard.NoData {
		return "-"
	}
	return fmt.Sprintf("%.4g %s", f.Value, f.Unit)
}

func interval(f scorecard.Figure) string {
	if f.Low == nil || f.High == nil {
		return "-"
	}
	return fmt.Sprintf("%.4g to %.4g", *f.Low, *f.High)
}

func limit(f scorecard.Figure) string {
	switch {
	case f.Limit == nil:
		return "-"
	case f.AtLeast:
		return fmt.Sprintf("at least %.4g", *f.Limit)
	}
	return fmt.Sprintf("at most %.4g", *f.Limit)
}

func rows(f scorecard.Figure) string {
	if f.N == 0 {
		return "-"
	}
	return fmt.Sprint(f.N)
}

func said(f scorecard.Figure) string {
	text := string(f.Status)
	if f.ReportOnly {
		text = "reported"
		if f.Status != scorecard.Pass {
			text += ", " + string(f.Status)
		}
	}
	if f.Detail != "" {
		text += ": " + plain(f.Detail)
	}
	return text
}

// class names how a verdict looks: INSUFFICIENT and NO_DATA are grey, not green.
func class(s scorecard.Status) string {
	switch s {
	case scorecard.Pass:
		return "pass"
	case scorecard.Fail:
		return "fail"
	}
	return "open"
}

// plain keeps a name from being read as Markdown.
func plain(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "`", "'", "<", "&lt;", ">", "&gt;", "*", "\\*", "[", "\\[").Replace(s)
}
