package router

import (
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A process that is late keeps calls out before they cost anything: of the
// tenant that asks most, and of nobody once it is in time again.
func TestTheDoorIsShutWhileTheProcessIsLate(t *testing.T) {
	s := newStage(t, "eu", healthy)
	late := 50 * time.Millisecond
	now := time.Unix(1000, 0)
	keeper := doorkeeper{waited: func() time.Duration { return late }, began: now}
	window := func() (in map[string]int) {
		in = map[string]int{}
		for tenant, calls := range map[string]int{"big": 40_000, "small": 100, "nobody": 10} {
			for range calls {
				p := s.knock(tenant)
				if p == nil {
					in[tenant]++
					continue
				}
				require.Equal(t, http.StatusServiceUnavailable, p.status)
				require.Equal(t, "overloaded", p.code)
				require.Equal(t, 1, p.retry)
			}
		}
		now = now.Add(limitEvery)
		keeper.window(s.plan.Load(), now)
		return in
	}
	for range 2 {
		require.Equal(t, map[string]int{"big": 40_000, "small": 100, "nobody": 10}, window())
	}
	for range 20 {
		in := window()
		require.Equal(t, 100, in["small"])
		require.Equal(t, 10, in["nobody"], "whom the snapshot does not know is told so")
	}
	require.InEpsilon(t, 40_000*0.34, window()["big"], 0.1, "5 % less each time, 21 times; whom it meets is drawn")
	late = 0
	windows := 0
	for window()["big"] < 40_000 {
		windows++
		require.Less(t, windows, 100)
	}
	require.Greater(t, windows, 20, "slowly")
}

// What it learns from is how long goroutines that could run have to wait.
func TestWaitingGrowsWithWhatThereIsToDo(t *testing.T) {
	waited := waiting()
	waited()
	var group sync.WaitGroup
	for range 64 * runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for began := time.Now(); time.Since(began) < 10*time.Millisecond; {
				continue
			}
		})
	}
	group.Wait()
	require.Greater(t, waited(), time.Millisecond)
}
