package endpoint_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/endpoint"
)

// doorway plays a process that can deal with so many calls in a window of
// 100 ms, and to which so many of two tenants come: work waits as long as it
// takes to do what was let in before. It returns what was let in of each in the
// last windows, on average, and how long work waited there.
func doorway(capacity float64, windows int, big, small int64) (in [2]float64, waited float64) {
	var d endpoint.Door
	backlog, each := 0.0, 0.0
	came := []int64{big, small}
	let := make([]int64, 2)
	last := windows / 4
	for n := range windows {
		for i, asks := range came {
			let[i] = asks
			if each > 0 {
				let[i] = min(asks, int64(each))
			}
			refused := asks - let[i]
			backlog += float64(let[i]) + 0.1*float64(refused)
		}
		backlog = max(0, backlog-capacity)
		wait := backlog / capacity * 100e6
		each = d.Step(int64(wait), came, let)
		if n >= windows-last {
			in[0] += float64(let[0]) / float64(last)
			in[1] += float64(let[1]) / float64(last)
			waited += wait / float64(last)
		}
	}
	return in, waited
}

func TestDoorKeepsOutWhatThereIsNoTimeFor(t *testing.T) {
	for _, tt := range []struct {
		name       string
		big, small int64
		least      float64 // of the capacity that is let in
		smallWhole bool
		everything bool
	}{
		{"half", 400, 100, 0, true, true},
		{"just enough", 900, 90, 0, true, true},
		{"half more, one tenant", 1500, 0, 0.9, true, false},
		{"three times, ten to one", 2727, 273, 0.7, true, false},
		{"two alike", 1000, 1000, 0.8, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, waited := doorway(1000, 600, tt.big, tt.small)
			if tt.everything {
				require.InDeltaSlice(t, []float64{float64(tt.big), float64(tt.small)}, in[:], 1e-6)
				return
			}
			require.GreaterOrEqual(t, in[0]+in[1], tt.least*1000)
			require.Less(t, waited, 100e6, "ns")
			if tt.smallWhole {
				require.InDelta(t, float64(tt.small), in[1], 1e-6, "who asks for less than an equal share gets all of it")
			} else {
				require.InDelta(t, in[0], in[1], 1)
			}
		})
	}
}

// Whoever asks little is not what makes a process late.
func TestDoorIsNotClosedForAMachineThatIsLateForOthers(t *testing.T) {
	var d endpoint.Door
	for range 100 {
		require.Zero(t, d.Step(500e6, []int64{30, 60}, []int64{30, 60}))
	}
}

// One late window is nothing; when it is over, all come in again.
func TestDoorOpensAgain(t *testing.T) {
	var d endpoint.Door
	many := []int64{2000}
	require.Zero(t, d.Step(40e6, many, many))
	require.Zero(t, d.Step(1e6, many, many))
	require.Zero(t, d.Step(40e6, many, many))
	require.InDelta(t, 1900, d.Step(40e6, many, many), 1e-9)
	windows := 0
	for each := 1.0; each > 0; windows++ {
		each = d.Step(1e6, []int64{1500}, []int64{1500})
		require.Less(t, windows, 50)
	}
	require.Zero(t, d.Step(1e6, many, many))
}
