package fuzz

import (
	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/tuning"
)

// study starts a study with a trial that is under way.
func (s *seeder) study() {
	accepted := s.must("startStudy", "/tuning/studies", map[string]any{
		"model_id": s.name("m"), "tenants": []string{s.tenant}, "environment": "dev", "metric": "loss", "trials": 3, "budget_rounds": 30,
		"params":  map[string]any{"rounds": 3, "features": []string{s.name("f")}, "model": map[string]any{"trainer": "logistic", "inputs": 2, "classes": 2}},
		"space":   []any{map[string]any{"name": "learningRate", "kind": "double", "low": 0.01, "high": 1, "log": true}},
		"halving": map[string]any{"first": 2, "factor": 2}, "enqueued": []any{[]any{map[string]any{"name": "learningRate", "value": "0.1"}}},
		"constraints": []any{map[string]any{"metric": "upload", "at_most": 100}}, "warm_start": map[string]any{"studies": []string{}, "runs": false},
	})
	id, _ := accepted["id"].(string)
	ref := contract.TrialRef{Subject: contract.Subject{Tenant: s.tenant, ModelID: s.name("m")}, Study: id, Number: 1, Repeat: 1}
	require.NoError(s, s.db.Studies().AddTrial(s.Context(), ref, tuning.Point{0.1}))
	require.NoError(s, s.db.Studies().SaveTrial(s.Context(), ref, 0, tuning.Job{
		Trial: tuning.Trial{Number: 1, Point: tuning.Point{0.1}, State: tuning.Infeasible}, Cause: canary(s.tenant, "trial"),
	}))
	s.knows(id)
}
