// Package predicates compares the published schemas of what the fabric signs
// with the types that it signs.
//
// Invariant: a schema in docs/protocol/predicates has exactly the keys that
// our strict decoder knows, so that a program written after the schema is
// understood, and what we write is valid by it.
package predicates

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
	"github.com/atom-fabric/fabric/domain/evidence"
	"github.com/atom-fabric/fabric/domain/feedback"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/provenance"
	"github.com/atom-fabric/fabric/domain/recovery"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/summary"
	"github.com/atom-fabric/fabric/domain/trust"
)

const folder = "../../docs/protocol/predicates"

// A schema is what is read of a JSON Schema.
type schema struct {
	ID                   string            `json:"$id"`
	Properties           map[string]schema `json:"properties"`
	Required             []string          `json:"required"`
	AdditionalProperties *bool             `json:"additionalProperties"`
	Items                *schema           `json:"items"`
}

// predicates is every predicate type with the type of its predicate.
var predicates = map[string]reflect.Type{
	artifact.PredicateRoundManifest: reflect.TypeFor[struct{}](),
	artifact.PredicateModelPackage:  reflect.TypeFor[provenance.Package](),
	artifact.PredicatePromotion:     reflect.TypeFor[promotion.Plan](),
	artifact.PredicatePolicy:        reflect.TypeFor[promotion.Plan](),
	artifact.PredicateProposal:      reflect.TypeFor[feedback.Proposal](),
	artifact.PredicateSnapshot: reflect.TypeFor[struct {
		Version int64 `json:"version"`
	}](),
	artifact.PredicateApproval:      reflect.TypeFor[approval.Predicate](),
	artifact.PredicateDelegation:    reflect.TypeFor[approval.Delegation](),
	artifact.PredicateEnrolment:     reflect.TypeFor[approval.Enrolment](),
	artifact.PredicateAlias:         reflect.TypeFor[modelpack.Move](),
	artifact.PredicateReplication:   reflect.TypeFor[activities.ReplicaStatement](),
	artifact.PredicateRecoveryPoint: reflect.TypeFor[recovery.Statement](),
	artifact.PredicateSubmission:    reflect.TypeFor[round.Answer](),
	artifact.PredicateRound:         reflect.TypeFor[provenance.Round](),
	artifact.PredicateEvidence:      reflect.TypeFor[evidence.Statement](),
	artifact.PredicateSurvivors:     reflect.TypeFor[struct{}](),
	artifact.PredicateTrustPolicy:   reflect.TypeFor[trust.Predicate](),
	artifact.PredicateGrant:         reflect.TypeFor[consent.Grant](),
	artifact.PredicateWithdrawal:    reflect.TypeFor[consent.Report](),
	artifact.PredicateStatistics:    reflect.TypeFor[summary.Question](),
	artifact.PredicateSummary:       reflect.TypeFor[summary.Answer](),
}

func TestSchemasHaveTheKeysOfTheTypes(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(folder, "*.schema.json"))
	require.NoError(t, err)
	require.Len(t, files, len(predicates), "a schema for every predicate type, and no other")
	for predicateType, kind := range predicates {
		name := filepath.Base(filepath.Dir(predicateType))
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(filepath.Join(folder, name+".schema.json"))
			require.NoError(t, err)
			var s schema
			require.NoError(t, json.Unmarshal(content, &s))
			require.Equal(t, predicateType, s.ID)
			compare(t, "", s, kind)
			require.FileExists(t, filepath.Join(folder, name+".md"))
		})
	}
}

func compare(t *testing.T, at string, s schema, kind reflect.Type) {
	t.Helper()
	for kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	if strings.HasSuffix(at, "/policy") && kind == reflect.TypeFor[json.RawMessage]() {
		kind = reflect.TypeFor[policy.Document]() // a plan carries it as it was written
	}
	switch {
	case kind.Kind() == reflect.Slice && kind.Elem().Kind() != reflect.Uint8:
		require.NotNil(t, s.Items, at)
		compare(t, at+"/items", *s.Items, kind.Elem())
	case kind.Kind() == reflect.Struct && kind.Name() != "Time":
		require.NotNil(t, s.AdditionalProperties, "%s must say that it has no other keys", at)
		require.False(t, *s.AdditionalProperties, at)
		var keys []string
		for i := range kind.NumField() {
			key, options, _ := strings.Cut(kind.Field(i).Tag.Get("json"), ",")
			keys = append(keys, key)
			property, ok := s.Properties[key]
			require.True(t, ok, "%s/%s is missing", at, key)
			if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") {
				require.Contains(t, s.Required, key, "%s/%s is always written", at, key)
			}
			compare(t, at+"/"+key, property, kind.Field(i).Type)
		}
		for key := range s.Properties {
			require.True(t, slices.Contains(keys, key), "%s/%s is no key of %s", at, key, kind)
		}
	}
}
