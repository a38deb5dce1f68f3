package router

import "sync/atomic"

// ringSize is how many records wait for the disk at most: most of a second's at
// twenty thousand a second. A power of two.
const ringSize = 1 << 14

// A ring takes records from many goroutines and gives them to one, in order,
// without a lock (Vyukov's bounded queue). A push never waits: into a full ring
// nothing goes, and that is counted.
type ring struct {
	slots []ringSlot
	_     [64]byte // what is written from both sides lies on different cache lines
	tail  atomic.Uint64
	_     [56]byte
	lost  atomic.Int64
	_     [56]byte
	head  uint64 // of the reader
	seen  int64  // lost ones that the reader has accounted for
}

// A ringSlot is free for the push of place n when turn is n, and holds the
// record of place n when turn is n+1.
type ringSlot struct {
	turn   atomic.Uint64
	record Record
}

func newRing(size int) *ring {
	r := &ring{slots: make([]ringSlot, size)}
	for i := range r.slots {
		r.slots[i].turn.Store(uint64(i))
	}
	return r
}

func (r *ring) push(record *Record) (place uint64, ok bool) {
	for {
		place = r.tail.Load()
		slot := &r.slots[place%uint64(len(r.slots))]
		switch turn := slot.turn.Load(); {
		case turn == place:
			if r.tail.CompareAndSwap(place, place+1) {
				slot.record = *record
				slot.turn.Store(place + 1)
				return place, true
			}
		case turn < place: // the reader is a whole round behind
			r.lost.Add(1)
			return place, false
		}
	}
}

// pop is called by one goroutine.
func (r *ring) pop(into *Record) (place uint64, ok bool) {
	slot := &r.slots[r.head%uint64(len(r.slots))]
	if slot.turn.Load() != r.head+1 {
		return 0, false
	}
	place = r.head
	*into, slot.record = slot.record, Record{} // its texts are free to go
	slot.turn.Store(place + uint64(len(r.slots)))
	r.head++
	return place, true
}

// waiting reports whether there is something to pop. Of the reader.
func (r *ring) waiting() bool {
	return r.slots[r.head%uint64(len(r.slots))].turn.Load() == r.head+1
}

// end returns the place that the next push gets.
func (r *ring) end() uint64 { return r.tail.Load() }

// lostBefore returns how many were lost since it was last asked. Of the reader.
func (r *ring) lostBefore() int64 {
	lost := r.lost.Load()
	fresh := lost - r.seen
	r.seen = lost
	return fresh
}
