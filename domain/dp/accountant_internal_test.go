package dp

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// vector reads a file of tests/vectors/dp.
func vector(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile("../../tests/vectors/dp/" + name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

func gaussian(z, q float64, n int) []Event {
	return []Event{{Mechanism: Gaussian, NoiseMultiplier: z, SampleRate: q, Count: n}}
}

func TestPublishedValues(t *testing.T) {
	var file struct {
		Cases []struct {
			Name                        string
			NoiseMultiplier, SampleRate float64
			Count                       int
			Delta                       float64
			Orders                      string
			RDP, Order, Tolerance       float64
			PLD, PLDTolerance           float64
		}
		Deltas []struct {
			Name                      string
			Events                    []Event
			Epsilon, Delta, Tolerance float64
		}
	}
	vector(t, "published.json", &file)
	require.Len(t, file.Cases, 4)
	require.Len(t, file.Deltas, 3)
	lists := map[string][]float64{}
	for i := 11; i < 110; i++ {
		lists["opacus"] = append(lists["opacus"], float64(i)/10)
	}
	for i := 12; i < 64; i++ {
		lists["opacus"] = append(lists["opacus"], float64(i))
	}
	for i := 1001; i <= 100_000; i++ {
		lists["fine"] = append(lists["fine"], float64(i)/1000)
	}
	for _, c := range file.Cases {
		events := gaussian(c.NoiseMultiplier, c.SampleRate, c.Count)
		rdp, err := RDP(events, lists[c.Orders])
		require.NoError(t, err)
		epsilon, order := EpsilonOfRDP(lists[c.Orders], rdp, c.Delta)
		require.InDelta(t, c.RDP, epsilon, c.Tolerance, c.Name)
		require.Equal(t, c.Order, order, c.Name)
		charge, err := Epsilon(events, c.Delta)
		require.NoError(t, err)
		require.Equal(t, ByBoth, charge.Method, c.Name)
		require.InDelta(t, c.RDP, charge.RDP, 1e-6, "at our own orders: %s", c.Name)
		require.Equal(t, max(charge.RDP, charge.PLD), charge.Epsilon, c.Name)
		if c.PLD > 0 {
			require.InDelta(t, c.PLD, charge.PLD, c.PLDTolerance, c.Name)
		}
	}
	for _, c := range file.Deltas {
		delta, ok := pldDelta(c.Events, c.Epsilon)
		require.True(t, ok, c.Name)
		require.InDelta(t, c.Delta, delta, c.Tolerance, c.Name)
		charged, err := Delta(c.Events, c.Epsilon)
		require.NoError(t, err)
		require.GreaterOrEqual(t, charged, delta, c.Name)
	}
}

func TestMomentsAreExactAtIntegerOrders(t *testing.T) {
	var file struct {
		Cases []struct {
			SampleRate, NoiseMultiplier, Order, RDP float64
			Exact                                   bool
		}
	}
	vector(t, "rdp.json", &file)
	require.Len(t, file.Cases, 6*14)
	for _, c := range file.Cases {
		got := sampledRDP(c.SampleRate, c.NoiseMultiplier, c.Order)
		if c.Exact {
			require.InEpsilon(t, c.RDP, got, 1e-11, "%+v", c)
			continue
		}
		require.InDelta(t, c.RDP, got, 1e-11+1e-10*c.RDP, "%+v", c)
		require.GreaterOrEqual(t, got, c.RDP*(1-1e-12)-1e-15, "below the truth: %+v", c)
	}
}

func TestLossDistributionIsBetweenItsBounds(t *testing.T) {
	var file struct {
		Cases []struct {
			SampleRate, NoiseMultiplier float64
			Count                       int
			Delta, Low, High            float64
		}
	}
	vector(t, "pld.json", &file)
	require.Len(t, file.Cases, 6)
	for _, c := range file.Cases {
		charge, err := Epsilon(gaussian(c.NoiseMultiplier, c.SampleRate, c.Count), c.Delta)
		require.NoError(t, err)
		require.Equal(t, ByBoth, charge.Method, "%+v", c)
		require.GreaterOrEqual(t, charge.PLD, c.Low, "%+v", c)
		require.LessOrEqual(t, charge.PLD, c.High+1e-3*c.High, "%+v", c)
		require.GreaterOrEqual(t, charge.RDP, charge.PLD, "%+v", c)
	}
}

// One sampled answer has δ(ε) in closed form: P - e^ε·Q beyond the point where
// the loss is ε. The grid meets it at its points, and is above it between them.
func TestOneAnswerDominatesItsClosedForm(t *testing.T) {
	above := func(x float64) float64 { return 0.5 * math.Erfc(x/math.Sqrt2) }
	for _, q := range []float64{0.001, 0.01, 0.3, 0.9, 1} {
		for _, sigma := range []float64{0.5, 1, 3, 20} {
			events := gaussian(sigma, q, 1)
			for _, s := range []side{remove, add} {
				c, ok := composeSide(events, s, 0x1p-11, 1e-6)
				require.True(t, ok, "q=%v σ=%v", q, sigma)
				for _, epsilon := range []float64{0, 1, 1.5, 20, 250, 250.1, 1843, 4551, 12_288} {
					point := epsilon == math.Floor(epsilon)
					epsilon *= 0x1p-11
					var want float64
					if s == remove {
						x := sampledPoint(q, sigma, epsilon)
						mix := (1-q)*above(x/sigma) + q*above((x-1)/sigma)
						want = mix - math.Exp(epsilon)*above(x/sigma)
					} else {
						x := sampledPoint(q, sigma, -epsilon)
						mix := (1-q)*above(-x/sigma) + q*above(-(x-1)/sigma)
						want = above(-x/sigma) - math.Exp(epsilon)*mix
					}
					got := c.delta(epsilon)
					require.GreaterOrEqual(t, got, want, "q=%v σ=%v side=%v ε=%v", q, sigma, s, epsilon)
					if !point {
						continue
					}
					require.LessOrEqual(t, got, want+1e-7*want+5e-8, "q=%v σ=%v side=%v ε=%v", q, sigma, s, epsilon)
				}
			}
		}
	}
}

// The truth for Gaussians without sampling is known: the charge and the grid,
// composed without use of that knowledge, are never under it.
func TestNoChargeIsBelowTheTruth(t *testing.T) {
	for _, z := range []float64{0.5, 0.7, 1, 2, 5, 20, 100} {
		for _, n := range []int{1, 2, 10, 100, 1000} {
			for _, delta := range []float64{1e-3, 1e-5, 1e-7} {
				mu := math.Sqrt(float64(n)) / z
				if mu > 20 {
					continue // the printed formula overflows
				}
				truth := bisect(func(e float64) bool { return balleWang(mu, e) <= delta })
				charge, err := Epsilon(gaussian(z, 1, n), delta)
				require.NoError(t, err)
				require.GreaterOrEqual(t, charge.Epsilon, truth*(1-1e-12), "z=%v n=%v δ=%v", z, n, delta)
				require.GreaterOrEqual(t, charge.RDP, truth*(1-1e-12), "z=%v n=%v δ=%v", z, n, delta)
				require.InDelta(t, truth, charge.PLD, 1e-8*(1+truth), "z=%v n=%v δ=%v", z, n, delta)
				c, ok := composeSide(gaussian(z, 1, n), remove, gridStep(gaussian(z, 1, n)), delta)
				if ok {
					require.GreaterOrEqual(t, c.epsilon(delta), truth, "z=%v n=%v δ=%v", z, n, delta)
					require.LessOrEqual(t, c.epsilon(delta), truth*1.005+1e-4, "z=%v n=%v δ=%v", z, n, delta)
				}
			}
		}
	}
}

// balleWang is theorem 8 of Balle and Wang as printed, for where its difference
// keeps enough digits.
func balleWang(mu, epsilon float64) float64 {
	phi := func(x float64) float64 { return 0.5 * math.Erfc(-x/math.Sqrt2) }
	return phi(mu/2-epsilon/mu) - math.Exp(epsilon)*phi(-mu/2-epsilon/mu)
}

func bisect(enough func(float64) bool) float64 {
	low, high := 0.0, 700.0
	if enough(0) {
		return 0
	}
	for range 200 {
		if m := (low + high) / 2; enough(m) {
			high = m
		} else {
			low = m
		}
	}
	return low
}

func TestTheExactGaussianInItsTails(t *testing.T) {
	require.InDelta(t, 0.1269367, GaussianDelta(1, 1), 5e-8) // notes of dp_accounting: analytic
	for _, mu := range []float64{0.01, 0.3, 1, 5} {
		last := 1.0
		for e := 0.0; e < 40*mu*mu+30*mu; e += mu / 3 {
			d := GaussianDelta(mu, e)
			require.LessOrEqual(t, d, last, "μ=%v ε=%v", mu, e)
			require.False(t, math.IsNaN(d))
			last = d
		}
		require.Zero(t, GaussianEpsilon(mu, 0.9999999))
		require.InDelta(t, 1e-200, GaussianDelta(mu, GaussianEpsilon(mu, 1e-200)), 1e-202)
	}
}

func TestMorePrivacyCostsLess(t *testing.T) {
	epsilon := func(z, q float64, n int, delta float64) float64 {
		c, err := Epsilon(gaussian(z, q, n), delta)
		require.NoError(t, err)
		return c.Epsilon
	}
	for _, q := range []float64{0.01, 1} {
		base := epsilon(2, q, 100, 1e-5)
		require.Greater(t, epsilon(1.9, q, 100, 1e-5), base, "less noise")
		require.Greater(t, epsilon(2, q, 110, 1e-5), base, "more answers")
		require.Greater(t, epsilon(2, q, 100, 1e-6), base, "smaller delta")
	}
	require.Greater(t, epsilon(2, 0.011, 100, 1e-5), epsilon(2, 0.01, 100, 1e-5), "more often sampled")
	none, err := Epsilon(nil, 1e-5)
	require.NoError(t, err)
	require.Zero(t, none.Epsilon)
	// the order and grouping of events is of no account
	a := Event{Mechanism: Gaussian, NoiseMultiplier: 2, SampleRate: 0.01, Count: 30}
	b := Event{Mechanism: Gaussian, NoiseMultiplier: 3, SampleRate: 1, Count: 4}
	one, err := Epsilon([]Event{a, b, a}, 1e-5)
	require.NoError(t, err)
	a.Count = 60
	two, err := Epsilon([]Event{b, a}, 1e-5)
	require.NoError(t, err)
	require.InDelta(t, one.Epsilon, two.Epsilon, 1e-12)
	require.InDelta(t, one.PLD, two.PLD, 1e-9)
}

func TestWhatIsNotAccountedFor(t *testing.T) {
	var file struct {
		Delta  float64
		Events []struct {
			Why string
			Event
		}
		Deltas []float64
	}
	vector(t, "refused.json", &file)
	require.Len(t, file.Events, 13)
	for _, e := range file.Events {
		_, err := Epsilon([]Event{e.Event}, file.Delta)
		require.ErrorIs(t, err, ErrParameter, "%+v", e)
		require.ErrorContains(t, err, e.Why)
	}
	for _, delta := range append(file.Deltas, math.NaN()) {
		_, err := Epsilon(gaussian(1, 1, 1), delta)
		require.ErrorIs(t, err, ErrParameter)
	}
	_, err := Epsilon(gaussian(math.NaN(), 1, 1), 1e-5)
	require.ErrorIs(t, err, ErrParameter)
	share, err := Distribute(Distributed{Mechanism: Skellam, ClipNorm: 1, Scale: 100, Dim: 10, Sites: 5, Survivors: 3, NoiseMultiplier: 1})
	require.NoError(t, err)
	_, err = Epsilon([]Event{share.Event, {Mechanism: Approximate, Epsilon: 1, Delta: 0.1, Count: 1}}, 0.2)
	require.ErrorIs(t, err, ErrNoAccountant)
	charge, err := Epsilon([]Event{share.Event}, 1e-5)
	require.NoError(t, err)
	require.Equal(t, ByRDP, charge.Method)
	charge, err = Epsilon([]Event{{Mechanism: Approximate, Epsilon: 1, Delta: 1e-6, Count: 2}}, 1e-5)
	require.NoError(t, err)
	require.Equal(t, ByPLD, charge.Method)
	require.InDelta(t, 2, charge.Epsilon, 1e-4)
	// pure answers have a Rényi divergence too, which is not under the truth
	pure := []Event{{Mechanism: Approximate, Epsilon: 0.1, Count: 100}}
	charge, err = Epsilon(pure, 1e-5)
	require.NoError(t, err)
	require.Equal(t, ByBoth, charge.Method)
	require.Greater(t, charge.RDP, charge.PLD)
	require.Less(t, charge.RDP, 10.0, "100 times 0.1, added up")
}

func TestTheNoiseIsTheLeastThatKeepsTheBudget(t *testing.T) {
	for _, b := range []Budget{{1, 1e-6, 1}, {8, 1e-5, 500}, {0.1, 1e-7, 10}} {
		for _, q := range []float64{1, 0.02} {
			z, err := NoiseFor(b, q)
			require.NoError(t, err)
			c, err := Epsilon(gaussian(z, q, b.Rounds), b.Delta)
			require.NoError(t, err)
			require.LessOrEqual(t, c.Epsilon, b.Epsilon, "%+v", b)
			c, err = Epsilon(gaussian(z*(1-1e-3), q, b.Rounds), b.Delta)
			require.NoError(t, err)
			require.Greater(t, c.Epsilon, b.Epsilon, "%+v", b)
		}
	}
	for _, b := range []Budget{{0, 1e-5, 1}, {1, 0, 1}, {1, 1e-5, 0}, {math.NaN(), 1e-5, 1}} {
		_, err := NoiseFor(b, 1)
		require.ErrorIs(t, err, ErrParameter)
	}
	_, err := NoiseFor(Budget{1, 1e-5, 1}, 2)
	require.ErrorIs(t, err, ErrParameter)
	_, err = NoiseFor(Budget{1e-9, 1e-12, 1 << 30}, 1)
	require.ErrorIs(t, err, ErrUnreachable)
	for _, m := range []Mechanism{DistributedGaussian, Skellam} {
		d := Distributed{Mechanism: m, ClipNorm: 1, Scale: 1 << 14, Dim: 10_000, Sites: 20, Survivors: 13, Beta: PaperBeta}
		share, err := DistributedNoiseFor(Budget{4, 1e-5, 100}, d)
		require.NoError(t, err)
		share.Event.Count = 100
		c, err := Epsilon([]Event{share.Event}, 1e-5)
		require.NoError(t, err)
		require.LessOrEqual(t, c.Epsilon, 4.0)
		require.Greater(t, c.Epsilon, 3.999)
	}
}
