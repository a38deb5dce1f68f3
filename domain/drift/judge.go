package drift

import (
	"cmp"
	"math"
	"slices"

	"github.com/atom-fabric/fabric/domain/statistics"
)

// Limits that a verdict is made with. The zero value is not valid, see
// [Defaults].
type Limits struct {
	Q        float64 `json:"q"`        // false discovery rate over the features
	Effect   float64 `json:"effect"`   // least effect that is drift, however significant: with many rows everything is
	Share    float64 `json:"share"`    // importance-weighted share of drifted features above which the data set has drifted
	Hard     float64 `json:"hard"`     // effect of a single feature above which it has, whatever the others do
	LeastRow int64   `json:"leastRow"` // rows on either side below which a feature is not judged
}

// Defaults are q = 0.05, PSI of 0.1 for an effect and 1 for a hard limit, half of
// the importance, 100 rows.
func Defaults() Limits { return Limits{Q: 0.05, Effect: 0.1, Share: 0.5, Hard: 1, LeastRow: 100} }

// A Feature is the evidence on one column. Effect is its population stability
// index, P the p-value of a test that nothing drifted, Importance what it
// weighs (0 counts as 1 when every feature has 0).
type Feature struct {
	Name       string
	Importance float64
	Effect     float64
	P          float64
	N, M       int64 // values in the reference and now
}

// A Finding is a feature with its verdict.
type Finding struct {
	Feature
	Q       float64
	Judged  bool // there were enough rows
	Drifted bool
}

// A Verdict is what all features say together. Drifted is the data set's.
type Verdict struct {
	Findings []Finding // by name
	Judged   int
	Share    float64 // importance of drifted features / importance of all, judged or not
	Largest  string  // the judged feature with the largest effect
	Effect   float64 // of it
	Drifted  bool
	Complete bool // every feature was judged
}

// Judge decides over the features of one data set. Over those with enough rows
// the false discovery rate is controlled at Limits.Q; a feature has drifted when
// its q-value is at most that and its effect at least Limits.Effect. A feature
// that was not judged keeps its weight below the line and makes the verdict
// incomplete: it is neither drift nor the absence of it.
// Errors: [ErrEmpty] without features; [ErrCount] for an importance that is
// negative or not finite; [statistics.ErrProbability].
func Judge(features []Feature, limits Limits) (Verdict, error) {
	if len(features) == 0 {
		return Verdict{}, ErrEmpty
	}
	var v Verdict
	var weight float64
	var tested []float64
	for _, f := range features {
		if !(f.Importance >= 0) || math.IsInf(f.Importance, 1) || !(f.Effect >= 0) {
			return Verdict{}, ErrCount
		}
		weight += f.Importance
		finding := Finding{Feature: f, Q: 1, Judged: min(f.N, f.M) >= limits.LeastRow}
		if finding.Judged {
			tested = append(tested, f.P)
		}
		v.Findings = append(v.Findings, finding)
	}
	q, err := statistics.BenjaminiHochberg(tested)
	if err != nil {
		return Verdict{}, err
	}
	even := weight == 0
	if even {
		weight = float64(len(features))
	}
	v.Judged, v.Complete = len(tested), len(tested) == len(features)
	next := 0
	for i := range v.Findings {
		f := &v.Findings[i]
		if !f.Judged {
			continue
		}
		f.Q = q[next]
		next++
		if v.Largest == "" || f.Effect > v.Effect {
			v.Largest, v.Effect = f.Name, f.Effect
		}
		if f.Drifted = f.Q <= limits.Q && f.Effect >= limits.Effect; f.Drifted {
			if even {
				v.Share += 1 / weight
			} else {
				v.Share += f.Importance / weight
			}
			v.Drifted = v.Drifted || f.Effect > limits.Hard
		}
	}
	v.Drifted = v.Drifted || v.Share > limits.Share
	slices.SortStableFunc(v.Findings, func(a, b Finding) int { return cmp.Compare(a.Name, b.Name) })
	return v, nil
}
