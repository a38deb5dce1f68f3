package canary

import "errors"

// ErrShadow says that a shadow cannot be meant.
var ErrShadow = errors.New("a shadow is of 1 to 10000 basis points of the requests, with 30 copies or more and no more than half of the answers that are planned")

// A Shadow comes before the first share: the version gets copies of some of
// the requests that the other one answers, and nobody gets its answers. The
// guardrails are those of the design, so what fails here would have failed
// callers.
type Shadow struct {
	ShareBP  int   `json:"shareBP"`  // of a region's requests
	Required int64 `json:"required"` // copies before the step may pass
}

func (d Design) shadowed() error {
	s := d.Shadow
	if s != nil && (s.ShareBP < 1 || s.ShareBP > Whole || s.Required < Fewest || d.Planned < 2*s.Required) {
		return ErrShadow
	}
	return nil
}

// rungs is how many steps the ladder has in each region.
func (d Design) rungs() int {
	if d.Shadow != nil {
		return len(d.SharesBP) + 1
	}
	return len(d.SharesBP)
}

// Shadow reports whether the step gives the version copies, and nobody to answer.
func (s Step) Shadow() bool { return s.MirrorBP > 0 }

// required is how many answers either side must have before the step may pass.
func (d Design) required(s Step) int64 {
	if s.Shadow() && d.Shadow != nil {
		return d.Shadow.Required
	}
	return d.Required
}
