package round

import "github.com/atom-fabric/fabric/domain/artifact"

// Counts is what is known of one region's stage. All are numbers of sites.
type Counts struct {
	Selected int `json:"selected"`
	Accepted int `json:"accepted"`
	Rejected int `json:"rejected"` // answered, and dropped for what they answered
}

// A Metrics is a sum of integers over sites: it is the same in any order.
// Measured is none and is not added: it names the stored sum of what a run's
// [Measurement] counts, once all regions are in it.
// Loss travels in millionths, rounded at the site, so that sums stay exact.
type Metrics struct {
	Examples   int64 `json:"examples"`   // rows trained on
	Evaluated  int64 `json:"evaluated"`  // held-out rows
	Correct    int64 `json:"correct"`    // of them classified rightly
	LossMicros int64 `json:"lossMicros"` // sum over held-out rows of the cross-entropy, in millionths of a nat

	Measured artifact.Digest `json:"measured,omitempty"`
}

// Add returns the sum of both.
func (m Metrics) Add(o Metrics) Metrics {
	return Metrics{
		Examples:   m.Examples + o.Examples,
		Evaluated:  m.Evaluated + o.Evaluated,
		Correct:    m.Correct + o.Correct,
		LossMicros: m.LossMicros + o.LossMicros,
	}
}

// AccuracyBP returns the accuracy in basis points, 0..10000, and false when no
// row was evaluated.
func (m Metrics) AccuracyBP() (int64, bool) {
	if m.Evaluated == 0 {
		return 0, false
	}
	return m.Correct * 10_000 / m.Evaluated, true
}
