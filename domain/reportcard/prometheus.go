package reportcard

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/atom-fabric/fabric/domain/scorecard"
)

// Prometheus returns the card in the text exposition format, version 0.0.4:
// what a tenant's own Prometheus scrapes of its own model. A verdict is 1 for
// PASS, 0 for FAIL, and has no sample for what says too little, so that an alert
// on absence finds it and one on a threshold does not.
func Prometheus(c scorecard.Card) string {
	var b strings.Builder
	s := c.Subject
	who := fmt.Sprintf("tenant=%s,model=%s,version=%s,region=%s", quoted(s.Tenant), quoted(s.Model), quoted(strconv.Itoa(s.Version)), quoted(s.Region))
	family := func(name, help string) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
	}
	family("fabric_scorecard_overall", "Mean score of the dimensions with data, 0 to 100; 0 when a critical one fails.")
	fmt.Fprintf(&b, "fabric_scorecard_overall{%s} %d\n", who, c.Overall)
	family("fabric_scorecard_open", "Whether nothing critical stands against a promotion.")
	fmt.Fprintf(&b, "fabric_scorecard_open{%s} %d\n", who, bit(c.Gate().Decision == scorecard.Open))
	family("fabric_scorecard_passed", "Verdict on a dimension: 1 passes, 0 fails; absent where too little is known.")
	for _, d := range c.Dimensions {
		if d.Status == scorecard.Pass || d.Status == scorecard.Fail {
			fmt.Fprintf(&b, "fabric_scorecard_passed{%s,dimension=%s,critical=%s} %d\n", who, quoted(d.Name), quoted(strconv.FormatBool(d.Critical)), bit(d.Status == scorecard.Pass))
		}
	}
	family("fabric_scorecard_figure", "A measured figure, in its unit.")
	each := func(suffix string, of func(scorecard.Figure) *float64) {
		for _, d := range c.Dimensions {
			for _, f := range d.Figures {
				if v := of(f); v != nil && f.Status != scorecard.NoData {
					fmt.Fprintf(&b, "fabric_scorecard_figure%s{%s,dimension=%s,figure=%s,unit=%s} %s\n", suffix, who, quoted(d.Name), quoted(f.Name), quoted(f.Unit), strconv.FormatFloat(*v, 'g', -1, 64))
				}
			}
		}
	}
	each("", func(f scorecard.Figure) *float64 { return &f.Value })
	family("fabric_scorecard_figure_low", "Lower end of a figure's 95 % interval.")
	each("_low", func(f scorecard.Figure) *float64 { return f.Low })
	family("fabric_scorecard_figure_high", "Upper end of a figure's 95 % interval.")
	each("_high", func(f scorecard.Figure) *float64 { return f.High })
	family("fabric_drift_psi", "Population stability index of a watched column against the model's first run that counted in the same bins.")
	for _, d := range c.Dimensions {
		for _, f := range d.Figures {
			if column, ok := strings.CutPrefix(f.Name, "psi/"); ok && d.Name == scorecard.Drift && f.Status != scorecard.NoData && f.Status != scorecard.Insufficient {
				fmt.Fprintf(&b, "fabric_drift_psi{%s,feature=%s} %s\n", who, quoted(column), strconv.FormatFloat(f.Value, 'g', -1, 64))
			}
		}
	}
	return b.String()
}

func bit(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// quoted is a label's value.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}
