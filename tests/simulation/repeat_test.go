package simulation

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/simulate"
)

// weather are settings with everything that is drawn: regions, samples,
// over-selection, dropouts, stragglers, liars.
func weather(t testing.TB, seed uint64, secure bool) simulate.Settings {
	s := digitsOf(t, seed)
	s.Sites, s.Regions, s.GroupSites = 60, 3, 8
	s.Dropout, s.Stragglers, s.Adversaries, s.Attack = 0.1, 0.1, 0.1, simulate.Noise
	s.Params.Rounds, s.Params.OverBP, s.Params.Quorum, s.Params.QuorumRegions = 4, 2000, 2, 2
	if secure {
		s.Params.Secure = round.Secure{Mode: round.SecureOn}
	}
	return s
}

// written returns what a result writes, by file name.
func written(t testing.TB, r simulate.Result) map[string]string {
	dir := t.TempDir()
	require.NoError(t, r.Write(dir))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	files := map[string]string{}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		files[e.Name()] = string(content)
	}
	return files
}

func TestTheSameSeedWritesTheSameBytes(t *testing.T) {
	for _, secure := range []bool{false, true} {
		first := written(t, run(t, weather(t, 7, secure)))
		before := runtime.GOMAXPROCS(1)
		second := written(t, run(t, weather(t, 7, secure)))
		runtime.GOMAXPROCS(before)
		require.Equal(t, first, second, "secure %v, seed 7", secure)
		require.NotEqual(t, first[simulate.RoundsFile], written(t, run(t, weather(t, 8, secure)))[simulate.RoundsFile])
	}
}

func TestEverythingWrittenSaysThatItIsSimulated(t *testing.T) {
	files := written(t, run(t, weather(t, 7, false)))
	require.Len(t, files, 8)
	for name, content := range files {
		require.Contains(t, strings.ToLower(content), "simulated", name)
	}
	lines := strings.Split(strings.TrimSpace(files[simulate.RoundsFile]), "\n")
	require.Len(t, lines, 5)
	for _, line := range lines[1:] {
		require.True(t, strings.HasPrefix(line, "true,"), line)
	}
}

// Who takes part is drawn the same whether or not vectors are masked, and the
// sum is that of those who stayed. With nobody leaving, hiding costs less than
// rounding: the codec's step.
func TestHidingDoesNotChangeWhatIsLearnt(t *testing.T) {
	for _, ring := range []int{32, 64} {
		open, hidden := digitsOf(t, 3), digitsOf(t, 3)
		open.Params.Rounds, hidden.Params.Rounds = 3, 3
		hidden.Params.Secure = round.Secure{Mode: round.SecureOn, Ring: ring}
		a, b := run(t, open), run(t, hidden)
		for i, tensor := range a.Tensors {
			for j, v := range tensor.F32 {
				require.InDelta(t, v, b.Tensors[i].F32[j], 1e-5, "ring %d, %s %d", ring, tensor.Name, j)
			}
		}
		require.Greater(t, b.Rounds[0].Uploaded, a.Rounds[0].Uploaded)
	}
}

// Sites leave in every stage, groups are lost, and rounds go on: all that was
// asked is accounted for, and the weights still get better.
func TestRoundsGoOnWhenSitesLeave(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s := weather(t, 5, secure)
		s.Adversaries, s.Attack = 0, ""
		r := run(t, s)
		require.Len(t, r.Rounds, 4)
		dropped, spare := 0, 0
		for _, n := range r.Rounds {
			require.Equal(t, n.Asked, n.Answered+n.Dropped+n.Spare)
			require.Equal(t, 36, n.Asked, "half of 60 and a fifth of that on top")
			require.Equal(t, secure, n.Secured)
			dropped, spare = dropped+n.Dropped, spare+n.Spare
		}
		require.Positive(t, dropped)
		require.Positive(t, spare)
		require.Greater(t, r.Best, 0.8)
		require.Less(t, r.Rounds[3].LossMicros, r.Rounds[0].LossMicros)
	}
}

func TestAQuorumThatIsMissedFailsTheRun(t *testing.T) {
	s := weather(t, 5, false)
	s.Dropout, s.Params.Quorum, s.Params.OverBP = 0.5, 30, 0
	r, err := simulate.Run(t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, "failed", r.Status)
	require.Contains(t, r.Cause, round.ErrQuorum.Error())
	require.Len(t, r.Rounds, 1)
}

// Central noise of multiplier z on disjoint groups costs a round what one
// Gaussian release costs, and T rounds what the accountant says of T. The
// sensitivity is widened by roundings, which the noise is too: z holds.
func TestEpsilonIsTheAccountants(t *testing.T) {
	s := digitsOf(t, 2)
	s.GroupSites, s.Sites = 5, 20
	s.Params.Rounds, s.Params.SampleBP = 4, 0
	s.Params.Secure = round.Secure{Mode: round.SecureOn}
	s.Params.Privacy = round.Privacy{Mechanism: round.PrivacyCentral, Unit: round.UnitSite, NoiseMultiplier: 4, ClipNorm: 1}
	r := run(t, s)
	for i, n := range r.Rounds {
		want, err := dp.Epsilon([]dp.Event{{Mechanism: dp.Gaussian, Count: i + 1, NoiseMultiplier: 4, SampleRate: 1}}, 1e-5)
		require.NoError(t, err)
		require.InEpsilon(t, want.Epsilon, n.Epsilon, 1e-3)
		require.GreaterOrEqual(t, n.Epsilon, want.Epsilon*(1-1e-9))
	}
}

// Every strategy, and every mechanism at both units, runs and learns something.
func TestEveryStrategyAndMechanismRuns(t *testing.T) {
	for _, name := range []string{round.FedAvg, round.FedProx, round.FedAvgM, round.FedAdagrad, round.FedAdam, round.FedYogi, round.Scaffold} {
		for _, mode := range []string{round.SecureOff, round.SecureOn} {
			s := digitsOf(t, 4)
			s.Params.Rounds, s.Params.Strategy, s.Params.Secure.Mode = 5, round.Strategy{Name: name}, mode
			require.Greater(t, run(t, s).Best, 0.6, "%s, %s", name, mode)
		}
	}
	for _, mechanism := range []string{round.PrivacyCentral, round.PrivacyDiscrete, round.PrivacySkellam} {
		for _, unit := range []string{round.UnitSite, round.UnitExample} {
			s := digitsOf(t, 4)
			s.Params.Rounds, s.Params.SampleBP, s.Params.Secure.Mode = 5, 0, round.SecureOn
			s.Params.Privacy = round.Privacy{Mechanism: mechanism, Unit: unit, NoiseMultiplier: 0.5, ClipNorm: 5}
			r := run(t, s)
			require.Positive(t, r.Rounds[4].Epsilon)
			require.Greater(t, r.Best, 0.4, "%s of a %s", mechanism, unit)
		}
	}
}
