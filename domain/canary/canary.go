// Package canary judges a version by the share of the traffic that it answers,
// beside the version that it would replace, in the same place at the same time.
//
// What is measured, how far it may be worse and after how many answers it is
// judged are written down before the first answer, and a test that may be
// looked at as often as one likes decides: the probability that a version which
// is no worse than its margins is ever taken back by mistake is bounded over
// all looks, metrics and steps together.
//
// Workflows call what works on integers: [Design], [Verdict], [Worst],
// [Design.Steps] and [Design.Next]. What works on floats is for activities,
// which hand a workflow nothing of it but a verdict.
//
// Invariant: what could not be measured never passes. No answers, too few of
// them and a number that is none are [NoData].
package canary

// A Verdict is what a look found.
type Verdict string

// Verdicts.
const (
	Pass         Verdict = "PASS"         // no worse than the margin, as far as chance allows
	Fail         Verdict = "FAIL"         // worse than the margin, whatever chance did
	Inconclusive Verdict = "INCONCLUSIVE" // neither, yet
	NoData       Verdict = "NO_DATA"      // nothing, or too little, was measured
)

// Worst returns the verdict over several: one that failed fails all, and what
// was not measured passes nothing. Of none it is [NoData].
func Worst(verdicts ...Verdict) Verdict {
	rank := map[Verdict]int{Pass: 1, Inconclusive: 2, NoData: 3, Fail: 4}
	worst, most := NoData, 0
	for _, v := range verdicts {
		r, ok := rank[v]
		if !ok {
			v, r = NoData, rank[NoData]
		}
		if r > most {
			worst, most = v, r
		}
	}
	return worst
}
