package endpoint_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/endpoint"
	"github.com/atom-fabric/fabric/domain/policy"
)

// drawFleet returns up to n candidates over three regions, in any state.
func drawFleet(t *rapid.T, n int) []endpoint.Candidate {
	candidates := fleet(rapid.SliceOfN(rapid.SampledFrom([]string{"eu", "us", "apac"}), 1, n).Draw(t, "regions")...)
	for i := range candidates {
		c := &candidates[i]
		c.CostMicros = rapid.Int64Range(0, 100).Draw(t, "cost")
		c.Cost = endpoint.CostScore(c.CostMicros, 100)
		c.Fabric = rapid.Float64Range(0, 1).Draw(t, "fabric")
		c.Kind = rapid.SampledFrom([]string{policy.Neural, policy.Quantum}).Draw(t, "kind")
		c.Live.SetReady(rapid.IntRange(0, 4).Draw(t, "ready") > 0)
		for range rapid.IntRange(0, 6).Draw(t, "requests") {
			c.Live.Begin()
			if rapid.Bool().Draw(t, "over") {
				c.Live.End(rapid.Int64Range(0, 5_000*ms).Draw(t, "at"), rapid.Int64Range(0, 5_000*ms).Draw(t, "took"),
					rapid.IntRange(0, 3).Draw(t, "ok") > 0, 100*ms, rapid.Float64Range(0, 0.999).Draw(t, "jitter"))
			}
		}
	}
	return candidates
}

func drawAsk(t *rapid.T, candidates []endpoint.Candidate) endpoint.Ask {
	ask := endpoint.Ask{
		Now: rapid.Int64Range(0, 20_000*ms).Draw(t, "now"), Near: rapid.SampledFrom([]string{"eu", "us", ""}).Draw(t, "near"),
		Only: rapid.SampledFrom([]string{"", "", "us", "mars"}).Draw(t, "only"), Kind: rapid.SampledFrom([]string{"", "", policy.Neural}).Draw(t, "kind"),
		MaxCostMicros: rapid.SampledFrom([]int64{0, 0, 50}).Draw(t, "max"), LimitMillis: 500, Random: rapid.Uint64().Draw(t, "random"),
		Weights: policy.Weights{Latency: rapid.IntRange(0, 1000).Draw(t, "latency"), Cost: rapid.IntRange(0, 1000).Draw(t, "cost"),
			Fabric: rapid.IntRange(0, 1000).Draw(t, "fabric"), Locality: rapid.IntRange(1, 1000).Draw(t, "locality")},
	}
	if rapid.Bool().Draw(t, "among") {
		set := endpoint.NewSet(len(candidates))
		for i := range candidates {
			if rapid.Bool().Draw(t, "in") {
				set.Add(i)
			}
		}
		ask.Among = &set
	}
	if rapid.IntRange(0, 2).Draw(t, "skip") == 0 {
		ask.Skip = []*endpoint.Live{candidates[rapid.IntRange(0, len(candidates)-1).Draw(t, "tried")].Live}
	}
	return ask
}

// fits is what a pick may be, one candidate at a time and by the texts that are
// shown to people: the bit sets must say the same.
func fits(ask *endpoint.Ask, candidates []endpoint.Candidate, i int) bool {
	return (ask.Among == nil || ask.Among.Has(i)) && ask.Refuses(&candidates[i]) == ""
}

// A pick fits; there is one exactly if somebody fits; and but for the one ask
// in a hundred that explores, and probes, it is within the band of the best by
// the scores that are shown, which are worked out apart from those of the pick.
func TestAPickFitsAndIsAmongTheBest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		candidates := drawFleet(t, 140) // more than two words of a set
		ask := drawAsk(t, candidates)
		anybody, best := false, -1.0
		standings := make([]endpoint.Standing, len(candidates))
		for i := range candidates {
			standings[i] = candidates[i].Live.Standing(ask.Now, 0)
			if !fits(&ask, candidates, i) {
				continue
			}
			anybody = true
			if standings[i] == endpoint.Open {
				best = max(best, ask.Score(&candidates[i]).Total)
			}
		}
		work := &endpoint.Work{}
		pool := endpoint.NewPool(candidates)
		far := 0
		for range 60 {
			ask.Random = ask.Random*6364136223846793005 + 1442695040888963407
			ask.Probe = false
			i := pool.Choose(&ask, work)
			if (i >= 0) != anybody {
				t.Fatalf("picked %d, somebody fits: %v", i, anybody)
			}
			if i < 0 {
				return
			}
			if !fits(&ask, candidates, i) {
				t.Fatalf("picked %s, which is refused: %s", candidates[i].Name, ask.Refuses(&candidates[i]))
			}
			if !ask.Probe && standings[i] == endpoint.Open && ask.Score(&candidates[i]).Total < best-0.05-1e-5 {
				far++
			}
		}
		// One in a hundred explores: eight of 60 or more have a chance of 1e-7.
		if far > 7 {
			t.Fatalf("%d of 60 picks are far from the best", far)
		}
	})
}

