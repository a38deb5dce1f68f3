package privacy_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/privacy"
)

func gaussian(z float64, count int) dp.Event {
	return dp.Event{Mechanism: dp.Gaussian, Count: count, NoiseMultiplier: z, SampleRate: 1}
}

func skellam(z float64) dp.Event {
	return dp.Event{Mechanism: dp.Skellam, Count: 1, NoiseMultiplier: z, SampleRate: 1, Dim: 100, Sites: 5, LocalStddev: 500, Sensitivity: 1000}
}

func budget(feature string, limit float64) privacy.Ledger {
	return privacy.Ledger{Budget: privacy.Budget{Tenant: "clinic", Feature: feature, EpsilonLimit: limit, Delta: 1e-5}}
}

func epsilon(t require.TestingT, delta float64, events ...dp.Event) float64 {
	charge, err := dp.Epsilon(events, delta)
	require.NoError(t, err)
	return charge.Epsilon
}

func of(events []dp.Event, features ...string) privacy.Request {
	r := privacy.Request{Events: events}
	for _, f := range features {
		r.Features = append(r.Features, privacy.Feature{Tenant: "clinic", Feature: f})
	}
	return r
}

// Any rounds over any sets of features, ended in any way: a ledger's balance is
// the accountant's ε of the events that were charged to its feature and not
// given back, computed here by itself, and never above the limit; a round is
// refused only if it would be.
func TestTheLedgerIsTheAccountant(t *testing.T) {
	names := []string{"a", "b", "c"}
	rapid.Check(t, func(rt *rapid.T) {
		ledgers := make([]privacy.Ledger, len(names))
		limits := map[string]float64{}
		for i, f := range names {
			limits[f] = rapid.Float64Range(0.5, 8).Draw(rt, "limit")
			ledgers[i] = budget(f, limits[f])
		}
		type charged struct {
			state  privacy.State
			events []dp.Event
		}
		want := map[string][]charged{}
		counted := func(f string, only privacy.State) (events []dp.Event) {
			for _, c := range want[f] {
				if c.state == only || only == "" && c.state != privacy.Refunded {
					events = append(events, c.events...)
				}
			}
			return events
		}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "begin") {
				event := gaussian(rapid.Float64Range(0.7, 8).Draw(rt, "z"), rapid.IntRange(1, 4).Draw(rt, "count"))
				if rapid.Bool().Draw(rt, "skellam") {
					event = skellam(event.NoiseMultiplier)
				}
				reads := rapid.SliceOfN(rapid.SampledFrom(names), 1, 4).Draw(rt, "reads")
				fits := true
				for _, f := range reads {
					fits = fits && epsilon(rt, 1e-5, append(counted(f, ""), event)...) <= limits[f]
				}
				after, err := privacy.Reserve(ledgers, of([]dp.Event{event}, reads...))
				if !fits {
					require.ErrorIs(rt, err, privacy.ErrExhausted)
					continue
				}
				require.NoError(rt, err)
				ledgers = after
				once := map[string]bool{}
				for _, f := range reads {
					if !once[f] {
						want[f] = append(want[f], charged{privacy.Reserved, []dp.Event{event}})
					}
					once[f] = true
				}
			} else if l := &ledgers[rapid.IntRange(0, 2).Draw(rt, "ledger")]; len(l.Entries) > 0 {
				i, learnt := rapid.IntRange(0, len(l.Entries)-1).Draw(rt, "entry"), rapid.Bool().Draw(rt, "learnt")
				was := want[l.Feature][i].state
				l.Entries[i].State = l.Entries[i].State.Settled(learnt)
				switch {
				case was != privacy.Reserved:
				case learnt:
					want[l.Feature][i].state = privacy.Committed
				default:
					want[l.Feature][i].state = privacy.Refunded
				}
			}
			for _, l := range ledgers {
				b := l.Balance()
				total := epsilon(rt, 1e-5, counted(l.Feature, "")...)
				require.InDelta(rt, total, b.Spent+b.Reserved, 1e-9*max(1, total))
				require.InDelta(rt, epsilon(rt, 1e-5, counted(l.Feature, privacy.Committed)...), b.Spent, 1e-9)
				require.LessOrEqual(rt, total, l.EpsilonLimit)
				require.InDelta(rt, l.EpsilonLimit-total, b.Left, 1e-12)
			}
		}
	})
}

