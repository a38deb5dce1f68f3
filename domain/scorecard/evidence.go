package scorecard

import (
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/measure"
)

// A Subject is whom a card is about. Version is 0 for the newest run whether or
// not it became a version; Region is empty for all regions together.
type Subject struct {
	Tenant  string `json:"tenant,omitempty"`
	Model   string `json:"modelId,omitempty"`
	Version int    `json:"version,omitempty"`
	Region  string `json:"region,omitempty"`
}

// Evidence is all that a card is computed from. Nothing of it is a row of
// anybody's table.
type Evidence struct {
	Subject   Subject
	Trials    []Trial           // of the model, the judged one last; oldest first
	Measured  *measure.Measured // by the judged trial; nil when its run counted nothing
	Reference *measure.Measured // what drift is measured from: the model's first trial that counted in the same bins
	Critical  []string          // dimensions that a promotion needs; nil for those of [DefaultCritical]
	Operation Operation         // the fabric's own rounds and routing
	Spending  []Spending        // of the owner's own features
}

// An Operation is what the fabric itself saw of a model's rounds and requests.
type Operation struct {
	Rounds   []RoundFact   // closed rounds, oldest first
	SLO      time.Duration // of a round; 0 is [RoundSLO]
	DrillAge time.Duration // since a rollback was last exercised; negative: never
	Requests int64         // routed to the model
	Errors   int64         // of them not answered
}

// A RoundFact is one closed round.
type RoundFact struct {
	Completed bool
	Selected  int
	Accepted  int
	Started   time.Time
	Ended     time.Time
}

// A Spending is what the budget of a feature was charged, in millionths.
type Spending struct {
	Feature       string
	EpsilonMicros int64
	BudgetMicros  int64 // 0: none was set
}

// Limits of the fabric's own figures.
const (
	RoundSLO    = 10 * time.Minute
	RecoverySLO = 30 * time.Minute
	DrillSLO    = 30 * 24 * time.Hour
	errorLimit  = 0.01
	calibrated  = 0.1 // greatest expected calibration error
	rowsPerBin  = 20  // below this many for each bin the calibration error is mostly noise
)

// DefaultCritical are the dimensions that a promotion needs when the run names
// none: those that it asked its sites to count for. A run that counts nothing
// asks for nothing, and the first that counts has nothing to have drifted from.
func DefaultCritical(m, reference *measure.Measured) []string {
	if m == nil {
		return nil
	}
	critical := []string{Performance}
	if len(m.Groups) > 0 {
		critical = append(critical, Fairness)
	}
	if len(m.Features) > 0 && reference != nil {
		critical = append(critical, Drift)
	}
	return critical
}

// Judge computes the card of a subject: that of [Compute], and one verdict for
// each dimension. A failed critical dimension fails the card, and Overall is 0
// then; otherwise Overall is the mean of the scores of the dimensions with data.
// One without data, or with too little, keeps the card from passing when it is
// critical.
func Judge(e Evidence) Card {
	card := Compute(e.Trials)
	card.Version, card.Subject = FormatVersion, e.Subject
	critical := e.Critical
	if len(critical) == 0 {
		critical = DefaultCritical(e.Measured, e.Reference)
	}
	card.Dimensions = []Dimension{
		performance(card),
		calibrationOf(e.Measured),
		fairnessOf(e.Measured),
		driftOf(e.Reference, e.Measured),
		resilience(e.Operation),
		privacy(e.Spending),
	}
	sum, data := 0, 0
	for i := range card.Dimensions {
		d := &card.Dimensions[i]
		d.Critical = slices.Contains(critical, d.Name)
		if d.Status != NoData {
			sum += d.Score
			data++
		}
	}
	card.Overall = sum / max(1, data)
	switch gate := card.Gate(); gate.Decision {
	case Closed:
		card.Status, card.Overall = Fail, 0
	case Unproven:
		if card.Status == Pass {
			card.Status = Insufficient
		}
	}
	return card
}
