package api

import (
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/round"
)

// measurementOf reads what a run's evaluation is to count.
func measurementOf(in v1.Measurement) round.Measurement {
	m := round.Measurement{GroupColumn: in.GroupColumn, Positive: in.Positive, ScoreBins: in.ScoreBins, Floor: in.Floor}
	for _, g := range in.Groups {
		m.Groups = append(m.Groups, round.MeasuredGroup{Name: g.Name, Value: g.Value})
	}
	for _, f := range in.Features {
		m.Features = append(m.Features, round.MeasuredFeature{Column: f.Column, Low: f.Low, High: f.High, Bins: f.Bins, Importance: f.Importance})
	}
	for _, c := range in.Critical {
		m.Critical = append(m.Critical, string(c))
	}
	return m
}

func measurementView(m round.Measurement) v1.Measurement {
	out := v1.Measurement{GroupColumn: m.GroupColumn, Positive: m.Positive, ScoreBins: m.ScoreBins, Floor: m.Floor}
	for _, g := range m.Groups {
		out.Groups = append(out.Groups, v1.MeasuredGroup{Name: g.Name, Value: g.Value})
	}
	for _, f := range m.Features {
		out.Features = append(out.Features, v1.MeasuredFeature{Column: f.Column, Low: f.Low, High: f.High, Bins: f.Bins, Importance: f.Importance})
	}
	for _, c := range m.Critical {
		out.Critical = append(out.Critical, v1.MeasurementCritical(c))
	}
	return out
}
