package endpoint

// How an endpoint that fails is set aside, and how it comes back.
const (
	failuresToEject = 3
	fewestFailures  = 5       // of which the share counts
	failureShare    = 0.2     // of recent requests
	firstEjection   = 250e6   // ns
	longestEjection = 8e9     // ns
	maxDoublings    = 5       // 250 ms · 2^5 = 8 s
	relapse         = 10e9    // ns; failing again so soon after coming back counts as the same trouble
	probeFor        = 1e9     // ns after which a probe without a word is given up
	warmFor         = 5e9     // ns until an endpoint that is new or back takes its full share
	coldShare       = 0.1     // of its share at the start of that
	halving         = 1e9     // ns in which the memory of requests halves
	manyRequests    = 1 << 15 // at which it halves as well
)

// A Standing is what a pick may do with an endpoint.
type Standing uint8

const (
	Open  Standing = iota // takes its full share
	Cold                  // new or back, and this is not one of the requests that it takes yet
	Due                   // set aside long enough: one request may probe it, see [Live.Claim]
	Aside                 // set aside for its failures
)

// A gate is 0 when open; else a time in ns whose two lowest bits are one of
// these. A pick reads one word, and only the word of an endpoint that is in
// trouble costs it more.
const (
	aside   = 1 // until that time
	probing = 2 // by a request that has until that time to say something
	warming = 3 // since that time
	states  = 3
)

// Standing returns what a pick may do with the endpoint. random decides which
// requests an endpoint that warms up takes.
func (l *Live) Standing(now int64, random uint64) Standing {
	g := l.gate.Load()
	if g == 0 {
		return Open
	}
	at := g &^ states
	if g&states != warming {
		if now < at {
			return Aside
		}
		return Due
	}
	age := now - at
	if age >= warmFor {
		l.gate.CompareAndSwap(g, 0)
		return Open
	}
	share := coldShare + (1-coldShare)*float64(max(age, 0))/warmFor
	if float64(random>>11)/(1<<53) < share {
		return Open
	}
	return Cold
}

// Claim takes the right to probe an endpoint that is due, and returns false if
// another request has it. The probe ends with a Report that says so.
func (l *Live) Claim(now int64) bool {
	g := l.gate.Load()
	if s := g & states; s != aside && s != probing || now < g&^states {
		return false
	}
	return l.gate.CompareAndSwap(g, (now+probeFor)&^states|probing)
}

// unclaim gives the right to probe back.
func (l *Live) unclaim(now int64) {
	if g := l.gate.Load(); g&states == probing {
		l.gate.CompareAndSwap(g, now&^states|aside)
	}
}

// Warm starts the endpoint with a tenth of its share, which grows to the whole
// within five seconds.
func (l *Live) Warm(now int64) {
	if g := l.gate.Load(); g == 0 {
		l.gate.CompareAndSwap(0, now&^states|warming)
	}
}

// Ejected reports whether the endpoint is set aside.
func (l *Live) Ejected(now int64) bool {
	g := l.gate.Load()
	return g&states != warming && now < g&^states
}

// Until returns the end of the ejection, 0 when the endpoint is not set aside.
func (l *Live) Until() int64 {
	if g := l.gate.Load(); g&states != warming {
		return g &^ states
	}
	return 0
}

// back ends an ejection after a success of its probe, or of a request that was
// sent because nobody else was left. A success of one that was under way when
// the endpoint was set aside proves nothing.
func (l *Live) back(now int64, probe bool) bool {
	g := l.gate.Load()
	s := g & states
	if g == 0 || s == warming || !probe && now < g&^states {
		return false
	}
	if !l.gate.CompareAndSwap(g, now&^states|warming) {
		return false
	}
	l.returned.Store(now)
	l.recent.Store(0)
	return true
}

// judge sets the endpoint aside after a failure if it is one of a row or of
// too many, or if it is the probe's.
func (l *Live) judge(o Outcome, row int32, share float64) bool {
	g := l.gate.Load()
	s := g & states
	switch {
	case s == aside && o.Now < g&^states, s == probing && !o.Probe && o.Now < g&^states:
		return false // it was under way already
	case s == aside || s == probing: // it failed again
	case row < failuresToEject && share < failureShare:
		return false
	}
	k := int32(0)
	if ejected := l.ejected.Load(); ejected > 0 && (s == aside || s == probing || o.Now-l.returned.Load() < relapse) {
		k = ejected
	}
	pause := min(firstEjection*float64(int64(1)<<min(k, maxDoublings)), longestEjection)
	until := o.Now + int64(pause*(1+o.Jitter/4))
	if !l.gate.CompareAndSwap(g, (until+states)&^states|aside) {
		return false // another request's word came first
	}
	l.ejected.Store(k + 1)
	l.recent.Store(0)
	return true
}

// count counts a request and returns the share of failures among the recent
// ones, 0 while they are too few to tell. What is counted halves every second.
//
// The word holds the second in its upper half, then how many, then how many
// failed, each 16 bits. A random share of errors never gives three in a row for
// long: 30 % of them would stay for good.
func (l *Live) count(now int64, failed bool) float64 {
	second := uint32(now / halving)
	for {
		old := l.recent.Load()
		at, all, bad := uint32(old>>32), uint32(old>>16)&0xffff, uint32(old)&0xffff
		if since := second - at; since != 0 && since < 1<<31 {
			all, bad, at = all>>min(since, 31), bad>>min(since, 31), second
		}
		if all++; failed {
			bad++
		}
		if all >= manyRequests {
			all, bad = all>>1, bad>>1
		}
		if !l.recent.CompareAndSwap(old, uint64(at)<<32|uint64(all)<<16|uint64(bad)) {
			continue
		}
		if bad < fewestFailures {
			return 0
		}
		return float64(bad) / float64(all)
	}
}

// MayEject returns how many of the candidates that fit an ask may be passed
// over for being set aside: half of them, rounded up, and never the last. The
// load of those that are passed over falls on the others; beyond that share it
// is better to let the ones in trouble compete by their latency.
func MayEject(fit int) int { return min((fit+1)/2, max(fit-1, 0)) }
