package promotion_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/promotion"
)

func TestAssessExamples(t *testing.T) {
	var vectors struct {
		Cases []struct {
			Name                                                string
			Environ, Reach, Reversal, Class, Private, Uncertain float64
			Loosens                                             bool
			Score, Floor, Risk                                  int
		}
	}
	text, err := os.ReadFile("../../tests/vectors/risk/examples.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &vectors))
	require.Len(t, vectors.Cases, 11)
	for _, tt := range vectors.Cases {
		t.Run(tt.Name, func(t *testing.T) {
			got := promotion.Assess(promotion.Factors{
				Reach: tt.Reach, Reversal: tt.Reversal, Class: tt.Class, Private: tt.Private,
				Uncertain: tt.Uncertain, Environ: tt.Environ, Loosens: tt.Loosens,
			})
			require.Equal(t, tt.Risk, got.Score)
			require.Equal(t, tt.Floor, got.Floor)
			require.Equal(t, max(tt.Score, tt.Floor), got.Score)
		})
	}
}

// Nothing compensates: whatever factor rises, the score does not fall.
func TestAssessIsMonotone(t *testing.T) {
	unit := rapid.Float64Range(0, 1)
	rapid.Check(t, func(t *rapid.T) {
		f := promotion.Factors{
			Reach:     unit.Draw(t, "reach"),
			Reversal:  rapid.SampledFrom([]float64{0, .1, .3, .7, 1}).Draw(t, "reversal"),
			Class:     rapid.SampledFrom([]float64{.1, .3, .6, .8, 1}).Draw(t, "class"),
			Private:   unit.Draw(t, "private"),
			Uncertain: unit.Draw(t, "uncertain"),
			Environ:   rapid.SampledFrom([]float64{.05, .25, 1}).Draw(t, "environ"),
			Loosens:   rapid.Bool().Draw(t, "loosens"),
		}
		g := f
		rise := func(x float64, name string) float64 { return x + (1-x)*unit.Draw(t, name) }
		switch rapid.IntRange(0, 6).Draw(t, "which") {
		case 0:
			g.Reach = rise(f.Reach, "more")
		case 1:
			g.Reversal = rise(f.Reversal, "more")
		case 2:
			g.Class = rise(f.Class, "more")
		case 3:
			g.Private = rise(f.Private, "more")
		case 4:
			g.Uncertain = rise(f.Uncertain, "more")
		case 5:
			g.Environ = rise(f.Environ, "more")
		case 6:
			g.Loosens = true
		}
		low, high := promotion.Assess(f).Score, promotion.Assess(g).Score
		if high < low {
			t.Fatalf("%+v scores %d, %+v scores %d", f, low, g, high)
		}
		if low < 0 || high > 100 {
			t.Fatalf("out of range: %d, %d", low, high)
		}
	})
}

func TestAssessTakesWhatIsNotANumberForTheWorst(t *testing.T) {
	got := promotion.Assess(promotion.Factors{Reach: math.NaN(), Class: .3, Environ: 1, Loosens: true})
	require.Equal(t, 1000, got.Reach)
	require.Equal(t, 60, got.Score)
	require.Equal(t, 1000, promotion.Assess(promotion.Factors{Reach: math.Inf(1), Environ: 1}).Reach)
	require.Equal(t, 0, promotion.Assess(promotion.Factors{Reach: -1, Environ: 1}).Reach)
}

// Where each floor begins, as docs/policies states it.
func TestFloors(t *testing.T) {
	tests := []struct {
		name    string
		factors promotion.Factors
		floor   int
	}{
		{"half the traffic of production", promotion.Factors{Environ: 1, Reach: .5}, 60},
		{"less than half", promotion.Factors{Environ: 1, Reach: .499}, 0},
		{"half the traffic of staging", promotion.Factors{Environ: .25, Reach: .5}, 0},
		{"a loosened privacy rule", promotion.Factors{Environ: 1, Class: .8, Loosens: true}, 75},
		{"a tightened one", promotion.Factors{Environ: 1, Class: .8}, 0},
		{"a loosened access rule", promotion.Factors{Environ: 1, Class: .6, Loosens: true}, 0},
		{"a quarter of the remaining budget", promotion.Factors{Environ: 1, Private: .25}, 75},
		{"less than a quarter", promotion.Factors{Environ: 1, Private: .249}, 0},
		{"what cannot be taken back", promotion.Factors{Environ: 1, Reversal: 1}, 50},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := promotion.Assess(tt.factors)
			require.Equal(t, tt.floor, got.Floor)
			require.GreaterOrEqual(t, got.Score, tt.floor)
		})
	}
}
