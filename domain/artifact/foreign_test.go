package artifact_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// What cosign sign v2.6.5 and v3.1.3 write for an OCI artifact is read, and
// nothing beside it. The payloads are theirs but for the digest; make
// conformance lets both sign anew.
func TestStatementsOfStockCosign(t *testing.T) {
	const digest = "d276531ec298f38fcde0151ab52589602128f2e69ff7308bd743d27e268b46bc"
	statement := func(subject, tail string) string {
		return `{"_type":"https://in-toto.io/Statement/v1", "subject":[{"digest":{"sha256":"` + digest + `"}` + subject + `}], "predicateType":` + tail + `}`
	}
	const sign, pkg = `"https://sigstore.dev/cosign/sign/v1"`, `"https://github.com/atom-fabric/fabric/predicates/model-package/v1"`
	tests := []struct {
		name, text string
		good       bool
	}{
		{"v3: no annotations, an empty predicate", statement(`, "annotations":{}`, sign+`, "predicate":{}`), true},
		{"v2: no predicate", statement(`, "annotations":{}`, sign), true},
		{"a predicate that is null", statement(``, sign+`, "predicate":null`), true},
		{"annotations that nobody reads", statement(`, "annotations":{"role":"approver"}`, sign), false},
		{"annotations of another kind", statement(`, "annotations":["x"]`, sign), false},
		{"another type without predicate", statement(``, pkg), false},
		{"another type with null", statement(``, pkg+`, "predicate":null`), false},
		{"a predicate that is a text", statement(``, sign+`, "predicate":"x"`), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := artifact.ParseStatement([]byte(tt.text))
			if !tt.good {
				require.ErrorIs(t, err, artifact.ErrStatement)
				return
			}
			require.NoError(t, err)
			require.Equal(t, artifact.Digest("sha256:"+digest), s.Subject)
			require.JSONEq(t, "{}", string(s.Predicate))
		})
	}
}
