package chart_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/chart"
)

const script = `<script>alert(1)</script>"&'`

func at(v float64) *float64 { return &v }

// drawings are each kind with ordinary, awkward and no values.
func drawings() map[string]chart.Drawing {
	nan, inf := math.NaN(), math.Inf(1)
	return map[string]chart.Drawing{
		"lines": chart.Lines{Title: "accuracy", Note: "simulated", X: "round", Y: "%", Marks: []chart.Mark{{Name: "target", Y: 90}}, Series: []chart.Series{
			{Name: "eu", Points: []chart.Point{{1, 50}, {2, 71.25}, {3, 82}, {4, 88.125}}},
			{Name: "us", Points: []chart.Point{{1, 48}, {2, nan}, {3, 79}, {4, 91}}},
			{Name: "a region with a long name", Points: []chart.Point{{1, 40}, {4, 60}}}}},
		"lines-none":      chart.Lines{Title: "epsilon", Y: "epsilon"},
		"lines-awkward":   chart.Lines{Title: script, X: script, Y: script, Series: []chart.Series{{Name: script, Points: []chart.Point{{1, inf}, {nan, 2}, {3, 1e300}, {4, -1e300}}}}, Marks: []chart.Mark{{Name: script, Y: nan}}},
		"lines-one-point": chart.Lines{Title: "bytes", Series: []chart.Series{{Name: "up", Points: []chart.Point{{1, 0}}}}},
		"intervals": chart.Intervals{Title: "deltas against the champion", Unit: "points", Rows: []chart.Interval{
			{Name: "accuracy", Estimate: 1.5, Low: at(0.5), High: at(2.5), Margin: at(-1), State: chart.Pass},
			{Name: "errors", Estimate: -3, Low: at(-4), High: at(-2), Margin: at(-1), State: chart.Fail},
			{Name: "fairness between groups", Estimate: 0.25, State: chart.Open},
			{Name: script, Estimate: nan, Low: at(nan), High: at(1), Margin: at(inf), State: chart.State(script)}}},
		"intervals-none": chart.Intervals{Title: "deltas"},
		"bar":            chart.Bar{Interval: chart.Interval{Name: "accuracy", Estimate: 0.9, Low: at(0.85), High: at(0.94), Margin: at(0.8), State: chart.Pass}, Share: true, Unit: "share"},
		"sequence": chart.Sequence{Title: "errors", X: "answers", Y: "points", Margin: 2, State: chart.Hold, Looks: []chart.Look{
			{100, 1, -4, 6}, {200, 0.5, -2, 3}, {300, nan, nan, nan}, {400, 0.25, -1, 1.5}}},
		"sequence-none": chart.Sequence{Title: "errors", Margin: nan},
		"ladder": chart.Ladder{Title: "rollout", Rungs: []chart.Rung{
			{Label: "1 %", Share: 0.01, State: chart.Pass}, {Label: "25 %", Share: 0.25, State: chart.Hold, Now: true}, {Label: "100 %", Share: 1}, {Label: script, Share: nan, State: chart.Fail}}},
		"ladder-none": chart.Ladder{Title: "rollout"},
		"meter":       chart.Meter{Title: "privacy spent", Value: 3, Most: 8, State: chart.Pass, Unit: "epsilon"},
		"spark":       chart.Spark{Title: "loss", Values: []float64{3, 2, nan, 1, 0.5}},
		"spark-none":  chart.Spark{Title: "loss"},
		"graph": chart.Graph{Title: "where version 2 comes from", Nodes: []chart.Node{
			{ID: "f", Kind: "feature", Label: "b/clicks"}, {ID: "r", Kind: "run", Label: "run-1"}, {ID: "v", Kind: "version", Label: "m 2", Chosen: true}, {ID: "x", Kind: script, Label: script + strings.Repeat("long", 40)}},
			Edges: []chart.Edge{{"f", "r"}, {"r", "v"}, {"f", "v"}, {"v", "v"}, {"r", "nobody"}, {"x", "v"}}},
		"graph-circle": chart.Graph{Title: "a circle", Nodes: []chart.Node{{ID: "a"}, {ID: "b"}}, Edges: []chart.Edge{{"a", "b"}, {"b", "a"}}},
		"graph-none":   chart.Graph{Title: "nothing"},
		"regions": chart.Regions{Title: "weights", Regions: []chart.Region{
			{Name: "eu", Weight: 3, State: chart.Pass, Note: "2 endpoints"}, {Name: "us", Weight: 1, State: chart.Hold}, {Name: "ap", Weight: 0, State: chart.Fail}, {Name: script, Weight: nan}}},
		"regions-none":   chart.Regions{Title: "weights"},
		"latencies":      chart.Latencies{Title: "eu", P50: 12, P95: 130, P99: 612, Budget: 500},
		"latencies-none": chart.Latencies{Title: "eu", P50: nan, P95: nan, P99: nan, Budget: 500},
		"curve":          chart.Curve{Title: "calibration", Bins: []chart.Bin{{0.1, 0.12, 100}, {0.5, 0.4, 300}, {0.9, 0.93, 50}}},
	}
}

