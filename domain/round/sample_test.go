package round_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
)

// many is n sites in three regions, the last of which has one site.
func many(n int) []site.Site {
	sites := make([]site.Site, n)
	for i := range sites {
		sites[i] = site.Site{Tenant: fmt.Sprintf("h%02d", i/2), ID: fmt.Sprintf("s%d", i%2), Region: []string{"eu", "us"}[i%2]}
	}
	sites[n-1].Region = "apac"
	return sites
}

func TestHowManySitesASampleAsks(t *testing.T) {
	tests := []struct {
		name         string
		n            int
		sample, over int
		quorum       int
		mode         string
		want         int
	}{
		{"a tenth", 100, 1000, 0, 1, "auto", 10},
		{"a tenth of eleven is two, rounded up", 101, 100, 0, 1, "off", 2},
		{"a fifth more", 100, 1000, 2000, 1, "auto", 12},
		{"a fifth more, rounded up", 100, 1100, 2000, 1, "auto", 14}, // 11 + 2.2
		{"no less than the quorum", 100, 1000, 0, 30, "auto", 30},
		{"no less than hide one another", 100, 100, 0, 1, "auto", 3},
		{"one, in the open", 100, 100, 0, 1, "off", 1},
		{"no more than there are", 5, 9000, 10_000, 1, "auto", 5},
		{"a quorum of more than there are", 5, 1000, 0, 9, "on", 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := round.Params{SampleBP: tt.sample, OverBP: tt.over, Quorum: tt.quorum, QuorumRegions: 1, Secure: round.Secure{Mode: tt.mode}}
			got := round.Sample(many(tt.n), p, round.SampleSeed(1, 1))
			require.Len(t, got, tt.want)
			require.True(t, slices.IsSortedFunc(got, func(a, b site.Site) int { return slices.Index(many(tt.n), a) - slices.Index(many(tt.n), b) }))
		})
	}
}

func TestADrawDependsOnSeedAndNamesAlone(t *testing.T) {
	p := round.Params{SampleBP: 2000, Quorum: 1, QuorumRegions: 1}
	names := func(sites []site.Site) []string {
		var out []string
		for _, s := range sites {
			out = append(out, s.Tenant+"/"+s.ID)
		}
		slices.Sort(out)
		return out
	}
	first := names(round.Sample(many(50), p, round.SampleSeed(7, 3)))
	shuffled := many(50)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	require.Equal(t, first, names(round.Sample(shuffled, p, round.SampleSeed(7, 3))))
	require.NotEqual(t, first, names(round.Sample(many(50), p, round.SampleSeed(7, 4))), "the next round asks others")
	require.NotEqual(t, first, names(round.Sample(many(50), p, round.SampleSeed(8, 3))), "so does another run")
	// printf 'fabric/sample\n7\n3' | sha256sum: the first 8 bytes.
	require.Equal(t, uint64(0x1484c26dd853ad92), round.SampleSeed(7, 3))
}

// Over many rounds every site is asked equally often: 2000 draws of 10 of 50
// are 400 each with a standard deviation of 18.
func TestADrawIsFair(t *testing.T) {
	p := round.Params{SampleBP: 2000, Quorum: 1, QuorumRegions: 1}
	asked := map[string]int{}
	for number := range 2000 {
		for _, s := range round.Sample(many(50), p, round.SampleSeed(1, number)) {
			asked[s.Tenant+"/"+s.ID]++
		}
	}
	require.Len(t, asked, 50)
	for name, n := range asked {
		require.InDelta(t, 400, n, 5*18, name)
	}
}

func TestADrawHasTheRegionsOfItsQuorum(t *testing.T) {
	p := round.Params{SampleBP: 1000, Quorum: 3, QuorumRegions: 3}
	for number := range 50 {
		got := round.Sample(many(40), p, round.SampleSeed(1, number))
		require.Len(t, got, 4)
		require.Len(t, regionsOf(got), 3, "round %d", number)
	}
}

func regionsOf(sites []site.Site) map[string]bool {
	out := map[string]bool{}
	for _, s := range sites {
		out[s.Region] = true
	}
	return out
}

func TestWhenEnoughHaveAnswered(t *testing.T) {
	over := round.Params{SampleBP: 1000, OverBP: 5000}
	open := over
	open.Secure.Mode = round.SecureOff
	tests := []struct {
		name  string
		p     round.Params
		kind  round.Kind
		asked int
		want  int
	}{
		{"two thirds of those asked, when half more were", over, round.Train, 15, 10},
		{"rounded up", over, round.Train, 16, 11},
		{"all, when no more were asked than needed", round.Params{SampleBP: 1000}, round.Train, 15, 0},
		{"all, when everybody was asked", round.Params{OverBP: 5000}, round.Train, 15, 0},
		{"all, in an evaluation", over, round.Evaluate, 15, 0},
		{"all of three, which hide one another", over, round.Train, 3, 0},
		{"two of three, in the open", open, round.Train, 3, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.want, tt.p.Enough(tt.kind, tt.asked)) })
	}
}