// Rounds that were counted together are those rounds.
func TestEqualRoundsAreCounted(t *testing.T) {
	apart, together := budget("a", 50), budget("a", 50)
	for range 7 {
		apart.Entries = append(apart.Entries, privacy.Entry{State: privacy.Committed, Rounds: 1, Events: []dp.Event{skellam(3)}})
	}
	together.Entries = []privacy.Entry{{State: privacy.Committed, Rounds: 7, Events: []dp.Event{skellam(3)}}}
	require.Equal(t, apart.Balance(), together.Balance())
	require.Equal(t, 7, together.Balance().Entries)
	_, err := privacy.Reserve([]privacy.Ledger{budget("a", 4)}, of([]dp.Event{gaussian(5, 1)}, "a").Times(20))
	require.ErrorIs(t, err, privacy.ErrExhausted, "20 rounds with z = 5 cost %v", epsilon(t, 1e-5, gaussian(5, 20)))
	_, err = privacy.Reserve([]privacy.Ledger{budget("a", 5)}, of([]dp.Event{gaussian(5, 1)}, "a").Times(math.MaxInt))
	require.ErrorIs(t, err, privacy.ErrExhausted)
}

func TestReserveRefuses(t *testing.T) {
	one := []dp.Event{gaussian(1, 1)} // ε = 4.377 at δ = 1e-5 (Balle and Wang 2018, algorithm 1), RDP more
	small, large := budget("small", 1), budget("large", 100)
	tests := []struct {
		name string
		r    privacy.Request
		want error
	}{
		{"takes what fits", of(one, "large"), nil},
		{"refuses what does not", of(one, "small"), privacy.ErrExhausted},
		{"refuses a set if one of it does not fit", of(one, "large", "small"), privacy.ErrExhausted},
		{"refuses a round without noise on a budgeted feature", privacy.Request{Exact: true, Features: of(nil, "large").Features}, privacy.ErrExact},
		{"lets a round without noise read what has no budget", privacy.Request{Exact: true, Features: of(nil, "other").Features}, nil},
		{"counts nothing that costs nothing", of(nil, "small", "other"), nil},
		{"never reads in private what nobody counts", of(one, "large", "other"), privacy.ErrLedgers},
		{"refuses what no accountant bounds", of([]dp.Event{{Mechanism: dp.Gaussian, Count: 1, NoiseMultiplier: 1e-9, SampleRate: 1}}, "large"), privacy.ErrExhausted},
		{"tells one tenant's feature from another's", privacy.Request{Events: one, Features: []privacy.Feature{{Tenant: "other", Feature: "large"}}}, privacy.ErrLedgers},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := fmt.Sprint(small, large)
			after, err := privacy.Reserve([]privacy.Ledger{small, large}, tt.r)
			require.ErrorIs(t, err, tt.want)
			require.Equal(t, before, fmt.Sprint(small, large), "the ledgers that were given")
			if err != nil {
				require.Nil(t, after)
			}
		})
	}
}

// The refusal names whose feature it is, what is left and what was asked for.
func TestRefusalNamesWhatIsLeft(t *testing.T) {
	l := budget("ward", 6)
	l.Entries = []privacy.Entry{{State: privacy.Committed, Rounds: 1, Events: []dp.Event{gaussian(1, 1)}}}
	_, err := privacy.Reserve([]privacy.Ledger{l}, of([]dp.Event{gaussian(1, 1)}, "ward"))
	var refused *privacy.RefusalError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "clinic", refused.Tenant)
	require.Equal(t, "ward", refused.Feature)
	require.Equal(t, 6-epsilon(t, 1e-5, gaussian(1, 1)), refused.Left)
	require.Equal(t, epsilon(t, 1e-5, gaussian(1, 1)), refused.Asked)
	require.Equal(t, epsilon(t, 1e-5, gaussian(1, 2)), refused.Total)
	for _, word := range []string{"clinic", "ward", privacy.Amount(refused.Left), privacy.Amount(refused.Asked), "1e-05"} {
		require.ErrorContains(t, err, word)
	}
}

func TestBudgetRefuses(t *testing.T) {
	require.NoError(t, privacy.Budget{EpsilonLimit: 10, Delta: 1e-5}.Validate())
	for _, b := range []privacy.Budget{
		{EpsilonLimit: 0, Delta: 1e-5}, {EpsilonLimit: -1, Delta: 1e-5}, {EpsilonLimit: 301, Delta: 1e-5}, {EpsilonLimit: math.NaN(), Delta: 1e-5},
		{EpsilonLimit: math.Inf(1), Delta: 1e-5}, {EpsilonLimit: 1}, {EpsilonLimit: 1, Delta: 0.02}, {EpsilonLimit: 1, Delta: math.NaN()},
	} {
		require.ErrorIs(t, b.Validate(), privacy.ErrLimit, "%+v", b)
	}
}
