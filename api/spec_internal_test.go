package api

import (
	"encoding/json"
	"maps"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func BenchmarkReadSpec(b *testing.B) {
	for b.Loop() {
		_, err := readSpec()
		require.NoError(b, err)
	}
}

// Parameters are compared as if the document were one of OpenAPI 3.0: then they
// must not say more than that can.
func TestParametersSayWhatOpenAPI30Can(t *testing.T) {
	s, err := readSpec()
	require.NoError(t, err)
	known := []string{"type", "format", "enum", "default", "description", "pattern", "minLength", "maxLength", "minimum", "maximum"}
	for _, o := range s.operations {
		for _, p := range slices.Concat(o.item.Parameters, o.spec.Parameters) {
			text, err := json.Marshal(p.Value.Schema.Value)
			require.NoError(t, err)
			var schema map[string]any
			require.NoError(t, json.Unmarshal(text, &schema))
			require.Subset(t, known, slices.Sorted(maps.Keys(schema)), "%s %s", o.id, p.Value.Name)
			require.IsType(t, "", schema["type"], "%s %s: one type", o.id, p.Value.Name)
		}
	}
}

func TestNoPatternIsCompiledForARequest(t *testing.T) {
	s, err := readSpec()
	require.NoError(t, err)
	r := httptest.NewRequest("GET", "/models?limit=5&tenant=t1&cursor=abc", nil)
	allocs := testing.AllocsPerRun(20, func() {
		require.NoError(t, s.checkParameters(r, s.operations["listModels"], nil))
	})
	require.Less(t, allocs, 300.0) // 1,600 when the patterns are compiled
}

func BenchmarkCheckParameters(b *testing.B) {
	s, err := readSpec()
	require.NoError(b, err)
	r := httptest.NewRequest("GET", "/models?limit=5&tenant=t1&cursor=abc", nil)
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, s.checkParameters(r, s.operations["listModels"], nil))
	}
}
