package dp

import (
	"errors"
	"math"
)

// Methods by which a charge was found.
const (
	ByBoth = "rdp+pld" // both; Epsilon is the larger
	ByRDP  = "rdp"     // Rényi divergence only
	ByPLD  = "pld"     // distribution of the privacy loss only
)

// A Charge is what events cost: the answers about neighbours are (Epsilon,
// Delta) close. RDP and PLD are the bounds of the two accountants, 0 where
// Method says that it had none. Order is the Rényi order that gave RDP.
type Charge struct {
	Epsilon float64 `json:"epsilon"`
	Delta   float64 `json:"delta"`
	RDP     float64 `json:"rdp,omitempty"`
	Order   float64 `json:"order,omitempty"`
	PLD     float64 `json:"pld,omitempty"`
	Method  string  `json:"method"`
}

// Epsilon returns what the events cost together at delta in (0, 1). No events
// cost nothing. Both accountants are asked; each gives a bound that is never
// below the truth, and the larger is charged, so that an error in one of them
// that promises too much is not believed.
//
// The loss distribution has no answer for distributed noise, for losses above
// 300 in one round, and where float64 cannot tell so small a delta; Rényi
// divergence has none for approximate events with δ above zero.
// Errors: [*ParameterError]; [ErrNoAccountant] where neither has an answer.
func Epsilon(events []Event, delta float64) (Charge, error) {
	if err := refuse("delta", delta, delta > 0 && delta < 1); err != nil {
		return Charge{}, err
	}
	charge := Charge{Delta: delta, Method: ByBoth}
	if len(events) == 0 {
		return charge, nil
	}
	orders := Orders()
	rdp, err := RDP(events, orders)
	if err != nil {
		return Charge{}, err
	}
	charge.RDP, charge.Order = EpsilonOfRDP(orders, rdp, delta)
	charge.PLD = pldEpsilon(events, delta)
	hasRDP, hasPLD := !math.IsInf(charge.RDP, 1), !math.IsInf(charge.PLD, 1)
	switch {
	case hasRDP && hasPLD:
	case hasRDP:
		charge.PLD, charge.Method = 0, ByRDP
	case hasPLD:
		charge.RDP, charge.Order, charge.Method = 0, 0, ByPLD
	default:
		return Charge{}, ErrNoAccountant
	}
	charge.Epsilon = max(charge.RDP, charge.PLD)
	return charge, nil
}

// pldEpsilon returns +Inf where the distribution has no answer.
func pldEpsilon(events []Event, delta float64) float64 {
	merged := merge(events)
	if len(merged) == 1 && merged[0].Mechanism == Gaussian && merged[0].SampleRate == 1 {
		return GaussianEpsilon(1/merged[0].NoiseMultiplier, delta)
	}
	sides, ok := compose(merged, delta)
	if !ok {
		return math.Inf(1)
	}
	return max(sides[0].epsilon(delta), sides[1].epsilon(delta))
}

// Delta returns the δ of the events at epsilon ≥ 0: the larger of the bounds of
// both accountants, as [Epsilon].
// Errors: as [Epsilon].
func Delta(events []Event, epsilon float64) (float64, error) {
	if err := refuse("epsilon", epsilon, epsilon >= 0 && epsilon <= 500); err != nil {
		return 0, err
	}
	if len(events) == 0 {
		return 0, nil
	}
	orders := Orders()
	rdp, err := RDP(events, orders)
	if err != nil {
		return 0, err
	}
	byRDP := deltaOfRDP(orders, rdp, epsilon)
	byPLD, ok := pldDelta(events, epsilon)
	switch hasRDP := !math.IsInf(rdp[0], 1); {
	case ok && hasRDP:
		return max(byRDP, byPLD), nil
	case ok:
		return byPLD, nil
	case hasRDP:
		return byRDP, nil
	}
	return 0, ErrNoAccountant
}

func pldDelta(events []Event, epsilon float64) (float64, bool) {
	merged := merge(events)
	if len(merged) == 1 && merged[0].Mechanism == Gaussian && merged[0].SampleRate == 1 {
		return GaussianDelta(1/merged[0].NoiseMultiplier, epsilon), true
	}
	sides, ok := compose(merged, 1e-8)
	if !ok {
		return 0, false
	}
	return max(sides[0].delta(epsilon), sides[1].delta(epsilon)), true
}

// A Budget is what may be spent in all, on how many equal rounds.
type Budget struct {
	Epsilon float64 `json:"epsilon"`
	Delta   float64 `json:"delta"`
	Rounds  int     `json:"rounds"`
}

func (b Budget) validate() error {
	return errors.Join(
		refuse("epsilon", b.Epsilon, b.Epsilon > 0 && b.Epsilon <= largestLoss),
		refuse("delta", b.Delta, b.Delta > 0 && b.Delta < 1),
		refuse("rounds", float64(b.Rounds), b.Rounds >= 1 && b.Rounds <= 1<<30))
}

// NoiseFor returns the smallest noise multiplier of the Gaussian mechanism at
// that sample rate whose [Epsilon] over all rounds is within the budget, to a
// relative 1e-6 and never below.
// Errors: [*ParameterError]; [ErrUnreachable].
func NoiseFor(b Budget, sampleRate float64) (float64, error) {
	return b.smallest(func(z float64) (Event, error) {
		return Event{Mechanism: Gaussian, Count: b.Rounds, NoiseMultiplier: z, SampleRate: sampleRate}, nil
	})
}

// DistributedNoiseFor is [NoiseFor] for noise that the sites add; the noise
// multiplier of d is not read.
// Errors: as [NoiseFor] and [Distribute].
func DistributedNoiseFor(b Budget, d Distributed) (Share, error) {
	z, err := b.smallest(func(z float64) (Event, error) {
		d.NoiseMultiplier = z
		share, err := Distribute(d)
		share.Event.Count = b.Rounds
		return share.Event, err
	})
	if err != nil {
		return Share{}, err
	}
	d.NoiseMultiplier = z
	return Distribute(d)
}

// smallest bisects over the multiplier: RDP, which is cheap, finds the place,
// and the full charge confirms it. A multiplier that the mechanism refuses is
// taken as too small.
func (b Budget) smallest(event func(z float64) (Event, error)) (float64, error) {
	if err := b.validate(); err != nil {
		return 0, err
	}
	orders := Orders()
	within := func(z float64) (bool, error) {
		e, err := event(z)
		if err != nil {
			return false, err
		}
		rdp, err := RDP([]Event{e}, orders)
		if err != nil {
			return false, err
		}
		epsilon, _ := EpsilonOfRDP(orders, rdp, b.Delta)
		return epsilon <= b.Epsilon, nil
	}
	low, high := 0x1p-9, 0x1p24
	if ok, err := within(high); err != nil {
		return 0, err
	} else if !ok {
		return 0, ErrUnreachable
	}
	for high > low*(1+1e-7) {
		middle := math.Sqrt(low * high)
		if ok, err := within(middle); err == nil && ok {
			high = middle
		} else {
			low = middle
		}
	}
	for range 200 {
		e, err := event(high)
		if err != nil {
			return 0, err
		}
		charge, err := Epsilon([]Event{e}, b.Delta)
		if err != nil {
			return 0, err
		}
		if charge.Epsilon <= b.Epsilon {
			return high, nil
		}
		high *= 1 + 1e-6 // the distribution charged more, by what its grid costs
	}
	return 0, ErrUnreachable
}
