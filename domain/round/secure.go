package round

import (
	"errors"
	"fmt"
	"math"
)

// Modes of secure aggregation.
const (
	SecureAuto = "auto" // on wherever three sites or more take part
	SecureOn   = "on"   // a round that cannot be secure fails
	SecureOff  = "off"  // single updates are seen; never in production
)

// Mechanisms of privacy.
const (
	PrivacyNone     = ""
	PrivacyCentral  = "gaussian"          // noise on the group's sum, by whoever unmasks it
	PrivacyDiscrete = "discrete_gaussian" // noise at the sites, inside the ring
	PrivacySkellam  = "skellam"           // the same, Poisson differences
)

// Units of privacy: what may be added or taken away unnoticed.
const (
	UnitSite    = "site"    // a site's whole update
	UnitExample = "example" // one row of a site
)

// Why secure aggregation or privacy is refused.
var (
	ErrSecureMode = errors.New("a mode is auto, on or off")
	ErrRing       = errors.New("a ring has 32 or 64 bits")
	ErrExposed    = errors.New("a production round needs secure aggregation")
	ErrMechanism  = errors.New("a mechanism is gaussian, discrete_gaussian or skellam")
	ErrUnit       = errors.New("a unit is site or example")
	ErrUnnoised   = errors.New("is set without a mechanism, and would protect nobody")
	ErrBounds     = errors.New("one finite [low, high] with low < high a column")
	ErrOneStep    = errors.New("privacy of examples is for one local epoch of a built-in trainer, and plain federated averaging")
	ErrNotSummed  = errors.New("noise at the sites needs secure aggregation and the mean as rule")
)

// Secure says how the sites' vectors are hidden. The zero value is mode auto.
type Secure struct {
	Mode         string  `json:"mode"`
	Ring         int     `json:"ring"`         // bits of an element: 32 or 64
	Range        float64 `json:"range"`        // largest coordinate of an update; what is larger is cut to it
	MaxExamples  int     `json:"maxExamples"`  // most rows that a site counts for
	StageSeconds int     `json:"stageSeconds"` // deadline of each stage after training
	CorruptBP    int     `json:"corruptBP"`    // sites that may conspire, above 100 sites a group
	DroppedBP    int     `json:"droppedBP"`    // sites that may drop out, above 100 sites a group
}

// Privacy says how much the result may tell of one unit. The zero value is no
// privacy beyond what aggregation hides.
type Privacy struct {
	Mechanism       string  `json:"mechanism"`
	Unit            string  `json:"unit"`
	NoiseMultiplier float64 `json:"noiseMultiplier"` // standard deviation of the noise over the clipping norm
	ClipNorm        float64 `json:"clipNorm"`        // L2: of a site's update, or of a row's gradient
	Delta           float64 `json:"delta"`
	MaxEpsilon      float64 `json:"maxEpsilon,omitempty"` // of the whole run, at Delta; 0 leaves it to the budgets

	Adaptive Adaptive `json:"adaptive,omitzero"` // moves ClipNorm from round to round
}

// On says whether noise is added.
func (p Privacy) On() bool { return p.Mechanism != PrivacyNone }

// Distributed says whether the sites add the noise.
func (p Privacy) Distributed() bool {
	return p.Mechanism == PrivacyDiscrete || p.Mechanism == PrivacySkellam
}

// Secured says whether a round over so many sites hides their vectors.
func (s Secure) Secured(sites int) bool {
	return s.Mode != SecureOff && (s.Mode == SecureOn || sites >= MinBucket)
}

