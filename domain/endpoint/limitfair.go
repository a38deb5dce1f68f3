package endpoint

import "slices"

// A Fair is a queue that is fair between those who wait in it: each of them
// gets a turn before anyone gets a second one, however many requests one of
// them has waiting. Requests of one waiter keep their order. It is used by one
// goroutine at a time.
type Fair[T comparable] struct {
	lines map[string]*line[T]
	ring  []*line[T] // those with somebody in them; the turn is at the front
	size  int
}

type line[T comparable] struct {
	who     string
	waiting []T
}

// Len returns how many wait, and how many of who.
func (f *Fair[T]) Len(who string) (all, own int) {
	if l := f.lines[who]; l != nil {
		own = len(l.waiting)
	}
	return f.size, own
}

// Push lets a request of who wait.
func (f *Fair[T]) Push(who string, request T) {
	if f.lines == nil {
		f.lines = map[string]*line[T]{}
	}
	l := f.lines[who]
	if l == nil {
		l = &line[T]{who: who}
		f.lines[who] = l
		f.ring = append(f.ring, l)
	}
	l.waiting = append(l.waiting, request)
	f.size++
}

// Pop returns the request whose turn it is.
func (f *Fair[T]) Pop() (request T, ok bool) {
	if f.size == 0 {
		return request, false
	}
	l := f.ring[0]
	f.ring = f.ring[1:]
	request, l.waiting = l.waiting[0], l.waiting[1:]
	f.size--
	if len(l.waiting) == 0 {
		delete(f.lines, l.who)
	} else {
		f.ring = append(f.ring, l)
	}
	return request, true
}

// Remove takes a request of who out again, and returns false if it is not
// there, because it had its turn.
func (f *Fair[T]) Remove(who string, request T) bool {
	l := f.lines[who]
	if l == nil {
		return false
	}
	at := slices.Index(l.waiting, request)
	if at < 0 {
		return false
	}
	l.waiting = slices.Delete(l.waiting, at, at+1)
	f.size--
	if len(l.waiting) == 0 {
		delete(f.lines, who)
		at := slices.Index(f.ring, l)
		f.ring = slices.Delete(f.ring, at, at+1)
	}
	return true
}

// Longest returns who has the most waiting, "" if nobody waits.
func (f *Fair[T]) Longest() string {
	longest, who := 0, ""
	for _, l := range f.ring {
		if len(l.waiting) > longest {
			longest, who = len(l.waiting), l.who
		}
	}
	return who
}