// Whom the ask does not leave is never answered from there, through Pick too:
// what a region is preferred to, and what stands in for a side, is permitted.
func TestPickStaysWithinItsSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		candidates := drawFleet(t, 20)
		ask := drawAsk(t, candidates)
		if ask.Among == nil {
			return
		}
		if rapid.Bool().Draw(t, "instead") {
			other := endpoint.NewSet(len(candidates))
			for i := range candidates {
				if rapid.Bool().Draw(t, "in") {
					other.Add(i)
				}
			}
			ask.Instead = &other
		}
		before := ask
		i := endpoint.NewPool(candidates).Pick(&ask, &endpoint.Work{})
		ask.Probe = before.Probe
		require.Equal(t, before, ask, "an ask may be asked again")
		if i >= 0 && !ask.Among.Has(i) && (ask.Instead == nil || !ask.Instead.Has(i)) {
			t.Fatalf("picked %s, which is in neither set", candidates[i].Name)
		}
		if i < 0 {
			ask.Only = ""
			for k := range candidates {
				if fits(&ask, candidates, k) {
					t.Fatalf("picked nobody, and %s fits", candidates[k].Name)
				}
			}
		}
	})
}

func TestPickPrefersARegionAndThenASide(t *testing.T) {
	candidates := fleet("eu", "us", "eu", "us") // the canary's are 2 and 3
	canary, champion := endpoint.NewSet(4), endpoint.NewSet(4)
	for i := range 2 {
		champion.Add(i)
		canary.Add(i + 2)
	}
	pick := func(only string, instead *endpoint.Set) int {
		ask := endpoint.Ask{Near: "eu", Only: only, LimitMillis: 1000, Weights: even, Among: &canary, Instead: instead}
		return endpoint.NewPool(candidates).Pick(&ask, &endpoint.Work{})
	}
	require.Equal(t, 3, pick("us", &champion))
	candidates[3].Live.SetReady(false)
	require.Equal(t, 2, pick("us", &champion), "another region before another side")
	candidates[2].Live.SetReady(false)
	require.Equal(t, 1, pick("us", &champion), "the other side, in the region")
	require.Equal(t, -1, pick("us", nil))
	candidates[1].Live.SetReady(false)
	require.Equal(t, 0, pick("us", &champion))
	candidates[2].Live.SetReady(true)
	fail(candidates[2].Live, 0, 3)
	require.Equal(t, 0, pick("us", &champion), "what is set aside leaves the side")
	require.Equal(t, 2, pick("us", nil), "but does not leave nobody")
}

// An endpoint at its limit takes nothing more while another can, and is where
// the request waits when none can.
func TestAPickLeavesTheFull(t *testing.T) {
	candidates := fleet("eu", "us")
	near := candidates[0].Live
	var gradient endpoint.Gradient
	gradient.Step(0, 0, near)
	for range near.Limit() {
		near.Begin()
	}
	ask := endpoint.Ask{Near: "eu", LimitMillis: 1000, Weights: policy.Weights{Locality: 1}}
	require.Equal(t, endpoint.RuleFull, ask.Refuses(&candidates[0]))
	require.Equal(t, 1, choose(candidates, &ask))
	ask.Only = "eu"
	require.Equal(t, -1, choose(candidates, &ask))
	ask.Crowd = true
	require.Equal(t, 0, choose(candidates, &ask))
}

// A region of share s gets s of what it would get, while another can answer.
func TestAThinRegionGetsItsShare(t *testing.T) {
	candidates := fleet("eu", "eu", "us")
	candidates[0].Thin, candidates[1].Thin = 0.7, 0.7
	pool, work, random := endpoint.NewPool(candidates), &endpoint.Work{}, rand.New(rand.NewPCG(1, 2))
	const asks = 20_000
	near := func(only string) (n int) {
		for range asks {
			ask := endpoint.Ask{Near: "eu", Only: only, LimitMillis: 1000, Weights: even, Random: random.Uint64()}
			if i := pool.Choose(&ask, work); candidates[i].Region == "eu" {
				n++
			}
		}
		return n
	}
	// 30 % of 20,000 with a standard deviation of 65.
	require.InDelta(t, 6000, near(""), 5*65)
	require.Equal(t, asks, near("eu"), "where nobody else can, it answers all")
}

