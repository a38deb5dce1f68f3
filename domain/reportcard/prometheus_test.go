package reportcard_test

import (
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/reportcard"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

// Prometheus' own parser reads what we write.
func TestPrometheusReadsTheCard(t *testing.T) {
	c := card()
	c.Subject.Region = "e\"u\\\n"
	c.Dimensions = append(c.Dimensions, scorecard.Dimension{Name: scorecard.Drift, Status: scorecard.NoData, Figures: []scorecard.Figure{
		{Name: "psi/age", Value: 0.31, Status: scorecard.Fail, ReportOnly: true}, {Name: "psi/few", Value: 0, Status: scorecard.Insufficient, ReportOnly: true},
		{Name: "largestEffect", Value: 0.31, Status: scorecard.NoData},
	}})
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(reportcard.Prometheus(c)))
	require.NoError(t, err)
	values := map[string]float64{}
	for name, f := range families {
		for _, m := range f.Metric {
			key := name
			for _, l := range m.Label {
				switch l.GetName() {
				case "dimension", "figure", "feature":
					key += " " + l.GetValue()
				case "region":
					require.Equal(t, c.Subject.Region, l.GetValue())
				}
			}
			values[key] = m.Gauge.GetValue()
		}
	}
	require.Equal(t, map[string]float64{
		"fabric_scorecard_overall":                            0,
		"fabric_scorecard_open":                               0,
		"fabric_scorecard_passed fairness":                    0,
		"fabric_scorecard_passed calibration":                 1,
		"fabric_scorecard_figure fairness equalizedOdds":      0.2,
		"fabric_scorecard_figure fairness selection/<b>":      0.4,
		"fabric_scorecard_figure_low fairness equalizedOdds":  0.11,
		"fabric_scorecard_figure_high fairness equalizedOdds": 0.31,
		"fabric_scorecard_figure drift psi/age":               0.31,
		"fabric_scorecard_figure drift psi/few":               0,
		"fabric_drift_psi age":                                0.31,
	}, values)
}
