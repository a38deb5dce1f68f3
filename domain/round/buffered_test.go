package round_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

func valid() round.Params {
	return round.Params{Model: round.ModelSpec{Inputs: 2}, Features: []string{"f"}}
}

func bufferedParams(buffer, staleness int) round.Params {
	p := valid()
	p.Strategy = round.Strategy{Name: round.FedBuff, Buffer: buffer, MaxStaleness: staleness}
	return p
}

// Worked out by hand: 1000/√2 = 707.1, /√3 = 577.35, /2 = 500, /√6 = 408.2,
// /3 = 333.3, /√21 = 218.2, /√201 = 70.5.
func TestStaleWeightIsRoundedDown(t *testing.T) {
	for tau, want := range map[int]int64{0: 1000, 1: 707, 2: 577, 3: 500, 5: 408, 8: 333, 20: 218, 200: 70, 999_999: 1} {
		require.Equal(t, want, round.StaleWeight(tau), "tau %d", tau)
	}
}

func base(n int) artifact.Descriptor {
	return artifact.Describe(artifact.MediaTypeWeights, fmt.Appendf(nil, "weights before round %d", n))
}

// Each round lists what the one before listed and what that one started from,
// and forgets what has become too old.
func TestARoundTakesTheStartsOfTheRoundsBefore(t *testing.T) {
	p, err := bufferedParams(3, 2).Validate()
	require.NoError(t, err)
	m := round.Manifest{Number: 1, Kind: round.Train, Base: base(1), Params: p}
	want := map[int][]int{2: {1}, 3: {2, 1}, 4: {3, 2}, 5: {4, 3}}
	for n := 2; n <= 5; n++ {
		m = round.Manifest{Number: n, Kind: round.Train, Base: base(n), Params: p, Starts: m.Successor()}
		var numbers []int
		for _, s := range m.Starts {
			numbers = append(numbers, s.Number)
			require.Equal(t, base(s.Number).Digest, s.Base)
		}
		require.Equal(t, want[n], numbers, "round %d", n)
	}
	for from, want := range map[int]int{0: 0, 5: 0, 4: 1, 3: 2} {
		tau, ok := m.Staleness(from)
		require.True(t, ok, "from %d", from)
		require.Equal(t, want, tau, "from %d", from)
	}
	for _, from := range []int{2, 1, 6, -1} {
		_, ok := m.Staleness(from)
		require.False(t, ok, "from %d", from)
	}

	m.Starts = append(m.Starts, round.Start{Number: 7}, round.Start{Number: 1})
	for _, from := range []int{7, 1} {
		_, ok := m.Staleness(from)
		require.False(t, ok, "from %d, whatever the list says", from)
	}

	m.Kind = round.Evaluate
	_, ok := m.Staleness(4)
	require.False(t, ok, "an evaluation has no updates")
	require.Empty(t, m.Successor())
	m.Kind, m.Params.Strategy = round.Train, round.Strategy{Name: round.FedAvg}
	_, ok = m.Staleness(4)
	require.False(t, ok, "nor are there late ones in a run without a buffer")
	require.Empty(t, m.Successor())
}

func TestSufficeIsThePartOfTheBuffer(t *testing.T) {
	both := []round.Cohort{{Region: "eu", Sites: 12}, {Region: "us", Sites: 8}}
	tests := []struct {
		name   string
		buffer int
		quorum int
		mode   string
		kind   round.Kind
		cohort []round.Cohort
		want   map[string]int
	}{
		{"of one group", 10, 1, round.SecureOff, round.Train, []round.Cohort{{Region: "eu", Sites: 20}}, map[string]int{"eu": 10}},
		{"by its sites, rounded up", 9, 1, round.SecureOff, round.Train, both, map[string]int{"eu": 6, "us": 4}},
		{"all that there are", 20, 1, round.SecureOff, round.Train, both, map[string]int{"eu": 0, "us": 0}},
		{"three where they hide each other", 3, 1, round.SecureAuto, round.Train, both, map[string]int{"eu": 3, "us": 3}},
		{"what the quorum needs of it", 16, 16, round.SecureOff, round.Train, both, map[string]int{"eu": 10, "us": 7}},
		{"everybody where nothing is trained", 9, 1, round.SecureOff, round.Statistics, both, map[string]int{"eu": 0, "us": 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := bufferedParams(tt.buffer, 0)
			p.Quorum, p.QuorumRegions, p.Secure.Mode = tt.quorum, 1, tt.mode
			p, err := p.Validate()
			require.NoError(t, err)
			for group, want := range tt.want {
				got := p.Suffice(tt.kind, tt.cohort, group)
				require.Equal(t, want, got, group)
				if got > 0 {
					require.GreaterOrEqual(t, got, round.Need(p.Quorum, tt.cohort, group))
				}
			}
		})
	}
	over := valid()
	over.SampleBP, over.OverBP, over.Secure.Mode = 5000, 2500, round.SecureOff
	require.Equal(t, over.Enough(round.Train, 12), over.Suffice(round.Train, both, "eu"))
}

func TestBufferedRunsThatAreRefused(t *testing.T) {
	private := round.Privacy{Mechanism: round.PrivacyCentral, Unit: round.UnitSite, NoiseMultiplier: 1}
	tests := []struct {
		name   string
		change func(p *round.Params)
		param  string
		want   error
	}{
		{"below the quorum", func(p *round.Params) { p.Quorum = 5 }, "strategy.buffer", round.ErrSmallBuffer},
		{"of two that are hidden", func(p *round.Params) { p.Strategy.Buffer, p.Quorum, p.QuorumRegions = 2, 1, 1 }, "strategy.buffer", round.ErrSmallBuffer},
		{"and more asked than needed", func(p *round.Params) { p.SampleBP, p.OverBP = 5000, 1000 }, "overBP", round.ErrBufferedOver},
		{"rows are protected", func(p *round.Params) { p.Privacy.Unit, p.LocalEpochs = round.UnitExample, 1 }, "privacy.unit", round.ErrBufferedUnit},
		{"a norm that moves", func(p *round.Params) { p.Privacy.Adaptive.Quantile = 0.5 }, "privacy.adaptive", round.ErrBufferedClip},
		{"older than a manifest lists", func(p *round.Params) { p.Strategy.MaxStaleness = 201 }, "strategy.maxStaleness", round.ErrOutOfRange},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := bufferedParams(4, 0)
			p.Quorum, p.QuorumRegions, p.Privacy = 3, 1, private
			for range p.Model.Inputs {
				p.Bounds = append(p.Bounds, [2]float64{0, 1})
			}
			filled, err := p.Validate()
			require.NoError(t, err)
			require.Equal(t, 20, filled.Strategy.MaxStaleness)
			tt.change(&p)
			_, err = p.Validate()
			require.ErrorIs(t, err, tt.want)
			var at *round.ParamError
			require.ErrorAs(t, err, &at)
			require.Equal(t, tt.param, at.Param)
		})
	}
}