func TestDrawings(t *testing.T) {
	for name, d := range drawings() {
		t.Run(name, func(t *testing.T) {
			got := []byte(chart.HTML(d) + "\n")
			golden := filepath.Join("testdata", name+".svg")
			if os.Getenv("FABRIC_GOLDEN") == "write" {
				require.NoError(t, os.WriteFile(golden, got, 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got), "look at the picture, then write it anew with FABRIC_GOLDEN=write")
		})
	}
}

// Whatever the values are, a drawing is well-formed, named, free of what a
// strict content security policy refuses, and free of places that are none.
func TestDrawingsAreSafeWhereverTheyStand(t *testing.T) {
	for name, d := range drawings() {
		t.Run(name, func(t *testing.T) {
			page := string(chart.HTML(d))
			titles, texts := 0, ""
			decoder := xml.NewDecoder(strings.NewReader(page))
			for {
				token, err := decoder.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err, page)
				switch token := token.(type) {
				case xml.StartElement:
					require.Contains(t, []string{"svg", "title", "desc", "text", "line", "rect", "circle", "path"}, token.Name.Local)
					if token.Name.Local == "title" {
						titles++
					}
					for _, a := range token.Attr {
						require.NotEqual(t, "style", a.Name.Local)
						require.False(t, strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "href", a.Name.Local)
						require.NotContains(t, a.Value, "NaN")
						require.NotContains(t, a.Value, "Inf")
					}
				case xml.CharData:
					texts += string(token)
				}
			}
			require.Equal(t, 1, titles)
			require.Contains(t, page, `role="img"`)
			require.NotContains(t, page, "<script")
			require.NotContains(t, page, "<style")
			require.NotContains(t, texts, "NaN")
			require.Equal(t, page, string(chart.HTML(d)), "equal values are equal bytes")
			require.Equal(t, 1, bytes.Count(chart.File(d), []byte("<style>")), "a file brings its style")
		})
	}
}

func TestWhatSaysTooLittleIsNeverGreen(t *testing.T) {
	for _, state := range []chart.State{chart.Open, "", "INSUFFICIENT", "pass fail"} {
		page := string(chart.HTML(chart.Bar{Interval: chart.Interval{Estimate: 1, Low: at(0.5), High: at(2), State: state}}))
		require.Contains(t, page, `class="open"`)
		require.NotContains(t, page, "pass")
	}
	require.Equal(t, chart.Open, chart.Latencies{P95: math.NaN(), Budget: 500}.State())
	require.Equal(t, chart.Fail, chart.Latencies{P95: 500, Budget: 500}.State(), "P6 says under")
	require.Equal(t, chart.Pass, chart.Latencies{P95: 499, Budget: 500}.State())
}

// The axis of 50 to 91.25 with 0 and a mark at 90 is 0 to 100 by 20: the value
// 50 is half way up between y = 34 and the foot.
func TestAValueStandsWhereItsAxisSays(t *testing.T) {
	page := string(chart.HTML(chart.Lines{Title: "t", Series: []chart.Series{{Name: "a", Points: []chart.Point{{0, 0}, {5, 50}, {10, 100}}}}}))
	// 440 wide: 52 to 428; 240 high: the foot at 240 - 34 = 206, the top at 34.
	require.Contains(t, page, `d="M52 206L240 120L428 34"`)
}

func TestNumbersAreShort(t *testing.T) {
	for want, v := range map[string]float64{
		"0": 0, "1": 1, "0.3": 0.1 + 0.2, "12.35": 12.346, "1.235k": 1234.6, "-2.5M": -2.5e6, "3G": 3e9,
		"1.0e-05": 1e-5, "0.0012": 0.0012, "no number": math.NaN(), "beyond all numbers": math.Inf(-1),
	} {
		require.Equal(t, want, chart.Number(v))
	}
}

// 100,000 points are a page's worth of bytes, and no peak is lost.
func TestALongSeriesIsThinned(t *testing.T) {
	points := make([]chart.Point, 100_000)
	for i := range points {
		points[i] = chart.Point{X: float64(i), Y: 1}
	}
	points[77_777].Y = 1000
	l := chart.Lines{Title: "t", Series: []chart.Series{{Name: "a", Points: points}}}
	page := string(chart.HTML(l))
	require.Less(t, len(page), 20_000)
	require.Contains(t, page, "most 1k")
	require.Contains(t, page, " 34L", "the peak reaches the top of the axis")
}
