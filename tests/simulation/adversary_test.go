package simulation

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/simulate"
)

// lied are the settings of 20 sites of which 4 send the opposite of what they
// learnt.
func lied(t testing.TB, seed uint64, s round.Strategy, secure round.Secure, strength float64) simulate.Settings {
	set := digitsOf(t, seed)
	set.Params.SampleBP, set.Params.Rounds = 0, 40
	set.Params.Strategy, set.Params.Secure = s, secure
	if strength > 0 {
		set.Adversaries, set.Attack, set.Strength = 0.2, simulate.SignFlip, strength
	}
	return set
}

// accuracy is the mean of the last ten rounds of three seeds: the rate does not
// fall, so single rounds go up and down by a point.
func accuracy(t testing.TB, s round.Strategy, secure round.Secure, strength float64) float64 {
	sum := 0.0
	for seed := range uint64(3) {
		r := run(t, lied(t, seed+1, s, secure, strength))
		if strength > 0 {
			require.Equal(t, 4, r.Liars)
		}
		for _, n := range r.Rounds[len(r.Rounds)-10:] {
			sum += n.Accuracy() / 30
		}
	}
	return sum
}

// The bar is 2 points below what nobody's lies cost: the mean of 20 honest
// sites. The mean of all does not keep it, neither when liars send the exact
// opposite, which is the harder to tell from an honest site, nor when they
// send five times that, which turns the mean around. A bucket of three with
// one such loud liar is lost, and half of the buckets have one: that attack is
// for the rules that see sites, or for larger fleets than this. A flipped update
// in a bucket also shortens its mean, which a server rate of 1.5 makes up for.
func TestFlippedSignsCostLittle(t *testing.T) {
	off, on := round.Secure{Mode: round.SecureOff}, round.Secure{Mode: round.SecureOn}
	honest := accuracy(t, round.Strategy{}, off, 0)
	quiet, loud := accuracy(t, round.Strategy{}, off, 1), accuracy(t, round.Strategy{}, off, 5)
	t.Logf("mean: honest %.4f, with liars of strength 1 %.4f, of strength 5 %.4f", honest, quiet, loud)
	require.Greater(t, honest, 0.94)
	require.Less(t, quiet, honest-0.02, "the attack does nothing, so no rule is tested")
	require.Less(t, loud, honest-0.5, "the attack does nothing, so no rule is tested")

	for _, tt := range []struct {
		name     string
		strategy round.Strategy
		secure   round.Secure
		strength float64
	}{
		{"median", round.Strategy{Rule: round.RuleMedian}, off, 1},
		{"median, loud liars", round.Strategy{Rule: round.RuleMedian}, off, 5},
		{"trimmed mean", round.Strategy{Rule: round.RuleTrimmedMean, Trim: 0.2, Byzantine: 4}, off, 1},
		{"multi-krum", round.Strategy{Rule: round.RuleMultiKrum, Byzantine: 4}, off, 1},
		{"multi-krum, loud liars", round.Strategy{Rule: round.RuleMultiKrum, Byzantine: 4}, off, 5},
		{"geometric median", round.Strategy{Rule: round.RuleGeometricMedian}, off, 1},
		{"geometric median, loud liars", round.Strategy{Rule: round.RuleGeometricMedian}, off, 5},
		{"median over secure buckets", round.Strategy{Rule: round.RuleMedian, BucketSites: 3, ServerRate: 1.5}, on, 1},
		{"geometric median over secure buckets", round.Strategy{Rule: round.RuleGeometricMedian, BucketSites: 3, ServerRate: 1.5}, on, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := accuracy(t, tt.strategy, tt.secure, tt.strength)
			t.Logf("strength %g: %.4f, costs %.2f points", tt.strength, got, 100*(honest-got))
			require.GreaterOrEqual(t, got, honest-0.02)
		})
	}
}
