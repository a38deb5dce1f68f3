package round_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
)

func TestAMeasurementIsRefused(t *testing.T) {
	two := []round.MeasuredGroup{{Name: "f", Value: 1}, {Name: "m", Value: 2}}
	column := func(change func(*round.MeasuredFeature)) round.Measurement {
		f := round.MeasuredFeature{Column: "age", Low: 0, High: 100, Bins: 10}
		change(&f)
		return round.Measurement{Features: []round.MeasuredFeature{f}}
	}
	tests := []struct {
		name string
		m    round.Measurement
		at   string // nothing where it is taken
	}{
		{"nothing is asked for", round.Measurement{}, ""},
		{"groups, scores and a column", round.Measurement{GroupColumn: "sex", Groups: two, ScoreBins: 15, Features: column(func(*round.MeasuredFeature) {}).Features, Critical: []string{"fairness"}}, ""},
		{"one group", round.Measurement{GroupColumn: "sex", Groups: two[:1]}, "measurement.groups"},
		{"groups without a column", round.Measurement{Groups: two}, "measurement.groups"},
		{"a column without groups", round.Measurement{GroupColumn: "sex"}, "measurement.groups"},
		{"a group twice", round.Measurement{GroupColumn: "sex", Groups: []round.MeasuredGroup{two[0], {Name: "f", Value: 3}}}, "measurement.groups"},
		{"two groups of one value", round.Measurement{GroupColumn: "sex", Groups: []round.MeasuredGroup{two[0], {Name: "x", Value: 1}}}, "measurement.groups"},
		{"a group of what is not a number", round.Measurement{GroupColumn: "sex", Groups: []round.MeasuredGroup{two[0], {Name: "x", Value: math.NaN()}}}, "measurement.groups"},
		{"a class that is not", round.Measurement{ScoreBins: 2, Positive: 2}, "measurement.positive"},
		{"too many bins of scores", round.Measurement{ScoreBins: 257}, "measurement.scoreBins"},
		{"a floor below none", round.Measurement{ScoreBins: 2, Floor: -1}, "measurement.floor"},
		{"one bin", column(func(f *round.MeasuredFeature) { f.Bins = 1 }), "measurement.features"},
		{"ends the wrong way round", column(func(f *round.MeasuredFeature) { f.High = -1 }), "measurement.features"},
		{"an end that is not a number", column(func(f *round.MeasuredFeature) { f.Low = math.NaN() }), "measurement.features"},
		{"a negative importance", column(func(f *round.MeasuredFeature) { f.Importance = -1 }), "measurement.features"},
		{"a column twice", round.Measurement{Features: append(column(func(*round.MeasuredFeature) {}).Features, column(func(*round.MeasuredFeature) {}).Features...)}, "measurement.features"},
		{"a dimension that is not", round.Measurement{ScoreBins: 2, Critical: []string{"beauty"}}, "measurement.critical"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := round.Params{Model: round.ModelSpec{Inputs: 2}, Features: []string{"scans"}, Measurement: tt.m}
			_, err := p.Validate()
			if tt.at == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, round.ErrOutOfRange)
			var at *round.ParamError
			require.ErrorAs(t, err, &at)
			require.Equal(t, tt.at, at.Param)
		})
	}
	many := round.Measurement{ScoreBins: 3, GroupColumn: "sex", Groups: two, Features: column(func(*round.MeasuredFeature) {}).Features}
	require.Equal(t, 2*4+3*4+11, many.Len())
}
