package round

import (
	"fmt"
	"math"
	"slices"
)

// Limits of a measurement.
const (
	MaxMeasuredGroups = 64
	MaxMeasuredBins   = 256
	MaxMeasured       = 1 << 16 // counts of one site
)

// A Measurement says what the evaluation that closes a run counts beside right
// and wrong. Sites send counts only, and of a secured run only their sum is
// ever seen. Its zero value counts nothing more.
//
// Bins are fixed here, before anybody counts, from what is publicly known of a
// column and not from rows.
type Measurement struct {
	GroupColumn string            `json:"groupColumn,omitempty"` // column of the site's table that says which group a row is of
	Groups      []MeasuredGroup   `json:"groups,omitempty"`      // every group that is to be compared; two or more
	Positive    int               `json:"positive,omitempty"`    // the class that counts as a positive answer; 0 is the last class
	ScoreBins   int               `json:"scoreBins,omitempty"`   // bins of equal width of the probability of that class
	Features    []MeasuredFeature `json:"features,omitempty"`    // columns whose distribution is watched
	Floor       int               `json:"floor,omitempty"`       // cells of fewer rows are withheld; 0 is [DefaultFloor]
	Critical    []string          `json:"critical,omitempty"`    // dimensions of the scorecard without which nothing is promoted
}

// DefaultFloor is the least number of rows of a cell that is shown.
const DefaultFloor = 5

// A MeasuredGroup is a group and the value that its rows have in the column.
type MeasuredGroup struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// A MeasuredFeature is a column with bins of equal width between two ends.
type MeasuredFeature struct {
	Column     string  `json:"column"`
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	Bins       int     `json:"bins"`
	Importance float64 `json:"importance,omitempty"` // what drift of it weighs; where all have 0 each weighs the same
}

// On says whether anything is counted.
func (m Measurement) On() bool {
	return len(m.Groups) > 0 || m.ScoreBins > 0 || len(m.Features) > 0
}

// AtLeast returns the floor.
func (m Measurement) AtLeast() int64 {
	if m.Floor == 0 {
		return DefaultFloor
	}
	return int64(m.Floor)
}

// Counts in a vector of a measurement, for a group, for a bin of scores, and
// beside the bins of a feature.
const (
	PerGroup   = 4 // true positives, false positives, true negatives, false negatives
	PerScore   = 4 // rows, positives, sum of scores and of squared errors in millionths
	PerFeature = 1 // missing
)

// Len is how many counts a site sends.
func (m Measurement) Len() int {
	n := PerGroup*len(m.Groups) + PerScore*m.ScoreBins
	for _, f := range m.Features {
		n += f.Bins + PerFeature
	}
	return n
}

// Class returns the positive class of a model with so many.
func (m Measurement) Class(classes int) int {
	if m.Positive == 0 {
		return classes - 1
	}
	return m.Positive
}

// Dimensions of a scorecard that a run may declare as critical.
func dimensions() []string {
	return []string{"performance", "calibration", "fairness", "drift", "resilience", "privacy"}
}

// validate refuses a measurement that counts nothing sensible.
// Errors: [*ParamError].
func (m Measurement) validate(model ModelSpec) error {
	bad := func(param, format string, args ...any) error {
		return &ParamError{"measurement." + param, fmt.Errorf("%w: "+format, append([]any{ErrOutOfRange}, args...)...)}
	}
	if n := len(m.Groups); n == 1 || n > MaxMeasuredGroups || (n > 0) != (m.GroupColumn != "") {
		return bad("groups", "2 to %d with a groupColumn, or neither", MaxMeasuredGroups)
	}
	seen := map[string]bool{}
	values := map[float64]bool{}
	for _, g := range m.Groups {
		if g.Name == "" || len(g.Name) > 63 || seen[g.Name] || values[g.Value] || math.IsNaN(g.Value) || math.IsInf(g.Value, 0) {
			return bad("groups", "each with a name of at most 63 bytes and a value of its own")
		}
		seen[g.Name], values[g.Value] = true, true
	}
	switch {
	case m.Positive < 0 || m.Positive >= model.Classes:
		return bad("positive", "a class of the model")
	case m.ScoreBins < 0 || m.ScoreBins > MaxMeasuredBins:
		return bad("scoreBins", "0 to %d", MaxMeasuredBins)
	case m.Floor < 0 || m.Floor > 1000:
		return bad("floor", "0 to 1000")
	}
	seen = map[string]bool{}
	for _, f := range m.Features {
		switch width := f.High - f.Low; {
		case f.Column == "" || len(f.Column) > 255 || seen[f.Column]:
			return bad("features", "each column once")
		case f.Bins < 2 || f.Bins > MaxMeasuredBins || !(width > 0) || math.IsInf(width, 1):
			return bad("features", "2 to %d bins between low and a higher high", MaxMeasuredBins)
		case !(f.Importance >= 0) || math.IsInf(f.Importance, 1):
			return bad("features", "no negative importance")
		}
		seen[f.Column] = true
	}
	if m.Len() > MaxMeasured {
		return bad("features", "at most %d counts in all", MaxMeasured)
	}
	known := dimensions()
	for _, c := range m.Critical {
		if !slices.Contains(known, c) {
			return bad("critical", "dimensions are %v", known)
		}
	}
	return nil
}