func TestOneInAHundredExplores(t *testing.T) {
	candidates := fleet("eu", "eu", "us")
	candidates[0].Live.Begin()
	candidates[0].Live.End(0, 600*ms, true, 0, 0)
	pool, work, random := endpoint.NewPool(candidates), &endpoint.Work{}, rand.New(rand.NewPCG(3, 4))
	const asks = 100_000
	got := map[int]int{}
	for range asks {
		ask := endpoint.Ask{Near: "eu", LimitMillis: 1000, Weights: even, Random: random.Uint64()}
		got[pool.Choose(&ask, work)]++
	}
	// 1 % explores, half of that takes the slow one: 500, standard deviation 22.
	require.InDelta(t, 500, got[0], 5*22)
	require.Zero(t, got[2], "a far one would not be as good if it were as quick")
}

// A pick allocates nothing once its memory has seen the pool.
func TestAPickAllocatesNothing(t *testing.T) {
	for _, n := range []int{3, 50, 500} {
		regions := make([]string, n)
		for i := range regions {
			regions[i] = []string{"eu", "us", "apac"}[i%3]
		}
		candidates := fleet(regions...)
		set := endpoint.NewSet(n)
		for i := range n {
			set.Add(i)
		}
		pool, work := endpoint.NewPool(candidates), &endpoint.Work{}
		tried := []*endpoint.Live{candidates[0].Live}
		random := uint64(0)
		pick := func() {
			random += 0x9e3779b97f4a7c15
			ask := endpoint.Ask{Near: "eu", Only: "us", Kind: policy.Neural, MaxCostMicros: 100, LimitMillis: 1000, Weights: even,
				Random: random, Among: &set, Instead: &set, Skip: tried}
			if pool.Pick(&ask, work) < 0 {
				panic("none")
			}
		}
		pick()
		require.Zero(t, testing.AllocsPerRun(1000, pick), n)
	}
}

// The fast scores are those that are shown, to the precision of their floats:
// of two that differ by more the better wins, whatever made the difference.
func TestThePickScoresAsIsShown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		candidates := drawFleet(t, 2)
		if len(candidates) < 2 {
			return
		}
		ask := drawAsk(t, candidates)
		ask.Among, ask.Skip, ask.Only, ask.Kind, ask.MaxCostMicros = nil, nil, "", "", 0
		for i := range candidates {
			candidates[i].Live.SetReady(true)
			if candidates[i].Live.Standing(ask.Now, 0) != endpoint.Open {
				return
			}
		}
		a, b := ask.Score(&candidates[0]).Total, ask.Score(&candidates[1]).Total
		if diff := a - b; diff < 1e-5 && diff > -1e-5 {
			return
		}
		better := 0
		if b > a {
			better = 1
		}
		pool, work, got := endpoint.NewPool(candidates), &endpoint.Work{}, 0
		for range 20 {
			ask.Random = ask.Random*6364136223846793005 + 1442695040888963407
			if pool.Choose(&ask, work) == better {
				got++
			}
		}
		if got < 16 { // one in a hundred explores
			t.Fatalf("%d of 20 picks took the better one: %v and %v", got, a, b)
		}
	})
}

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{50, 500} {
		regions := make([]string, n)
		for i := range regions {
			regions[i] = []string{"eu", "us", "apac"}[i%3]
		}
		candidates := fleet(regions...)
		for i := range candidates {
			candidates[i].Live.Begin()
			candidates[i].Live.End(0, int64(5+i%11)*ms, true, 0, 0)
		}
		set := endpoint.NewSet(n)
		for i := range n {
			set.Add(i)
		}
		pool, work := endpoint.NewPool(candidates), &endpoint.Work{}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			ask := endpoint.Ask{Near: "eu", LimitMillis: 1000, Weights: even, Among: &set}
			for ask.Random = 0; b.Loop(); ask.Random += 0x9e3779b97f4a7c15 {
				ask.Now += 1000
				if pool.Pick(&ask, work) < 0 {
					b.Fatal("none")
				}
			}
		})
	}
}
