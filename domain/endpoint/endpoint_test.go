package endpoint_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/endpoint"
	"github.com/atom-fabric/fabric/domain/policy"
)

const ms = int64(1e6)

var even = policy.Weights{Latency: 400, Cost: 200, Fabric: 200, Locality: 200}

// fleet returns one candidate a region, all alike, all heard of: 10 ms.
func fleet(regions ...string) []endpoint.Candidate {
	out := make([]endpoint.Candidate, len(regions))
	for i, region := range regions {
		name := fmt.Sprintf("%s-%d", region, i)
		out[i] = endpoint.Candidate{Name: name, Region: region, Kind: policy.Neural, CostMicros: 10, Cost: 1, Fabric: 1, Hash: endpoint.Hash(name), Live: &endpoint.Live{}}
		out[i].Live.Begin()
		out[i].Live.End(0, 10*ms, true, 0, 0)
	}
	return out
}

func fail(l *endpoint.Live, now int64, times int) (ejected bool) {
	for range times {
		l.Begin()
		ejected = l.End(now, ms, false, ms, 0)
	}
	return ejected
}

func choose(candidates []endpoint.Candidate, ask *endpoint.Ask) int {
	return endpoint.NewPool(candidates).Choose(ask, &endpoint.Work{})
}

func TestChoose(t *testing.T) {
	tests := []struct {
		name   string
		ask    endpoint.Ask
		change func([]endpoint.Candidate)
		want   string // region, "" for none
	}{
		{"takes the near region", endpoint.Ask{Near: "us"}, nil, "us"},
		{"takes only the region asked for", endpoint.Ask{Near: "us", Only: "apac"}, nil, "apac"},
		{"has nobody in an unknown region", endpoint.Ask{Only: "mars"}, nil, ""},
		{"goes elsewhere when the near one is not ready", endpoint.Ask{Near: "us"}, func(c []endpoint.Candidate) {
			c[1].Live.SetReady(false)
			c[2].Cost = 0
		}, "eu"},
		{"goes elsewhere when the model is not loaded there", endpoint.Ask{Near: "us"}, func(c []endpoint.Candidate) {
			c[1].Unloaded = &atomic.Bool{}
			c[1].Unloaded.Store(true)
			c[2].Cost = 0
		}, "eu"},
		{"goes elsewhere when the near one is set aside", endpoint.Ask{Near: "us", Now: ms}, func(c []endpoint.Candidate) {
			fail(c[1].Live, ms, 3)
			c[2].Cost = 0
		}, "eu"},
		{"stays after two failures", endpoint.Ask{Near: "us", Now: ms}, func(c []endpoint.Candidate) { fail(c[1].Live, ms, 2) }, "us"},
		{"uses the one that is free first when all are set aside", endpoint.Ask{Near: "us", Now: ms}, func(c []endpoint.Candidate) {
			fail(c[0].Live, 1, 3)
			fail(c[1].Live, 2, 3)
			fail(c[2].Live, 0, 3)
		}, "apac"},
		{"has nobody when none is ready", endpoint.Ask{Near: "us"}, func(c []endpoint.Candidate) {
			for i := range c {
				c[i].Live.SetReady(false)
			}
		}, ""},
		{"skips the one that was tried", endpoint.Ask{Near: "us"}, func(c []endpoint.Candidate) { c[2].Cost = 0 }, "eu"},
		{"takes the cheap one far away when cost is all", endpoint.Ask{Near: "us", Weights: policy.Weights{Cost: 1}}, func(c []endpoint.Candidate) {
			c[0].Cost, c[1].Cost, c[2].Cost = 0.5, 0.2, 0.9
		}, "apac"},
		{"takes the best scorecard when that is all", endpoint.Ask{Near: "us", Weights: policy.Weights{Fabric: 7}}, func(c []endpoint.Candidate) {
			c[0].Fabric, c[1].Fabric, c[2].Fabric = 0.95, 0.7, 0.8
		}, "eu"},
		{"holds to the caller's limit of cost", endpoint.Ask{Near: "us", MaxCostMicros: 5}, func(c []endpoint.Candidate) { c[2].CostMicros = 5 }, "apac"},
		{"holds to the caller's kind", endpoint.Ask{Near: "us", Kind: policy.Quantum}, func(c []endpoint.Candidate) { c[0].Kind = policy.Quantum }, "eu"},
		{"leaves a slow near one", endpoint.Ask{Near: "us", Now: ms}, func(c []endpoint.Candidate) {
			c[1].Live.Begin()
			c[1].Live.End(ms, 900*ms, true, 0, 0)
			c[2].Cost = 0
		}, "eu"},
		{"comes back to it when the memory has faded", endpoint.Ask{Near: "us", Now: 120_000 * ms}, func(c []endpoint.Candidate) {
			c[1].Live.Begin()
			c[1].Live.End(ms, 900*ms, true, 0, 0)
		}, "us"},
		{"spills over when the near one is full", endpoint.Ask{Near: "us"}, func(c []endpoint.Candidate) {
			for range 100 {
				c[1].Live.Begin()
			}
			c[2].Cost = 0
		}, "eu"},
		{"does not spill over for a few", endpoint.Ask{Near: "us"}, func(c []endpoint.Candidate) {
			for range 8 {
				c[1].Live.Begin()
			}
		}, "us"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			candidates := fleet("eu", "us", "apac")
			if tt.change != nil {
				tt.change(candidates)
			}
			ask := tt.ask
			ask.LimitMillis = 1000
			if ask.Weights == (policy.Weights{}) {
				ask.Weights = even
			}
			if tt.name == "skips the one that was tried" {
				ask.Skip = []*endpoint.Live{candidates[1].Live}
			}
			for ask.Random = range uint64(50) {
				got := ""
				if i := choose(candidates, &ask); i >= 0 {
					got = candidates[i].Region
				}
				require.Equal(t, tt.want, got)
			}
		})
	}
}

