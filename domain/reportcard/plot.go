package reportcard

import (
	"html/template"

	"github.com/atom-fabric/fabric/domain/chart"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

// bar draws a figure's value, its interval and its limit.
func bar(f scorecard.Figure) template.HTML {
	if f.Status == scorecard.NoData || (f.Limit == nil && f.Low == nil) {
		return ""
	}
	return chart.HTML(chart.Bar{
		Interval: chart.Interval{Name: f.Name, Estimate: f.Value, Low: f.Low, High: f.High, Margin: f.Limit, State: chart.State(class(f.Status))},
		Share:    f.Unit == "share", Unit: f.Unit,
	})
}

// curve draws the calibration curve.
func curve(points []scorecard.Point) template.HTML {
	if len(points) == 0 {
		return ""
	}
	bins := make([]chart.Bin, len(points))
	for i, p := range points {
		bins[i] = chart.Bin{Score: p.Score, Rate: p.Rate, N: p.N}
	}
	return chart.HTML(chart.Curve{Title: "calibration", Bins: bins})
}

const pageTemplate = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Scorecard of {{title .}}</title>
<style>
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:1rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2rem .6rem;border-bottom:1px solid #8886;vertical-align:top}
.tag{padding:0 .5rem;border-radius:.5rem;color:#fff}.tag.pass{background:#176b37}.tag.fail{background:#a3182d}.tag.open{background:#5b6370}
{{plots}}@media print{body{max-width:none}}
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