func (s Secure) validate(production bool) (Secure, error) {
	if s.Mode == "" {
		s.Mode = SecureAuto
		if production {
			s.Mode = SecureOn
		}
	}
	switch {
	case s.Mode != SecureAuto && s.Mode != SecureOn && s.Mode != SecureOff:
		return s, &ParamError{"secure.mode", ErrSecureMode}
	case production && s.Mode != SecureOn:
		return s, &ParamError{"secure.mode", ErrExposed}
	}
	fill := func(v *int, with int) {
		if *v == 0 {
			*v = with
		}
	}
	fill(&s.Ring, 32)
	fill(&s.MaxExamples, 1<<16)
	fill(&s.StageSeconds, 30)
	fill(&s.CorruptBP, 1000)
	fill(&s.DroppedBP, 1000)
	if s.Range == 0 {
		s.Range = 8
	}
	if s.Ring != 32 && s.Ring != 64 {
		return s, &ParamError{"secure.ring", ErrRing}
	}
	if math.IsNaN(s.Range) || s.Range < 1e-6 || s.Range > 1e6 {
		return s, &ParamError{"secure.range", fmt.Errorf("%w: 1e-6 to 1e6", ErrOutOfRange)}
	}
	for _, r := range []struct {
		name      string
		v, lo, hi int
	}{
		{"secure.maxExamples", s.MaxExamples, 1, 1 << 30},
		{"secure.stageSeconds", s.StageSeconds, 1, 3600},
		{"secure.corruptBP", s.CorruptBP, 500, 4500},
		{"secure.droppedBP", s.DroppedBP, 0, 4500},
	} {
		if r.v < r.lo || r.v > r.hi {
			return s, &ParamError{r.name, fmt.Errorf("%w: %d to %d", ErrOutOfRange, r.lo, r.hi)}
		}
	}
	return s, nil
}

// privacy checks what a run says about privacy against the rest of it.
func (p Params) privacy() (Privacy, error) {
	v := p.Privacy
	if !v.On() {
		if v != (Privacy{}) {
			return v, &ParamError{"privacy.mechanism", ErrUnnoised}
		}
		return v, nil
	}
	if v.Unit == "" {
		v.Unit = UnitExample
		if v.Adaptive.On() {
			v.Unit = UnitSite
		}
	}
	if v.ClipNorm == 0 {
		v.ClipNorm = 1
		if v.Adaptive.On() {
			v.ClipNorm = 0.1
		}
	}
	if v.Delta == 0 {
		v.Delta = 1e-5
	}
	switch {
	case v.Mechanism != PrivacyCentral && !v.Distributed():
		return v, &ParamError{"privacy.mechanism", ErrMechanism}
	case v.Unit != UnitSite && v.Unit != UnitExample:
		return v, &ParamError{"privacy.unit", ErrUnit}
	case !(v.NoiseMultiplier >= 0.01 && v.NoiseMultiplier <= 1000):
		return v, &ParamError{"privacy.noiseMultiplier", fmt.Errorf("%w: 0.01 to 1000", ErrOutOfRange)}
	case !(v.ClipNorm >= leastClip && v.ClipNorm <= mostClip):
		return v, &ParamError{"privacy.clipNorm", fmt.Errorf("%w: 1e-6 to 1e6", ErrOutOfRange)}
	case !(v.Delta > 0 && v.Delta <= 0.01):
		return v, &ParamError{"privacy.delta", fmt.Errorf("%w: above 0, to 0.01", ErrOutOfRange)}
	case !(v.MaxEpsilon >= 0 && v.MaxEpsilon <= 1000):
		return v, &ParamError{"privacy.maxEpsilon", fmt.Errorf("%w: 0 to 1000", ErrOutOfRange)}
	case len(p.Bounds) == 0 && p.Model.Trainer != TrainerExec:
		return v, &ParamError{"bounds", ErrBounds}
	case v.Unit == UnitExample && (p.LocalEpochs != 1 || p.Model.Trainer == TrainerExec || p.Strategy.Name == Scaffold || p.Strategy.Name == FedProx):
		return v, &ParamError{"privacy.unit", ErrOneStep}
	case p.Secure.Mode == SecureOff || p.Strategy.Robust():
		return v, &ParamError{"privacy.mechanism", ErrNotSummed}
	}
	var err error
	v.Adaptive, err = v.adaptive()
	return v, err
}

// Limits of bounds: middle and scale become weights, which are F32.
const (
	mostBound  = 1e30
	leastScale = 1e-30
)

// Centre returns what a column of those bounds is normalised with: its middle
// and half of its width, so that what is within the bounds is within [-1, 1].
func Centre(bounds [2]float64) (mean, scale float64) {
	lo, hi := bounds[0], bounds[1]
	return (lo + hi) / 2, (hi - lo) / 2
}

func checkBounds(bounds [][2]float64, inputs int) error {
	if len(bounds) == 0 {
		return nil
	}
	if len(bounds) != inputs {
		return &ParamError{"bounds", ErrBounds}
	}
	for _, b := range bounds {
		mean, scale := Centre(b)
		if !(math.Abs(mean) <= mostBound) || !(scale >= leastScale && scale <= mostBound) {
			return &ParamError{"bounds", ErrBounds}
		}
	}
	return nil
}
