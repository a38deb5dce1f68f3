package activities_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/measure"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/scorecard"
)

// A gate keeps the cards of versions, and says of the newest what the table
// would say.
type gate struct {
	params round.Params
	cards  []activities.VersionCard
}

func (g *gate) CardFacts(_ context.Context, subject scorecard.Subject, run string) (scorecard.Facts, error) {
	return scorecard.Facts{Subject: subject, Trials: []scorecard.Trial{{Run: run, Params: g.params, Status: "completed"}}, Operation: scorecard.Operation{DrillAge: -1}}, nil
}

func (g *gate) KeepCard(_ context.Context, _, _ string, _ int, card activities.VersionCard) error {
	if len(g.cards) == 0 || g.cards[len(g.cards)-1].Card != card.Card {
		g.cards = append(g.cards, card)
	}
	return nil
}

func (g *gate) Unproven(context.Context, string, string, int) (string, error) {
	if len(g.cards) == 0 {
		return "", nil
	}
	return g.cards[len(g.cards)-1].Unproven, nil
}

// Done when 5 of issue 5: from the counts that sites sent to the plan that is
// refused. Of two models that are right as often, one misses the old twice as
// often; in a third there are five old people. Nobody is asked to approve either.
func TestAnUnfairModelIsNotPromoted(t *testing.T) {
	// tp, fp, tn, fn of the young and of the old; 7 zeros are the measurement's
	// other counts. 9,200 of 10,000 are right in both of the first two.
	cells := func(n ...int64) []int64 {
		return append(n, make([]int64, 11)...)
	}
	tests := []struct {
		name     string
		counts   []int64
		declared bool
		unproven string
	}{
		{"a fair one", cells(2300, 200, 2300, 200, 2300, 200, 2300, 200), true, ""},
		{"an unfair one that is right as often", cells(2450, 50, 2450, 50, 1800, 0, 2500, 700), true, "fairness is FAIL: equalOpportunity (young against old)"},
		{"one that saw five old people", cells(4600, 400, 4595, 400, 3, 0, 2, 0), true, "fairness is INSUFFICIENT"},
		{"one that saw no old people", cells(4600, 400, 4600, 400, 0, 0, 0, 0), true, "fairness is INSUFFICIENT"},
		{"one whose run asked for nothing", nil, false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := world(t)
			bootstrap(t, w)
			staff(t, w)
			g := &gate{params: params()}
			in := candidate(t, w)
			in.Metrics = round.Metrics{Evaluated: 10_000, Correct: 9_200}
			if tt.declared {
				measuring(&g.params)
				in.Metrics.Measured = tensors(t, w, measure.ToTensors(tt.counts)).Digest
			}
			v := versions(w)
			v.Scored = g
			for range 2 { // done, and not reported
				_, err := act(t, contract.RegisterVersion, v.RegisterVersion, in)
				require.NoError(t, err)
			}
			require.Len(t, g.cards, 1)
			require.Contains(t, g.cards[0].Unproven, tt.unproven)
			require.Contains(t, string(w.Content[g.cards[0].Card]), `"dimensions":[`)

			plan := promotionPlan(t, w)
			p := promotions(w)
			p.Cards = g
			checked := planned(t, w, plan)
			checked.Tenant, checked.ModelID, checked.Kind, checked.Action = "clinic", "tumour", "promotion", "promotion-1"
			_, err := act(t, contract.CheckPlan, p.CheckPlan, checked)
			if tt.unproven == "" {
				require.Empty(t, g.cards[0].Unproven)
				require.NoError(t, err)
				return
			}
			require.Equal(t, contract.BadPlan, kind(err))
			require.ErrorContains(t, err, tt.unproven)
			require.Empty(t, w.Ballots, "nobody is asked")
		})
	}
}
