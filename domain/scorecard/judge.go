package scorecard

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/atom-fabric/fabric/domain/calibration"
	"github.com/atom-fabric/fabric/domain/drift"
	"github.com/atom-fabric/fabric/domain/fairness"
	"github.com/atom-fabric/fabric/domain/measure"
	"github.com/atom-fabric/fabric/domain/statistics"
)

// performance restates the metrics of the card.
func performance(c Card) Dimension {
	d := Dimension{Name: Performance}
	for _, m := range c.Metrics {
		f := Figure{Name: m.Name, Unit: "share", N: m.N, AtLeast: true, Status: m.Status, Value: float64(m.ValueBP) / 10_000, Limit: pointer(float64(m.TargetBP) / 10_000)}
		if m.Status != NoData {
			f.Low, f.High = pointer(float64(m.LowBP)/10_000), pointer(float64(m.HighBP)/10_000)
		}
		// Whether runs end well is the fabric's business: it is judged with the
		// rounds. Of a first run there is nothing to regress from.
		f.ReportOnly = m.Name == "completion"
		d.Figures = append(d.Figures, f)
	}
	if c.Run != "" {
		d.Figures = append(d.Figures, told(Figure{Name: "meanLoss", Unit: "nats"}, float64(c.MeanLossMicros)/1e6))
	}
	return d.closed()
}

func calibrationOf(m *measure.Measured) Dimension {
	d := Dimension{Name: Calibration}
	if m == nil || len(m.Bins) == 0 {
		return noData(d, "the run asked for no bins of scores")
	}
	r, err := calibration.Judge(m.Bins)
	if err != nil {
		return noData(d, err.Error())
	}
	ece := plain(Figure{Name: "expectedCalibrationError", Unit: "share", N: r.N}, r.ECE, calibrated, r.N >= int64(rowsPerBin*len(m.Bins)))
	if ece.Status == Insufficient {
		ece.Detail = fmt.Sprintf("%d rows are less than %d for each bin", r.N, rowsPerBin)
	}
	d.Figures = []Figure{
		ece,
		told(Figure{Name: "rootMeanSquaredCalibrationError", Unit: "share", N: r.N}, r.RMSCE),
		told(Figure{Name: "greatestCalibrationError", Unit: "share", N: r.N}, r.MCE),
		told(Figure{Name: "brier", Unit: "index", N: r.N}, r.Brier),
	}
	for _, p := range r.Curve {
		d.Curve = append(d.Curve, Point{N: p.N, Score: round6(p.Score), Rate: round6(p.Rate)})
	}
	return d.closed()
}

func fairnessOf(m *measure.Measured) Dimension {
	d := Dimension{Name: Fairness}
	if m == nil || len(m.Groups) == 0 {
		return noData(d, "the run declared no groups")
	}
	r, err := fairness.Judge(m.Groups, fairness.Defaults())
	if err != nil {
		return noData(d, err.Error())
	}
	small := ""
	if len(r.Small) > 0 {
		small = fmt.Sprintf("fewer than %d positives or negatives in %s", fairness.Least, strings.Join(r.Small, ", "))
	}
	for _, g := range r.Gaps {
		f := most(Figure{Name: g.Name, Unit: "share"}, g.Value, g.Low, g.High, g.Limit, true)
		if f.Status = Status(g.Status); g.Status == fairness.Insufficient && small != "" {
			f.Detail = small
		} else if g.Widest[0] != "" {
			f.Detail = fmt.Sprintf("%s against %s", g.Widest[0], g.Widest[1])
		}
		if pairs := (fairness.Interval{Low: g.Low, High: g.High}); small == "" && g.Drawn.Holds(g.Limit) && !pairs.Holds(g.Limit) {
			f.Detail += "; the bootstrap's interval holds the limit"
		}
		d.Figures = append(d.Figures, f)
	}
	for _, g := range r.Gaps {
		f := told(Figure{Name: g.Name + "/bootstrap", Unit: "share", Low: pointer(g.Drawn.Low), High: pointer(g.Drawn.High)}, g.Value)
		f.Detail = fmt.Sprintf("percentiles of %d draws by group and truth, seed %d", fairness.Draws, fairness.Seed)
		d.Figures = append(d.Figures, f)
	}
	d.Figures = append(d.Figures,
		told(Figure{Name: "demographicParityRatio", Unit: "share"}, r.Measures.DemographicParityRatio),
		told(Figure{Name: "equalizedOddsRatio", Unit: "share"}, r.Measures.EqualizedOddsRatio),
		told(Figure{Name: "generalizedEntropy", Unit: "index"}, r.Measures.GeneralizedEntropy),
		told(Figure{Name: "theil", Unit: "index"}, r.Measures.Theil),
	)
	for _, rate := range r.Rates {
		f := told(Figure{Name: rate.Name + "/" + rate.Group, Unit: "share", N: rate.N, Low: pointer(rate.Low), High: pointer(rate.High)}, rate.Value)
		d.Figures = append(d.Figures, f)
	}
	return d.closed()
}

