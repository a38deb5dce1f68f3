package reportcard

import (
	"fmt"
	"html/template"
	"strings"

	"github.com/atom-fabric/fabric/domain/scorecard"
)

const (
	barWide, barHigh = 220, 18
	side             = 240 // of the calibration plot
)

// bar draws a figure's value, its interval and its limit over one axis from 0,
// or from the least of them, to the greatest.
func bar(f scorecard.Figure) template.HTML {
	if f.Status == scorecard.NoData || (f.Limit == nil && f.Low == nil) {
		return ""
	}
	low, high := min(0, f.Value), max(1e-9, f.Value)
	for _, p := range []*float64{f.Low, f.High, f.Limit} {
		if p != nil {
			low, high = min(low, *p), max(high, *p)
		}
	}
	if f.Unit == "share" {
		high = max(high, 1)
	}
	at := func(x float64) float64 { return 4 + (barWide-8)*(x-low)/(high-low) }
	var b strings.Builder
	// Only numbers of ours and words of ours go in: nothing is to be escaped.
	fmt.Fprintf(&b, `<svg role="img" width="%d" height="%d" viewBox="0 0 %d %d"><title>%.4g, %s, limit %s</title>`, barWide, barHigh, barWide, barHigh, f.Value, interval(f), limit(f))
	fmt.Fprintf(&b, `<line x1="4" y1="9" x2="%d" y2="9" class="axis"/>`, barWide-4)
	if f.Low != nil && f.High != nil {
		fmt.Fprintf(&b, `<rect x="%.1f" y="5" width="%.1f" height="8" class="span %s"/>`, at(*f.Low), max(1, at(*f.High)-at(*f.Low)), class(f.Status))
	}
	if f.Limit != nil {
		fmt.Fprintf(&b, `<line x1="%.1f" y1="1" x2="%.1f" y2="17" class="limit"/>`, at(*f.Limit), at(*f.Limit))
	}
	fmt.Fprintf(&b, `<circle cx="%.1f" cy="9" r="3.5" class="%s"/></svg>`, at(f.Value), class(f.Status))
	return template.HTML(b.String())
}

// curve draws the calibration curve: mean score against share of positives, the
// area of a point by its rows, beside the diagonal that good scores lie on.
func curve(points []scorecard.Point) template.HTML {
	if len(points) == 0 {
		return ""
	}
	var most int64
	for _, p := range points {
		most = max(most, p.N)
	}
	at := func(x float64) float64 { return 20 + x*(side-40) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg role="img" width="%d" height="%d" viewBox="0 0 %d %d"><title>calibration: share of positives over mean score, %d bins</title>`, side, side, side, side, len(points))
	fmt.Fprintf(&b, `<rect x="20" y="20" width="%d" height="%d" class="frame"/><line x1="20" y1="%d" x2="%d" y2="20" class="limit"/><polyline class="line" points="`, side-40, side-40, side-20, side-20)
	for _, p := range points {
		fmt.Fprintf(&b, "%.1f,%.1f ", at(p.Score), side-at(p.Rate))
	}
	b.WriteString(`"/>`)
	for _, p := range points {
		fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="%.1f" class="dot"/>`, at(p.Score), side-at(p.Rate), 2+4*float64(p.N)/float64(most))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d">mean score</text><text x="4" y="14">share of positives</text></svg>`, side/2-30, side-4)
	return template.HTML(b.String())
}

const pageTemplate = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Scorecard of {{title .}}</title>
<style>
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:1rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2rem .6rem;border-bottom:1px solid #8886;vertical-align:top}
.tag{padding:0 .5rem;border-radius:.5rem;color:#fff}.tag.pass{background:#176b37}.tag.fail{background:#a3182d}.tag.open{background:#5b6370}
.pass{fill:#2a9d57}.fail{fill:#c9344b}.open{fill:#8a929e}.span{opacity:.45}.axis,.frame{stroke:#8888;fill:none}.limit{stroke:#d08a00;stroke-dasharray:3 2}
.line{stroke:#4a74c9;fill:none}.dot{fill:#4a74c9}text{font-size:11px;fill:currentColor}
@media print{body{max-width:none}}
</style></head><body>
<h1>Scorecard of {{title .}}</h1>
<p><span class="tag {{class .Status}}">{{.Status}}</span> overall {{.Overall}} of 100, over {{.Runs}} runs{{with .Run}}; run {{.}}{{end}}. {{verdict .}}</p>
{{range .Dimensions}}<h2>{{.Name}} <span class="tag {{class .Status}}">{{.Status}}</span>{{critical .}}</h2>
{{with .Notes}}<ul>{{range .}}<li>{{.}}</li>{{end}}</ul>{{end}}
{{with .Figures}}<table><thead><tr><th>figure</th><th>value</th><th>95 %</th><th>limit</th><th>rows</th><th>verdict</th><th></th></tr></thead><tbody>
{{range .}}<tr><td>{{.Name}}</td><td>{{value .}}</td><td>{{interval .}}</td><td>{{limit .}}</td><td>{{rows .}}</td><td>{{said .}}</td><td>{{bar .}}</td></tr>
{{end}}</tbody></table>{{end}}
{{curve .Curve}}
{{end}}</body></html>
`
