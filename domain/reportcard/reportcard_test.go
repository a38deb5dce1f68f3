package reportcard_test

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/reportcard"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

func card() scorecard.Card {
	low, high, most := 0.11, 0.31, 0.1
	return scorecard.Card{
		Version: scorecard.FormatVersion, Subject: scorecard.Subject{Tenant: "clinic", Model: "tumour", Version: 3, Region: "eu"},
		Status: scorecard.Fail, Runs: 2, Run: "r2",
		Dimensions: []scorecard.Dimension{
			{Name: scorecard.Fairness, Status: scorecard.Fail, Critical: true, Figures: []scorecard.Figure{
				{Name: "equalizedOdds", Unit: "share", Value: 0.2, Low: &low, High: &high, Limit: &most, Status: scorecard.Fail, Detail: "<script>|a against b"},
				{Name: "selection/<b>", Unit: "share", N: 5, Value: 0.4, Status: scorecard.Pass, ReportOnly: true},
			}},
			{Name: scorecard.Calibration, Status: scorecard.Pass, Score: 100, Curve: []scorecard.Point{{N: 9, Score: 0.1, Rate: 0.2}, {N: 3, Score: 0.8, Rate: 0.7}}},
			{Name: scorecard.Drift, Status: scorecard.NoData, Figures: []scorecard.Figure{}, Notes: []string{"nothing was counted before"}},
		},
	}
}

func TestEveryFigureIsDrawn(t *testing.T) {
	text := reportcard.Markdown(card())
	page, err := reportcard.HTML(card())
	require.NoError(t, err)
	html := string(page)
	for _, out := range []string{text, html} {
		require.Contains(t, out, "clinic/tumour version 3 in eu")
		require.Contains(t, out, "equalizedOdds")
		require.Contains(t, out, "0.11 to 0.31")
		require.Contains(t, out, "at most 0.1")
		require.Contains(t, out, "NO_DATA")
		require.Contains(t, out, "nothing was counted before")
		require.Contains(t, out, "It is not promoted: fairness is FAIL: equalizedOdds")
		require.NotContains(t, out, "<script>", "names are escaped")
	}
	require.NotContains(t, html, "selection/<b>")
	require.Equal(t, 2, strings.Count(html, "<svg"), "an interval and a curve")
	require.NotContains(t, html, "http", "a page loads nothing")
	require.Contains(t, html, `<h2>drift <span class="tag open">`, "no data is not green")
	for _, svg := range strings.Split(html, "<svg")[1:] {
		svg = "<svg" + svg[:strings.Index(svg, "</svg>")] + "</svg>"
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, svg)
		}
		require.Contains(t, svg, `role="img"`)
		require.Contains(t, svg, "<title>")
	}
}
