package api

import (
	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// paramsOf reads the parameters of a request; what is absent is zero.
func paramsOf(in v1.RunParams) round.Params {
	return round.Params{
		Model: round.ModelSpec{
			Trainer: string(in.Model.Trainer),
			Inputs:  in.Model.Inputs,
			Hidden:  in.Model.Hidden,
			Classes: in.Model.Classes,
		},
		Rounds:          in.Rounds,
		Quorum:          in.Quorum,
		QuorumRegions:   in.QuorumRegions,
		DeadlineSeconds: in.DeadlineSeconds,
		Extensions:      in.Extensions,
		LocalEpochs:     in.LocalEpochs,
		BatchSize:       in.BatchSize,
		LearningRate:    in.LearningRate,
		Seed:            uint64(in.Seed), // 0..2^53, by the document
		Features:        in.Features,
		Production:      in.Production,
	}
}

func paramsView(p round.Params) v1.RunParams {
	return v1.RunParams{
		Model: v1.ModelSpec{
			Trainer: v1.ModelSpecTrainer(p.Model.Trainer),
			Inputs:  p.Model.Inputs,
			Hidden:  p.Model.Hidden,
			Classes: p.Model.Classes,
		},
		Rounds:          p.Rounds,
		Quorum:          p.Quorum,
		QuorumRegions:   p.QuorumRegions,
		DeadlineSeconds: p.DeadlineSeconds,
		Extensions:      p.Extensions,
		LocalEpochs:     p.LocalEpochs,
		BatchSize:       p.BatchSize,
		LearningRate:    p.LearningRate,
		Seed:            int64(p.Seed),
		Features:        p.Features,
		Production:      p.Production,
	}
}

func metricsView(m round.Metrics) v1.Metrics {
	view := v1.Metrics{Examples: m.Examples, Evaluated: m.Evaluated, Correct: m.Correct, LossMicros: m.LossMicros}
	if bp, ok := m.AccuracyBP(); ok {
		view.AccuracyBp = &bp
	}
	return view
}

func runView(r Run) v1.Run {
	return v1.Run{
		ID:         r.ID,
		Tenant:     r.Tenant,
		ModelID:    r.ModelID,
		Tenants:    views(r.Tenants, func(t string) v1.Name { return t }),
		Params:     paramsView(r.Params),
		Status:     v1.RunStatus(r.Status),
		Cause:      r.Cause,
		Metrics:    metricsView(r.Metrics),
		Weights:    string(r.Weights),
		Version:    r.Version,
		Rounds:     views(r.Rounds, roundView),
		CreatedAt:  r.CreatedAt,
		EndedAt:    moment(r.EndedAt),
		WorkflowID: contract.RunID(r.ID),
		TraceID:    r.TraceID,
		Simulated:  r.Simulated,
	}
}

func roundView(r Round) v1.Round {
	return v1.Round{
		Number:    r.Number,
		Kind:      v1.RoundKind(r.Kind),
		Status:    v1.RoundStatus(r.Status),
		Cause:     r.Cause,
		Manifest:  string(r.Manifest),
		Weights:   string(r.Weights),
		Metrics:   metricsView(r.Metrics),
		Regions:   views(r.Regions, regionView),
		StartedAt: r.StartedAt,
		EndedAt:   moment(r.EndedAt),
	}
}

func regionView(r RoundRegion) v1.RoundRegion {
	return v1.RoundRegion{
		Region:   r.Region,
		Selected: r.Counts.Selected,
		Accepted: r.Counts.Accepted,
		Rejected: r.Counts.Rejected,
		Dropped:  r.Dropped,
		Cause:    r.Cause,
	}
}

func descriptorView(d artifact.Descriptor) v1.Descriptor {
	return v1.Descriptor{Digest: string(d.Digest), SizeBytes: d.SizeBytes, MediaType: d.MediaType}
}
