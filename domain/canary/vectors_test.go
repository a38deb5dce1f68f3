package canary_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/canary"
)

func vectors(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile("../../tests/vectors/canary/" + name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

func TestSequenceVectors(t *testing.T) {
	type side struct {
		N            int64
		Sum, Squares float64
	}
	var file struct {
		Cases []struct {
			Name                         string
			A, B                         side
			Alpha, Planned               float64
			Relative                     bool
			Effect, Deviation, Low, High float64
			P                            *float64
			OneSided                     float64
		}
	}
	vectors(t, "sequence.json", &file)
	require.Len(t, file.Cases, 2)
	for _, tt := range file.Cases {
		t.Run(tt.Name, func(t *testing.T) {
			a, err := canary.Means(tt.A.N, tt.A.Sum, tt.A.Squares)
			require.NoError(t, err)
			b, err := canary.Means(tt.B.N, tt.B.Sum, tt.B.Squares)
			require.NoError(t, err)
			compare := canary.Difference
			if tt.Relative {
				compare = canary.Ratio
			}
			e, err := compare(a, b)
			require.NoError(t, err)
			q := canary.Sequence{Alpha: tt.Alpha, Planned: tt.Planned}
			half := q.TwoSided(e)
			require.InDelta(t, tt.Effect, e.D, 1e-5)
			require.InDelta(t, tt.Deviation, math.Sqrt(e.V), 1e-5)
			require.InDelta(t, tt.Low, e.D-half, 1e-5)
			require.InDelta(t, tt.High, e.D+half, 1e-5)
			require.InDelta(t, tt.OneSided, q.OneSided(e), 1e-5)
			if tt.P != nil {
				require.InDelta(t, *tt.P, canary.PValue(q.EValue(e)), 1e-5)
			}
		})
	}
}

func TestShiftVectors(t *testing.T) {
	var file struct {
		Cases []struct {
			Name                  string
			Control, Experiment   []float64
			Conf, Shift, From, To float64
		}
	}
	vectors(t, "shift.json", &file)
	require.Len(t, file.Cases, 5)
	for _, tt := range file.Cases {
		t.Run(tt.Name, func(t *testing.T) {
			shift, from, to, err := canary.Shift(tt.Control, tt.Experiment, tt.Conf)
			require.NoError(t, err)
			require.InDeltaSlice(t, []float64{tt.Shift, tt.From, tt.To}, []float64{shift, from, to}, 1e-12)
		})
	}
}

// An interval refuses zero exactly where the e-value does: they are one test.
func TestIntervalAndEValueAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := canary.Effect{
			D: rapid.Float64Range(-3, 3).Draw(t, "d"),
			V: math.Exp(rapid.Float64Range(-12, 2).Draw(t, "log v")),
			N: rapid.Int64Range(2, 1_000_000).Draw(t, "n"),
		}
		q := canary.Sequence{Alpha: rapid.Float64Range(.001, .1).Draw(t, "alpha"), Planned: rapid.Float64Range(1, 100_000).Draw(t, "planned")}
		half, l := q.TwoSided(e), q.EValue(e)
		if math.Abs(math.Abs(e.D)/half-1) < 1e-9 {
			return // on the edge, rounding decides
		}
		if refuses := math.Abs(e.D) > half; refuses != (l > 1/q.Alpha) {
			t.Fatalf("interval %v ± %v, e-value %v at %v", e.D, half, l, q.Alpha)
		}
	})
}
