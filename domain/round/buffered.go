package round

import (
	"errors"
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Why a buffered run is refused.
var (
	ErrSmallBuffer  = errors.New("a buffer holds at least the quorum, and three updates where they are hidden")
	ErrBufferedOver = errors.New("a buffered round waits for its buffer, however many it asks")
	ErrBufferedUnit = errors.New("a buffered run counts every site once, whatever its rows, so it can only protect whole sites")
	ErrBufferedClip = errors.New("late updates count for less than one, and a norm that adapts counts whole sites")
)

// A Start is weights that an update may have started from: those of a train
// round of the run.
type Start struct {
	Number int             `json:"number"`
	Base   artifact.Digest `json:"base"`
}

// Buffers says whether a round of that kind takes late updates.
func (p Params) Buffers(kind Kind) bool { return p.Strategy.Name == FedBuff && kind == Train }

// StaleWeight returns what an update that is tau server steps old counts for,
// in thousandths: 1000/√(1+tau), rounded down, so that it is never more than
// the paper's weight and never 0 below a million. It is an integer because it
// rides in the counts of a masked vector, and so that a plain round weighs the
// same.
// Source: Nguyen et al., AISTATS 2022, section 5 (arXiv:2106.06639).
func StaleWeight(tau int) int64 {
	w := int64(1000)
	for w*w*(1+int64(tau)) > 1000*1000 {
		w--
	}
	return w
}

// LeastWeight is that of the oldest update that the run takes.
func (p Params) LeastWeight() int64 { return StaleWeight(p.Strategy.MaxStaleness) }

// Successor returns the starts that the train round after m still takes beside
// its own, the newest first: m's own weights, then what m took, but none that
// is older than the run allows.
func (m Manifest) Successor() []Start {
	if !m.Params.Buffers(m.Kind) {
		return nil
	}
	starts := append([]Start{{m.Number, m.Base.Digest}}, m.Starts...)
	for i, s := range starts {
		if m.Number+1-s.Number > m.Params.Strategy.MaxStaleness {
			return starts[:i]
		}
	}
	return starts
}

// Staleness returns how many steps the server took between the weights of
// round from and this round, and false when an update from there is not taken
// here. Round 0, in which nothing is trained, stands for this round.
func (m Manifest) Staleness(from int) (tau int, ok bool) {
	if from == 0 || from == m.Number {
		return 0, true
	}
	if !m.Params.Buffers(m.Kind) {
		return 0, false
	}
	for _, s := range m.Starts {
		if s.Number == from && from < m.Number && m.Number-from <= m.Params.Strategy.MaxStaleness {
			return m.Number - from, true
		}
	}
	return 0, false
}

// Suffice returns how many answers of a group end the wait for the others, and
// 0 when all are waited for. In a buffered round that is the group's part of
// the buffer, by its sites and rounded up, and not below what the hiding needs.
// A buffer holds the quorum, so this is not below [Need] either. In others see
// [Params.Enough].
func (p Params) Suffice(kind Kind, cohort []Cohort, group string) int {
	own, all := 0, 0
	for _, c := range cohort {
		all += c.Sites
		if c.Name() == group {
			own = c.Sites
		}
	}
	if !p.Buffers(kind) {
		return p.Enough(kind, own)
	}
	n := (p.Strategy.Buffer*own + all - 1) / max(1, all)
	if p.Secure.Mode != SecureOff {
		n = max(n, MinBucket)
	}
	if n >= own {
		return 0
	}
	return n
}

// buffered checks what a buffered run says against the rest of it.
func (p Params) buffered() error {
	if p.Strategy.Name != FedBuff {
		return nil
	}
	least := p.Quorum
	if p.Secure.Mode != SecureOff {
		least = max(least, MinBucket)
	}
	switch {
	case p.Strategy.Buffer < least:
		return &ParamError{"strategy.buffer", fmt.Errorf("%w: %d or more", ErrSmallBuffer, least)}
	case p.OverBP > 0:
		return &ParamError{"overBP", ErrBufferedOver}
	case p.Privacy.On() && p.Privacy.Unit != UnitSite:
		return &ParamError{"privacy.unit", ErrBufferedUnit}
	case p.Privacy.Adaptive.On():
		return &ParamError{"privacy.adaptive", ErrBufferedClip}
	}
	return nil
}