// Scores are promised to be in [0,1] with 1 best, whatever the endpoint does.
func TestScoresAreInRangeAndAPickFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		candidates := fleet(rapid.SliceOfN(rapid.SampledFrom([]string{"eu", "us", "apac"}), 1, 12).Draw(t, "regions")...)
		for i := range candidates {
			c := &candidates[i]
			c.CostMicros = rapid.Int64Range(0, 100).Draw(t, "cost")
			c.Cost = endpoint.CostScore(c.CostMicros, 100)
			c.Live.SetReady(rapid.Bool().Draw(t, "ready"))
			for range rapid.IntRange(0, 6).Draw(t, "requests") {
				c.Live.Begin()
				c.Live.End(rapid.Int64Range(0, 5_000*ms).Draw(t, "at"), rapid.Int64Range(0, 5_000*ms).Draw(t, "took"),
					rapid.Bool().Draw(t, "ok"), 100*ms, rapid.Float64Range(0, 0.999).Draw(t, "jitter"))
			}
		}
		ask := endpoint.Ask{
			Now: rapid.Int64Range(0, 10_000*ms).Draw(t, "now"), Near: "eu", LimitMillis: 500, Weights: even,
			Only: rapid.SampledFrom([]string{"", "us"}).Draw(t, "only"), MaxCostMicros: rapid.Int64Range(0, 100).Draw(t, "max"),
			Random: rapid.Uint64().Draw(t, "random"),
		}
		fit := 0
		for i := range candidates {
			s := ask.Score(&candidates[i])
			for _, score := range []float64{s.Latency, s.Cost, s.Fabric, s.Locality, s.Load, s.Total} {
				if math.IsNaN(score) || score < 0 || score > 1 {
					t.Fatalf("score %v of %+v", score, s)
				}
			}
			if ask.Refuses(&candidates[i]) == "" {
				fit++
			}
		}
		picked := choose(candidates, &ask)
		if (picked >= 0) != (fit > 0) {
			t.Fatalf("picked %d of %d that fit", picked, fit)
		}
		if picked >= 0 && ask.Refuses(&candidates[picked]) != "" {
			t.Fatalf("picked one that is refused: %s", ask.Refuses(&candidates[picked]))
		}
	})
}

// 50 equal endpoints under 20 routers: the fullest gets at most 1.3 times the
// mean (bound of the project's fault tests), with no endpoint favoured by name.
func TestLoadSpreadsOverEquals(t *testing.T) {
	regions := make([]string, 50)
	for i := range regions {
		regions[i] = "eu"
	}
	counts := map[string]int{}
	const each = 5000
	for router := range 20 {
		random := rand.New(rand.NewPCG(uint64(router), 1))
		candidates := fleet(regions...)
		pool, work := endpoint.NewPool(candidates), &endpoint.Work{}
		for n := range int64(each) {
			ask := endpoint.Ask{Now: n * ms, Near: "eu", LimitMillis: 1000, Weights: even, Random: random.Uint64()}
			i := pool.Choose(&ask, work)
			counts[candidates[i].Name]++
			candidates[i].Live.Begin()
			candidates[i].Live.End(n*ms, 10*ms, true, 0, 0)
		}
	}
	fullest := 0
	for _, n := range counts {
		fullest = max(fullest, n)
	}
	require.Len(t, counts, 50)
	require.LessOrEqual(t, float64(fullest), 1.3*20*each/50)
}

func BenchmarkChoose(b *testing.B) {
	for _, n := range []int{3, 50, 500} {
		regions := make([]string, n)
		for i := range regions {
			regions[i] = []string{"eu", "us", "apac"}[i%3]
		}
		pool, work := endpoint.NewPool(fleet(regions...)), &endpoint.Work{}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			ask := endpoint.Ask{Near: "eu", LimitMillis: 1000, Weights: even}
			for ask.Random = 0; b.Loop(); ask.Random += 0x9e3779b97f4a7c15 {
				ask.Now += 1000
				if pool.Choose(&ask, work) < 0 {
					b.Fatal("none")
				}
			}
		})
	}
}
