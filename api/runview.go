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
		Strategy: round.Strategy{
			Name:         string(in.Strategy.Name),
			Rule:         string(in.Strategy.Rule),
			ServerRate:   in.Strategy.ServerRate,
			Momentum:     in.Strategy.Momentum,
			Beta1:        in.Strategy.Beta1,
			Beta2:        in.Strategy.Beta2,
			Tau:          in.Strategy.Tau,
			ProximalMu:   in.Strategy.ProximalMu,
			Byzantine:    in.Strategy.Byzantine,
			Trim:         in.Strategy.Trim,
			Keep:         in.Strategy.Keep,
			MaxNorm:      in.Strategy.MaxNorm,
			BucketSites:  in.Strategy.BucketSites,
			Buffer:       in.Strategy.Buffer,
			MaxStaleness: in.Strategy.MaxStaleness,
		},
		Secure: round.Secure{
			Mode:         string(in.Secure.Mode),
			Ring:         int(in.Secure.Ring),
			Range:        in.Secure.Range,
			MaxExamples:  in.Secure.MaxExamples,
			StageSeconds: in.Secure.StageSeconds,
			CorruptBP:    in.Secure.CorruptBp,
			DroppedBP:    in.Secure.DroppedBp,
		},
		Privacy: round.Privacy{
			Mechanism:       string(in.Privacy.Mechanism),
			Unit:            string(in.Privacy.Unit),
			NoiseMultiplier: in.Privacy.NoiseMultiplier,
			ClipNorm:        in.Privacy.ClipNorm,
			Delta:           in.Privacy.Delta,
			MaxEpsilon:      in.Privacy.MaxEpsilon,
			Adaptive: round.Adaptive{
				Quantile: in.Privacy.Adaptive.Quantile, Rate: in.Privacy.Adaptive.Rate, CountNoise: in.Privacy.Adaptive.CountNoise,
			},
		},
		Compression: round.Compression{Codec: string(in.Compression.Codec), ShareBP: in.Compression.ShareBp, Bits: int(in.Compression.Bits)},
		Bounds:      boundsOf(in.Bounds),
		SampleBP:    in.SampleBp,
		OverBP:      in.OverBp,
		TargetBP:    in.TargetBp,
		Patience:    in.Patience,
		Measurement: measurementOf(in.Measurement),
		Purpose:     in.Purpose,
		Meets:       in.Meets,
	}
}

// boundsOf reads pairs; that they are pairs was checked with the document.
func boundsOf(in [][]float64) [][2]float64 {
	var out [][2]float64
	for _, b := range in {
		out = append(out, [2]float64(b))
	}
	return out
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
		Strategy: v1.Strategy{
			Name:         v1.StrategyName(p.Strategy.Name),
			Rule:         v1.StrategyRule(p.Strategy.Rule),
			ServerRate:   p.Strategy.ServerRate,
			Momentum:     p.Strategy.Momentum,
			Beta1:        p.Strategy.Beta1,
			Beta2:        p.Strategy.Beta2,
			Tau:          p.Strategy.Tau,
			ProximalMu:   p.Strategy.ProximalMu,
			Byzantine:    p.Strategy.Byzantine,
			Trim:         p.Strategy.Trim,
			Keep:         p.Strategy.Keep,
			MaxNorm:      p.Strategy.MaxNorm,
			BucketSites:  p.Strategy.BucketSites,
			Buffer:       p.Strategy.Buffer,
			MaxStaleness: p.Strategy.MaxStaleness,
		},
		Secure: v1.Secure{
			Mode:         v1.SecureMode(p.Secure.Mode),
			Ring:         v1.SecureRing(p.Secure.Ring),
			Range:        p.Secure.Range,
			MaxExamples:  p.Secure.MaxExamples,
			StageSeconds: p.Secure.StageSeconds,
			CorruptBp:    p.Secure.CorruptBP,
			DroppedBp:    p.Secure.DroppedBP,
		},
		Privacy: v1.Privacy{
			Mechanism:       v1.PrivacyMechanism(p.Privacy.Mechanism),
			Unit:            v1.PrivacyUnit(p.Privacy.Unit),
			NoiseMultiplier: p.Privacy.NoiseMultiplier,
			ClipNorm:        p.Privacy.ClipNorm,
			Delta:           p.Privacy.Delta,
			MaxEpsilon:      p.Privacy.MaxEpsilon,
			Adaptive: v1.AdaptiveClip{
				Quantile: p.Privacy.Adaptive.Quantile, Rate: p.Privacy.Adaptive.Rate, CountNoise: p.Privacy.Adaptive.CountNoise,
			},
		},
		Compression: v1.Compression{Codec: v1.CompressionCodec(p.Compression.Codec), ShareBp: p.Compression.ShareBP, Bits: v1.CompressionBits(p.Compression.Bits)},
		Bounds:      boundsView(p.Bounds),
		SampleBp:    p.SampleBP,
		OverBp:      p.OverBP,
		TargetBp:    p.TargetBP,
		Patience:    p.Patience,
		Measurement: measurementView(p.Measurement),
		Purpose:     p.Purpose,
		Meets:       p.Meets,
	}
}

func boundsView(bounds [][2]float64) [][]float64 {
	var out [][]float64
	for _, b := range bounds {
		out = append(out, b[:])
	}
	return out
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
		Paused:     r.Paused,
		Cause:      r.Cause,
		Metrics:    metricsView(r.Metrics),
		Weights:    string(r.Weights),
		Version:    r.Version,
		RoundsDone: r.Done,
		Study:      r.Study,
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
		Clip:      r.Clip,
		StartedAt: r.StartedAt,
		EndedAt:   moment(r.EndedAt),

		Provenance: string(r.Provenance),
		Statement:  string(r.Statement),
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