func driftOf(reference, current *measure.Measured) Dimension {
	d := Dimension{Name: Drift}
	switch {
	case current == nil || len(current.Features) == 0:
		return noData(d, "the run watched no columns")
	case reference == nil:
		return noData(d, "nothing was counted in these bins before: this run is what later ones are compared with")
	}
	var features []drift.Feature
	for i, f := range current.Features {
		if i >= len(reference.Features) || reference.Features[i].Column != f.Column || !reference.Features[i].Bins.Equal(f.Bins) {
			return noData(d, "the earlier run counted in other bins")
		}
		was := reference.Features[i].Sketch
		got, err := drift.CompareBinned(f.Bins, was, f.Sketch)
		if err != nil {
			features = append(features, drift.Feature{Name: f.Column, Importance: f.Importance})
			d.Notes = append(d.Notes, fmt.Sprintf("%s: %v", f.Column, err))
			continue
		}
		features = append(features, drift.Feature{Name: f.Column, Importance: f.Importance, Effect: got.PSI, P: got.P, N: got.N, M: got.M})
		d.Notes = append(d.Notes, fmt.Sprintf("%s: PSI %.4f (95 %% of no drift below %.4f), Jensen-Shannon %.4f, KS %.4f to %.4f, Wasserstein %.4f +- %.4f sd",
			f.Column, got.PSI, got.PSINull, got.JensenShannon, got.KS, min(1, got.KS+got.KSError), got.Normalised(), got.WError/max(got.Spread, drift.LeastSpread)))
	}
	limits := drift.Defaults()
	v, err := drift.Judge(features, limits)
	if err != nil {
		return noData(d, err.Error())
	}
	share := Figure{Name: "driftedShare", Unit: "share", N: int64(len(features)), Value: round6(v.Share), Limit: pointer(limits.Share)}
	share.Status = between(!v.Drifted, v.Drifted, v.Complete || v.Drifted)
	if !v.Complete {
		share.Detail = fmt.Sprintf("%d of %d columns have fewer than %d rows on a side", len(features)-v.Judged, len(features), limits.LeastRow)
	}
	hard := plain(Figure{Name: "largestEffect", Unit: "index", Detail: v.Largest}, v.Effect, limits.Hard, v.Judged > 0)
	hard.ReportOnly = v.Judged == 0
	d.Figures = []Figure{share, hard}
	for _, f := range v.Findings {
		figure := told(Figure{Name: "psi/" + f.Name, Unit: "index", N: min(f.N, f.M)}, f.Effect)
		figure.Detail = fmt.Sprintf("q = %.4g", f.Q)
		if f.Drifted {
			figure.Status = Fail
		} else if !f.Judged {
			figure.Status = Insufficient
		}
		d.Figures = append(d.Figures, figure)
	}
	return d.closed()
}

