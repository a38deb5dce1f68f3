package round

// A Stage is a step of a round that waits for sites. A plain round has one. A
// secured round has five, in this order; each is closed before the next opens.
type Stage string

// The stages. A site advertises when its update is ready, so all that takes
// long is over before the first key is seen.
const (
	StageUpdate    Stage = "update"
	StageAdvertise Stage = "advertise" // in: manifest; out: keys
	StageShare     Stage = "share"     // in: roster; out: encrypted shares
	StageMask      Stage = "mask"      // in: shares for this site; out: masked vector
	StageCheck     Stage = "check"     // in: survivor set; out: signature over it
	StageUnmask    Stage = "unmask"    // in: signatures over one set; out: shares
)

// Or returns the stage, [StageUpdate] when it is empty.
func (s Stage) Or() Stage {
	if s == "" {
		return StageUpdate
	}
	return s
}

// Following returns the stage after s, and false for the last one.
func (s Stage) Following() (Stage, bool) {
	order := []Stage{StageAdvertise, StageShare, StageMask, StageCheck, StageUnmask}
	for i, stage := range order[:len(order)-1] {
		if s == stage {
			return order[i+1], true
		}
	}
	return "", false
}
