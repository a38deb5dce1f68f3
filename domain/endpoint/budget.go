package endpoint

import "sync/atomic"

// span is how many seconds a budget looks back, with the current one.
const span = 10

// A Budget bounds what is sent beyond the requests themselves, so that retries
// and hedges never turn trouble into overload. All methods may be called by
// many goroutines at once. Times are as in [Live].
//
// Source: Finagle, RetryBudget: a share of the requests of the last ten
// seconds. Its floor is added there; here it is a minimum, so that the bound
// on the amplification holds as soon as the share exceeds the floor.
type Budget struct {
	share   float64 // of the requests
	floor   float64 // in a span
	seconds [span]atomic.Uint64
}

// A second holds its number in the upper 24 bits, then requests and spendings,
// 20 bits each.
const (
	oneRequest  = 1 << 20
	oneSpending = 1
	countMask   = 1<<20 - 1
)

// NewBudget returns a budget of a share of the requests, at least floor a
// second.
func NewBudget(share, floor float64) *Budget {
	return &Budget{share: share, floor: floor * span}
}

// Request counts a request.
func (b *Budget) Request(now int64) { b.add(now, oneRequest) }

// Spend takes one out of the budget and returns false if none is left. Of
// requests that spend at the same time, a few too many may get through.
func (b *Budget) Spend(now int64) bool {
	second := uint64(now/1e9) & (1<<24 - 1)
	requests, spent := uint64(0), uint64(0)
	for i := range b.seconds {
		word := b.seconds[i].Load()
		if age := (second - word>>40) & (1<<24 - 1); age < span {
			requests += word >> 20 & countMask
			spent += word & countMask
		}
	}
	if float64(spent)+1 > max(b.share*float64(requests), b.floor) {
		return false
	}
	b.add(now, oneSpending)
	return true
}

// add counts into the current second. A count that would overflow stays.
func (b *Budget) add(now int64, one uint64) {
	second := uint64(now/1e9) & (1<<24 - 1)
	slot := &b.seconds[second%span]
	for {
		old := slot.Load()
		next := old + one
		switch {
		case old>>40 != second:
			next = second<<40 | one
		case one == oneRequest && old>>20&countMask == countMask, one == oneSpending && old&countMask == countMask:
			return
		}
		if slot.CompareAndSwap(old, next) {
			return
		}
	}
}
