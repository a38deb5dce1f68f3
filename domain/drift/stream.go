package drift

import "math"

// A PageHinkley watches a stream for a rise of its mean. Make it with
// [NewPageHinkley].
type PageHinkley struct {
	Least     int     // observations before an alarm
	Delta     float64 // magnitude that is tolerated
	Threshold float64 // λ
	Alpha     float64 // forgetting

	n         int
	mean, sum float64
	alarm     bool
}

// NewPageHinkley returns a detector with at least 30 observations, δ = 0.005,
// λ = 50, α = 0.9999.
func NewPageHinkley() PageHinkley {
	return PageHinkley{Least: 30, Delta: 0.005, Threshold: 50, Alpha: 1 - 1e-4}
}

// Add takes the next value and says whether there is drift. After an alarm the
// detector begins anew with the next value. A value that is not finite is left
// out: the caller counts those as missing data.
// Source: Page, Biometrika 41 (1954); Gama et al., ACM Computing Surveys 46
// (2014), as in river 0.2x with its count beginning at one.
func (d *PageHinkley) Add(x float64) (drift bool) {
	if !finite(x) {
		return false
	}
	if d.alarm || d.n == 0 {
		d.n, d.mean, d.sum, d.alarm = 1, 0, 0, false
	}
	d.mean += (x - d.mean) / float64(d.n)
	d.sum = max(0, d.Alpha*d.sum+x-d.mean-d.Delta)
	d.n++
	d.alarm = d.n >= d.Least && d.sum >= d.Threshold
	return d.alarm
}

// A DDM watches the errors of a classifier for a rise of their rate. Its zero
// value is ready.
type DDM struct {
	n                int
	errors           int
	leastP, leastDev float64
	any              bool
	alarm            bool
}

// Levels of a [DDM], in standard deviations, and how many predictions it sees
// before it speaks.
const (
	DDMWarn  = 2
	DDMDrift = 3
	DDMLeast = 30
)

// Add takes whether the next prediction was wrong. After drift the detector
// begins anew with the next one.
// Source: Gama, Medas, Castillo, Rodrigues, SBIA 2004, LNAI 3171.
func (d *DDM) Add(wrong bool) (warn, drift bool) {
	if d.alarm {
		*d = DDM{}
	}
	d.n++
	if wrong {
		d.errors++
	}
	p := float64(d.errors) / float64(d.n)
	dev := math.Sqrt(p * (1 - p) / float64(d.n))
	if d.n <= DDMLeast {
		return false, false
	}
	if !d.any || p+dev <= d.leastP+d.leastDev {
		d.leastP, d.leastDev, d.any = p, dev, true
	}
	d.alarm = p+dev > d.leastP+DDMDrift*d.leastDev
	return !d.alarm && p+dev > d.leastP+DDMWarn*d.leastDev, d.alarm
}
