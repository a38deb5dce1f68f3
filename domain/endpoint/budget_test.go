package endpoint_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/endpoint"
)

func TestBudget(t *testing.T) {
	tests := []struct {
		name         string
		share, floor float64
		requests     int   // in the first second
		at           int64 // s, when it is spent
		want         int
	}{
		{"the share of the requests", 0.2, 1, 1000, 0, 200},
		{"the floor where there are few", 0.2, 10, 50, 0, 100},
		{"requests count for ten seconds", 0.2, 1, 1000, 9, 200},
		{"and no longer", 0.2, 1, 1000, 10, 10},
		{"nothing where nothing is granted", 0, 0, 1000, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := endpoint.NewBudget(tt.share, tt.floor)
			for range tt.requests {
				b.Request(0)
			}
			got := 0
			for b.Spend(tt.at * 1000 * ms) {
				got++
			}
			require.Equal(t, tt.want, got)
		})
	}
}

// Over any ten seconds there are never more spendings than the share of the
// requests of twenty, or than the floor.
func TestBudgetHoldsOverAnyTenSeconds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		share, floor := rapid.Float64Range(0, 0.5).Draw(t, "share"), float64(rapid.IntRange(0, 5).Draw(t, "floor"))
		b := endpoint.NewBudget(share, floor)
		rates := rapid.SliceOfN(rapid.IntRange(0, 40), 30, 30).Draw(t, "rates")
		spent := make([]int, len(rates))
		for s, rate := range rates {
			for n := range rate {
				now := int64(s)*1000*ms + int64(n)*ms
				b.Request(now)
				for range 2 { // everything fails
					if b.Spend(now) {
						spent[s]++
					}
				}
			}
		}
		for s := 9; s < len(rates); s++ {
			sum, asked := 0, 0
			for _, n := range spent[s-9 : s+1] {
				sum += n
			}
			for _, n := range rates[max(0, s-18) : s+1] {
				asked += n
			}
			if float64(sum) > max(share*float64(asked), floor*10)+1 {
				t.Fatalf("%d spent in the ten seconds up to %d", sum, s)
			}
		}
	})
}

// The oracle is the exact quantile of the samples.
func TestPaceFindsTheTail(t *testing.T) {
	for _, spread := range []float64{0.1, 0.5} {
		random := rand.New(rand.NewPCG(3, 4))
		var p endpoint.Pace
		require.Equal(t, 50*ms, p.HedgeAfter(), "nothing is known")
		var all []float64
		sum, n := 0.0, 0
		for i := range 20_000 {
			took := 5e6 * (1 + spread*random.ExpFloat64())
			all = append(all, took)
			p.Observe(int64(took))
			if i > 2000 {
				sum, n = sum+float64(p.P95()), n+1
			}
		}
		slices.Sort(all)
		require.InEpsilon(t, all[len(all)*95/100], sum/float64(n), 0.1, "spread %v", spread)
	}
}

func TestHedgeAfter(t *testing.T) {
	var p endpoint.Pace
	p.Observe(ms)
	require.Equal(t, 10*ms, p.HedgeAfter(), "never before 10 ms")
	for range 200 {
		p.Observe(40 * ms)
	}
	require.Equal(t, 80*ms, p.HedgeAfter(), "twice what nearly all take")
	for range 400 {
		p.Observe(3 * ms)
	}
	require.Equal(t, 10*ms, p.HedgeAfter())
}
