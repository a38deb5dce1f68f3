package payload

import (
	"errors"

	"github.com/atom-fabric/fabric/domain/round"
)

// ErrStale says that an update is older than its round takes, or late in a
// round that takes no late ones.
var ErrStale = errors.New("the update is too old for this round")

// stale returns what an update of a buffered round is multiplied by, in
// thousandths. It is never more than one update, so what bounds the term of a
// timely site, range and sensitivity, bounds that of a late one.
func (f Form) stale(tau int) (int64, error) {
	if tau < 0 || tau > f.params.Strategy.MaxStaleness {
		return 0, ErrStale
	}
	return round.StaleWeight(tau), nil
}

// alike says whether every site counts once, whatever its rows.
func (f Form) alike() bool {
	p := f.params.Privacy
	return p.On() && p.Unit == round.UnitSite || f.params.Buffers(f.kind)
}

// weights returns the least and the most that the weight of one site can be, in
// thousandths.
func (f Form) weights() (least, most int64) {
	switch {
	case f.params.Buffers(f.kind):
		return f.params.LeastWeight(), mill
	case f.kind == round.Evaluate:
		return 0, mill * int64(f.params.Secure.MaxExamples)
	}
	return mill, mill * int64(f.params.Secure.MaxExamples)
}
