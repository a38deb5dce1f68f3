package promotion

import "math"

// Risk is a score of 0..100 and what it was computed from, each in 0..1000.
// Score is at least Floor, which is 0 when no floor applies.
type Risk struct {
	Score     int  `json:"score"`
	Reach     int  `json:"reach"`
	Reversal  int  `json:"reversal"`
	Class     int  `json:"class"`
	Uncertain int  `json:"uncertain"`
	Environ   int  `json:"environ"`
	Private   int  `json:"private,omitempty"`
	Floor     int  `json:"floor,omitempty"`
	Loosens   bool `json:"loosens,omitempty"`
}

// Factors are what a risk is assessed from, each in 0..1. They are computed
// from the plan and the world, never typed.
type Factors struct {
	Reach     float64 // share of routing weight that is affected
	Reversal  float64 // how hard it is to take back: 0.1 drilled .. 1 not at all
	Class     float64 // what kind of thing changes
	Private   float64 // share of the remaining privacy budget that it spends
	Uncertain float64 // how little is known of what is deployed
	Environ   float64 // where
	Loosens   bool    // takes protection away, or cannot be told not to
}

// How hard it is to take an action back.
const (
	ReversalNone      = 0.0 // nothing serves it yet
	ReversalDrilled   = 0.1 // a pointer flip that was practised within 30 days
	ReversalUndrilled = 0.3 // a pointer flip
	ReversalBoundary  = 0.7 // data or permission leaves the boundary
	ReversalNever     = 1.0 // budget spent, published, erased
)

// What kind of thing changes.
const (
	ClassAdvisory = 0.1
	ClassModel    = 0.3 // routing, tuning, a model
	ClassAccess   = 0.6
	ClassPrivacy  = 0.8 // consent, privacy
	ClassSafety   = 1.0 // the kill switch
)

// Where it changes.
const (
	EnvironDev        = 0.05
	EnvironStaging    = 0.25
	EnvironProduction = 1.0
)

// Assess returns the risk of the factors, each cut to 0..1:
//
//	B = log10(1 + 1000·reach) / log10(1001)     0.1 % is 0.10, 10 % is 0.67, all is 1
//	X = sqrt(environ·B)                          exposure
//	H = 1 - (1-.9·reversal)(1-.9·class)(1-.9·private)(1-.5·uncertain)
//	H is halved when nothing is loosened; score = round(100·X·H)
//
// Nothing compensates: the score never falls when a factor rises. In production
// there are floors: 60 from a reach of one half; 75 for a loosened consent or
// privacy rule, or a quarter of the remaining privacy budget; 50 for what
// cannot be taken back.
//
// It is computed in floating point by the planner, once, and carried as
// integers from there on. Source: the fabric's own model, docs/policies.
func Assess(f Factors) Risk {
	reach, reversal, class := unit(f.Reach), unit(f.Reversal), unit(f.Class)
	private, uncertain, environ := unit(f.Private), unit(f.Uncertain), unit(f.Environ)

	floor := 0
	if environ == EnvironProduction {
		if reversal == ReversalNever {
			floor = 50
		}
		if reach >= .5 {
			floor = 60
		}
		if class >= ClassPrivacy && f.Loosens || private >= .25 {
			floor = 75
		}
	}
	return Risk{
		Score:     max(score(f), floor),
		Reach:     mille(reach),
		Reversal:  mille(reversal),
		Class:     mille(class),
		Uncertain: mille(uncertain),
		Environ:   mille(environ),
		Private:   mille(private),
		Floor:     floor,
		Loosens:   f.Loosens,
	}
}

// score is the risk of the factors without floors.
func score(f Factors) int {
	breadth := math.Log10(1+1000*unit(f.Reach)) / math.Log10(1001)
	exposure := math.Sqrt(unit(f.Environ) * breadth)
	hazard := 1 - (1-.9*unit(f.Reversal))*(1-.9*unit(f.Class))*(1-.9*unit(f.Private))*(1-.5*unit(f.Uncertain))
	if !f.Loosens {
		hazard *= .5
	}
	return int(math.Round(100 * exposure * hazard))
}

// unit cuts x to 0..1; what is not a number is the worst.
func unit(x float64) float64 {
	if math.IsNaN(x) {
		return 1
	}
	return min(max(x, 0), 1)
}

func mille(x float64) int { return int(math.Round(1000 * x)) }
