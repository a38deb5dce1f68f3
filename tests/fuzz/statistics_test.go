package fuzz

import (
	"bytes"
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// statistics asks for those of a feature of its own, whose budget refuses no
// run of another, and has a site see the question.
func (s *seeder) statistics() {
	feature, column := s.name("h"), canary(s.tenant, "column")
	s.must("registerFeature", "/features/register", map[string]any{"tenant": s.tenant, "feature_id": feature, "consented": true,
		"schema": map[string]any{"properties": map[string]any{column: map[string]any{"type": "number", "minimum": 0, "maximum": 120}}}})
	path := fmt.Sprintf("/features/%s/%s/statistics", s.tenant, feature)
	s.must("publishFeatureStatistics", path, map[string]any{"epsilon": 1, "bins": 8, "seconds": 3600, "columns": []any{map[string]any{"name": column, "low": 1}}})
	in := contract.StatisticsInput{Subject: contract.Subject{Tenant: s.tenant}, Feature: feature, Version: 1, Attempt: 1}
	asking, err := s.db.Statistics().Asking(s.Context(), in)
	require.NoError(s, err)
	asking.Question.Sites, asking.Question.Epoch = []string{s.name("s")}, 1
	text, _, err := asking.Question.Encode()
	require.NoError(s, err)
	asking.Document, asking.Bundle = s.put(text), s.put([]byte("{}"))
	asking.Question.Grants = s.put([]byte(`["` + canary(s.tenant, "pack") + `"]`)).Digest
	_, err = s.db.Statistics().Open(s.Context(), in, asking)
	require.NoError(s, err)
	s.keep("answerQuestion", "application/json", []byte(`{"question":"`+string(asking.Document.Digest)+`","bundle":"{}"}`))
	s.knows(feature, string(asking.Document.Digest))
}

func (s *seeder) put(text []byte) artifact.Descriptor {
	d, err := s.blobs.Put(s.Context(), "application/json", bytes.NewReader(text))
	require.NoError(s, err)
	return d
}
