package endpoint_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/endpoint"
)

// A server with so many workers, 5 ms a request, first come first served; as
// many requests under way as the limit allows: the mean latency is Little's
// law's.
func TestGradientFindsWhatAServerCanTake(t *testing.T) {
	tests := []struct {
		name        string
		workers     float64
		service     int64
		demand      int // requests that would be under way
		least, most int
	}{
		{"not below what fills the workers, nor far above", 40, 5 * ms, 10_000, 40, 120},
		{"a small server", 20, 20 * ms, 10_000, 20, 70},
		{"stays where nobody asks for more", 1000, 5 * ms, 30, 32, 64},
		{"grows where there is room", 1000, 5 * ms, 10_000, 600, 1024},
		{"a queue of a few milliseconds is none", 2, ms / 10, 64, 64, 140},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var l endpoint.Live
			var g endpoint.Gradient
			lowest, highest := 1<<30, 0
			for step := range int64(6000) { // ten minutes
				limit := l.Limit()
				if limit == 0 {
					limit = 32
				}
				under := min(limit, tt.demand)
				took := max(tt.service, int64(float64(under)*float64(tt.service)/tt.workers))
				for range 20 {
					l.Begin()
					l.Report(endpoint.Outcome{Now: step * 100 * ms, Took: took})
				}
				for range under {
					l.Begin()
				}
				g.Step(step*100*ms, 0, &l)
				for range under {
					l.Report(endpoint.Outcome{Result: endpoint.Void})
				}
				// Twice a minute it looks what the latency is without a queue.
				if step > 300 && step%10 == 0 && l.Limit() >= tt.least {
					lowest, highest = min(lowest, l.Limit()), max(highest, l.Limit())
				}
			}
			require.GreaterOrEqual(t, lowest, tt.least)
			require.LessOrEqual(t, highest, tt.most)
		})
	}
}

// A machine that is slow for reasons of its own, whatever it is given, is given
// what it takes to answer as many as before; so is one that is far away.
func TestGradientTakesASlowMachineForWhatItIs(t *testing.T) {
	var l endpoint.Live
	var g endpoint.Gradient
	least := 1.0
	for step := range int64(600) {
		took, demand := 5*ms, 400.0 // at once; that is what comes in 5 ms
		if step > 300 {
			took, demand = 60*ms, 800
		}
		limit := l.Limit()
		if limit == 0 {
			limit = 32
		}
		under := min(float64(limit), demand)
		for range int(under * float64(100*ms) / float64(took)) {
			l.Begin()
			l.Report(endpoint.Outcome{Now: step * 100 * ms, Took: took})
		}
		for range int(under) {
			l.Begin()
		}
		g.Step(step*100*ms, 0, &l)
		for range int(under) {
			l.Report(endpoint.Outcome{Result: endpoint.Void})
		}
		if step > 320 { // two seconds after it became slow
			least = min(least, under/demand)
		}
	}
	require.Greater(t, least, 0.95)
}

// While this process is late itself, latency says nothing of the endpoint.
func TestGradientKnowsItsOwnLateness(t *testing.T) {
	var l endpoint.Live
	var g endpoint.Gradient
	for step := range int64(250) {
		took, lag := 5*ms, int64(0)
		if step > 50 {
			took, lag = 40*ms, 8*ms
		}
		under := max(32, l.Limit())
		for range 20 {
			l.Begin()
			l.Report(endpoint.Outcome{Now: step * 100 * ms, Took: took})
		}
		for range under {
			l.Begin()
		}
		g.Step(step*100*ms, lag, &l)
		for range under {
			l.Report(endpoint.Outcome{Result: endpoint.Void})
		}
		if step > 50 {
			require.GreaterOrEqual(t, l.Limit(), 100)
		}
	}
}

func TestRoom(t *testing.T) {
	var l endpoint.Live
	var g endpoint.Gradient
	for range 1000 {
		require.True(t, l.Enter(), "no limit before the first step")
	}
	for range 1000 {
		l.Report(endpoint.Outcome{Result: endpoint.Void})
	}
	g.Step(0, 0, &l)
	require.Equal(t, 32, l.Limit())
	for range 32 {
		require.True(t, l.Room())
		require.True(t, l.Enter())
	}
	require.False(t, l.Room())
	require.False(t, l.Enter())
	l.Queue(1)
	require.False(t, l.TakeQueued())
	l.Report(endpoint.Outcome{Result: endpoint.Void})
	require.False(t, l.Enter(), "one waits already")
	require.True(t, l.TakeQueued())
	l.Queue(-1)
	require.Equal(t, int64(32), l.InFlight())
}

func TestFairTakesTurns(t *testing.T) {
	var f endpoint.Fair[string]
	for n := range 5 {
		f.Push("big", fmt.Sprint("big", n))
	}
	f.Push("small", "small0")
	f.Push("other", "other0")
	f.Push("small", "small1")
	require.Equal(t, "big", f.Longest())
	require.True(t, f.Remove("big", "big1"))
	require.False(t, f.Remove("big", "big1"))
	require.False(t, f.Remove("nobody", "x"))
	require.True(t, f.Remove("other", "other0"))
	var got []string
	for {
		next, ok := f.Pop()
		if !ok {
			break
		}
		got = append(got, next)
	}
	require.Equal(t, []string{"big0", "small0", "big2", "small1", "big3", "big4"}, got)
}

// While somebody waits, nobody else gets two turns more than it; each one's
// requests keep their order; nothing is lost or doubled.
func TestFairIsFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f endpoint.Fair[int]
		var waiting [4][]int
		turns := [4]int{}
		for n := range rapid.IntRange(1, 200).Draw(t, "steps") {
			who := rapid.IntRange(0, 3).Draw(t, "who")
			switch rapid.IntRange(0, 2).Draw(t, "do") {
			case 0:
				if len(waiting[who]) == 0 {
					turns[who] = 0
				}
				f.Push(fmt.Sprint(who), n)
				waiting[who] = append(waiting[who], n)
			case 1:
				got, ok := f.Pop()
				if !ok {
					continue
				}
				for w := range waiting {
					if len(waiting[w]) > 0 && waiting[w][0] == got {
						waiting[w] = waiting[w][1:]
						turns[w] = 0
						got = -1
					} else if turns[w]++; len(waiting[w]) > 0 && turns[w] > 4 {
						t.Fatalf("%d waits for a fifth turn", w)
					}
				}
				if got != -1 {
					t.Fatalf("%d out of order", got)
				}
			case 2:
				if len(waiting[who]) > 0 {
					last := waiting[who][len(waiting[who])-1]
					if !f.Remove(fmt.Sprint(who), last) {
						t.Fatal("not there")
					}
					waiting[who] = waiting[who][:len(waiting[who])-1]
				}
			}
			sum := 0
			for w := range waiting {
				all, own := f.Len(fmt.Sprint(w))
				if own != len(waiting[w]) {
					t.Fatalf("%d of %d", own, len(waiting[w]))
				}
				if sum += own; w == 3 && sum != all {
					t.Fatalf("%d of %d", sum, all)
				}
			}
		}
	})
}
