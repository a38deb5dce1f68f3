package endpoint_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/endpoint"
)

// report ends a request that took 5 ms unless it failed.
func report(l *endpoint.Live, at int64, r endpoint.Result, probe bool) bool {
	l.Begin()
	return l.Report(endpoint.Outcome{Now: at, Took: 5 * ms, Result: r, Probe: probe, Penalty: 1000 * ms})
}

func TestEjectionDoublesToItsBound(t *testing.T) {
	var l endpoint.Live
	require.False(t, fail(&l, 0, 2))
	require.True(t, fail(&l, 0, 1))
	now := int64(0)
	// 250 ms x 2^k up to 8 s, at each probe that fails.
	for _, want := range []int64{250, 500, 1000, 2000, 4000, 8000, 8000} {
		require.True(t, l.Ejected(now+want*ms-1), want)
		require.False(t, l.Claim(now+want*ms-1))
		require.False(t, fail(&l, now+want*ms-1, 4), "those under way prove nothing new")
		now += want*ms + 3
		require.Equal(t, endpoint.Due, l.Standing(now, 0))
		require.True(t, l.Claim(now))
		require.False(t, l.Claim(now), "one probe, not two")
		require.Equal(t, endpoint.Aside, l.Standing(now, 0))
		require.False(t, report(&l, now, endpoint.Good, false), "an old request's success")
		require.Equal(t, endpoint.Aside, l.Standing(now, 0))
		require.True(t, report(&l, now, endpoint.Failed, true))
	}
}

func TestEjectionIsSpread(t *testing.T) {
	var l endpoint.Live
	for range 3 {
		l.Begin()
		l.Report(endpoint.Outcome{Took: ms, Result: endpoint.Failed, Jitter: 0.8})
	}
	require.True(t, l.Ejected(300*ms-1), "250 ms and a fifth")
	require.False(t, l.Ejected(300*ms+3))
}

func TestAProbeBringsItBackLittleByLittle(t *testing.T) {
	var l endpoint.Live
	fail(&l, 0, 3)
	require.InDelta(t, 0.488, l.Latency(0), 1e-3, "1 - 0.8^3 of the penalty of 1 ms")
	at := 251 * ms
	require.True(t, l.Claim(at))
	require.False(t, report(&l, at, endpoint.Void, true), "its caller left")
	require.True(t, l.Claim(at+4), "the next one may")
	require.False(t, report(&l, at, endpoint.Good, true))
	require.False(t, l.Ejected(at))
	require.InDelta(t, 5, l.Latency(at), 1e-3, "the failures' latency is forgotten")

	share := func(now int64) float64 {
		random := rand.New(rand.NewPCG(1, uint64(now)))
		open := 0
		for range 10_000 {
			if l.Standing(now, random.Uint64()) == endpoint.Open {
				open++
			}
		}
		return float64(open) / 10_000
	}
	// A tenth at once, all after five seconds, and between them in proportion.
	require.InDelta(t, 0.10, share(at), 0.02)
	require.InDelta(t, 0.55, share(at+2500*ms), 0.02)
	require.InDelta(t, 1, share(at+5000*ms), 0)

	// Failing again within ten seconds is the same trouble; later it is another.
	require.True(t, fail(&l, at+6000*ms, 3))
	require.Equal(t, int64(500), (l.Until()-at)/ms-6000)
	at += 6600 * ms
	require.True(t, l.Claim(at))
	report(&l, at, endpoint.Good, true)
	require.True(t, fail(&l, at+10_001*ms, 3))
	require.Equal(t, int64(250), (l.Until()-at)/ms-10_001)
}

func TestAProbeWithoutAWordIsGivenUp(t *testing.T) {
	var l endpoint.Live
	fail(&l, 0, 3)
	require.True(t, l.Claim(300*ms))
	require.False(t, l.Claim(1299*ms))
	require.True(t, l.Claim(1301*ms))
}

func TestLostRacesEject(t *testing.T) {
	var l endpoint.Live
	report(&l, 0, endpoint.Lost, false)
	require.InDelta(t, 5, l.Latency(0), 1e-3, "they are observed")
	report(&l, 0, endpoint.Void, false)
	report(&l, 0, endpoint.Failed, false)
	require.True(t, report(&l, 0, endpoint.Lost, false))
}