// resilience judges the fabric's own rounds and routing.
func resilience(o Operation) Dimension {
	d := Dimension{Name: Resilience}
	var completed, all int64
	var seconds []float64
	tolerated := math.NaN()
	for _, r := range o.Rounds {
		all++
		if !r.Completed {
			continue
		}
		completed++
		seconds = append(seconds, r.Ended.Sub(r.Started).Seconds())
		if r.Selected > 0 {
			if lost := 1 - float64(r.Accepted)/float64(r.Selected); !(tolerated >= lost) {
				tolerated = max(0, lost)
			}
		}
	}
	rounds := Figure{Name: "roundCompletion", Unit: "share", N: all, Status: NoData, AtLeast: true}
	if all > 0 {
		low, high := statistics.Wilson(completed, all)
		rounds = least(rounds, float64(completed)/float64(all), low, high, float64(TargetCompletionBP)/10_000, all >= MinRuns)
	}
	slo := o.SLO
	if slo == 0 {
		slo = RoundSLO
	}
	slow := Figure{Name: "roundSecondsP95", Unit: "seconds", N: int64(len(seconds)), Status: NoData}
	slices.Sort(seconds)
	if p95, err := statistics.Quantile(seconds, 0.95); err == nil {
		slow = plain(slow, p95, slo.Seconds(), len(seconds) >= MinRuns)
	}
	recovery := Figure{Name: "recoverySeconds", Unit: "seconds", Status: NoData}
	if worst, n, open := recoveries(o.Rounds); n > 0 {
		recovery.N = int64(n)
		recovery = plain(recovery, worst.Seconds(), RecoverySLO.Seconds(), true)
		if open {
			recovery.Detail = "the last failure has not been followed by a round that closed"
		}
	}
	drill := Figure{Name: "rollbackDrillAgeSeconds", Unit: "seconds", Status: NoData, Detail: "no rollback has been exercised"}
	if o.DrillAge >= 0 {
		drill.Detail = ""
		drill = plain(drill, o.DrillAge.Seconds(), DrillSLO.Seconds(), true)
	}
	drill.ReportOnly = true
	errors := Figure{Name: "routingErrors", Unit: "share", N: o.Requests, Status: NoData}
	if o.Requests > 0 {
		low, high := statistics.Wilson(o.Errors, o.Requests)
		errors = most(errors, float64(o.Errors)/float64(o.Requests), low, high, errorLimit, o.Requests >= MinRows)
	}
	d.Figures = []Figure{rounds, told(Figure{Name: "toleratedDropout", Unit: "share"}, tolerated), slow, recovery, drill, errors}
	return d.closed()
}

// recoveries returns the longest time from a failed round to the end of the
// next that completed, and how many there were. One that is not over yet is
// known to be open, and counts with the time so far.
func recoveries(rounds []RoundFact) (worst time.Duration, n int, open bool) {
	var since time.Time
	for _, r := range rounds {
		switch {
		case !r.Completed && since.IsZero():
			since = r.Ended
		case r.Completed && !since.IsZero():
			worst, n, since = max(worst, r.Ended.Sub(since)), n+1, time.Time{}
		}
	}
	return worst, n, !since.IsZero()
}

// privacy judges what was spent against what may be.
func privacy(spending []Spending) Dimension {
	d := Dimension{Name: Privacy}
	if len(spending) == 0 {
		return noData(d, "no budget was charged for the model")
	}
	for _, s := range spending {
		f := Figure{Name: "epsilon/" + s.Feature, Unit: "epsilon"}
		spent := float64(s.EpsilonMicros) / 1e6
		if s.BudgetMicros == 0 {
			f = told(f, spent)
			f.Detail = "no budget was set"
		} else {
			f = plain(f, spent, float64(s.BudgetMicros)/1e6, true)
		}
		d.Figures = append(d.Figures, f)
	}
	return d.closed()
}

func noData(d Dimension, why string) Dimension {
	d.Status, d.Figures, d.Notes = NoData, []Figure{}, append(d.Notes, why)
	return d
}