// Errors at random hardly ever come three in a row for long; their share is
// what tells. Figures: requests per second at the endpoint, 50.
func TestAShareOfErrorsEjects(t *testing.T) {
	for _, tt := range []struct {
		percent  int
		within   int64 // s, 0: never in two minutes
		at, most int   // ejections in two minutes if it came back at once
	}{{30, 3, 10, 1000}, {5, 0, 0, 2}} {
		random := rand.New(rand.NewPCG(7, uint64(tt.percent)))
		var l endpoint.Live
		ejections, first, row := 0, int64(0), 0
		for n := range int64(6000) {
			now := n * 20 * ms
			bad := random.IntN(100) < tt.percent
			if row++; !bad {
				row = 0
			}
			if row == 3 { // the other rule's business
				bad, row = false, 0
			}
			result := endpoint.Good
			if bad {
				result = endpoint.Failed
			}
			if l.Claim(now) {
				report(&l, now, endpoint.Good, true)
			} else if report(&l, now, result, false) {
				if ejections++; first == 0 {
					first = now
				}
			}
		}
		require.GreaterOrEqual(t, ejections, tt.at, "%d %%", tt.percent)
		require.LessOrEqual(t, ejections, tt.most, "%d %%", tt.percent)
		if tt.within > 0 {
			require.Less(t, first, tt.within*1000*ms, "%d %%", tt.percent)
		}
	}
}

func TestLatencyTakesPeaksAtOnceAndForgetsSlowly(t *testing.T) {
	var l endpoint.Live
	require.Zero(t, l.Latency(0))
	sample := func(at, took int64) {
		l.Begin()
		l.Report(endpoint.Outcome{Now: at * ms, Took: took * ms})
	}
	sample(0, 10)
	require.InDelta(t, 10, l.Latency(0), 1e-3)
	sample(1, 100)
	require.InDelta(t, 100, l.Latency(ms), 1e-3)
	// 5 s later: w = e^-1, so 100·e^-1 + 10·(1 - e^-1) = 43.109.
	sample(5_001, 10)
	require.InDelta(t, 43.109, l.Latency(5_001*ms), 1e-2)
	// Nothing heard for another 5 s: half of it.
	require.InDelta(t, 43.109/2, l.Latency(10_001*ms), 1e-2)
	require.InDelta(t, 43.109, l.Latency(4_000*ms), 1e-2, "an instant before the sample is now")

	// A fast failure counts a fifth of the way to its penalty: here from 43.109.
	l.Begin()
	l.Report(endpoint.Outcome{Now: 5_001 * ms, Took: ms, Result: endpoint.Failed, Penalty: 1000 * ms})
	require.InDelta(t, 43.109+0.2*(1000-43.109), l.Latency(5_001*ms), 1e-1)
}

func TestLiveUnderManyGoroutines(t *testing.T) {
	var l endpoint.Live
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			for n := range int64(1000) {
				l.Begin()
				r := endpoint.Good
				switch {
				case n%7 == 0:
					r = endpoint.Void
				case n%5 == 0:
					r = endpoint.Failed
				}
				probe := l.Claim(n * ms)
				l.Report(endpoint.Outcome{Now: n * ms, Took: int64(g+1) * ms, Result: r, Probe: probe, Penalty: 9 * ms})
				l.Standing(n*ms, uint64(n))
			}
		})
	}
	group.Wait()
	require.Zero(t, l.InFlight())
	require.InDelta(t, 5, l.Latency(999*ms), 4.5)
}

// Two endpoints share no cache line: lines are 64 bytes, fetched in pairs.
func TestLiveFillsItsLines(t *testing.T) {
	require.Zero(t, unsafe.Sizeof(endpoint.Live{})%128, "%d", unsafe.Sizeof(endpoint.Live{}))
}

func TestMayEject(t *testing.T) {
	// Half, rounded up, and never the last.
	for fit, want := range []int{0, 0, 1, 2, 2, 3, 3} {
		require.Equal(t, want, endpoint.MayEject(fit), fit)
	}
}

func BenchmarkReport(b *testing.B) {
	var l endpoint.Live
	now := int64(0)
	for b.Loop() {
		now += 20_000
		l.Enter()
		l.Report(endpoint.Outcome{Now: now, Took: 5 * ms})
	}
}
