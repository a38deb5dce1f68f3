package catalog_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/catalog"
)

// The rules are those of schema registries: backward, a new reader reads old
// rows; forward, an old reader reads new rows.
func TestCompatible(t *testing.T) {
	const was = `{"properties":{"a":{"type":"number"},"b":{"type":"integer"}},"required":["a"]}`
	tests := []struct {
		name              string
		next              string
		semantics         string
		backward, forward bool
	}{
		{"the same", was, "", true, true},
		{"an optional column more", `{"properties":{"a":{"type":"number"},"b":{"type":"integer"},"c":{"type":"string"}},"required":["a"]}`, "", true, true},
		{"a required column more", `{"properties":{"a":{"type":"number"},"b":{"type":"integer"},"c":{"type":"string"}},"required":["a","c"]}`, "", false, true},
		{"a required column less", `{"properties":{"b":{"type":"integer"}}}`, "", true, false},
		{"a wider type", `{"properties":{"a":{"type":"number"},"b":{"type":"number"}},"required":["a"]}`, "", true, false},
		{"a narrower type", `{"properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"required":["a"]}`, "", false, true},
		{"another type", `{"properties":{"a":{"type":"string"},"b":{"type":"integer"}},"required":["a"]}`, "", false, false},
		{"required that was not", `{"properties":{"a":{"type":"number"},"b":{"type":"integer"}},"required":["a","b"]}`, "", false, true},
		{"null that was not", `{"properties":{"a":{"type":["number","null"]},"b":{"type":"integer"}},"required":["a"]}`, "", true, false},
		{"another unit", was, `{"columns":{"a":{"unit":"mm"}}}`, false, false},
		{"words about a column", `{"properties":{"a":{"type":"number","description":"x"},"b":{"type":"integer"}},"required":["a"]}`, "", true, true},
		{"a constraint", `{"properties":{"a":{"type":"number","minimum":0},"b":{"type":"integer"}},"required":["a"]}`, "", false, false},
	}
	now := catalog.Feature{ID: "f", Schema: json.RawMessage(was)}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			next := catalog.Feature{ID: "f", Schema: json.RawMessage(tt.next), Semantics: json.RawMessage(tt.semantics)}
			check := func(mode catalog.Mode, fine bool) {
				err := catalog.Compatible(mode, now, next)
				if fine {
					require.NoError(t, err, mode)
					return
				}
				require.ErrorIs(t, err, catalog.ErrIncompatible, mode)
				require.ErrorContains(t, err, "column ")
			}
			check(catalog.Backward, tt.backward)
			check(catalog.Forward, tt.forward)
			check(catalog.Full, tt.backward && tt.forward)
			check(catalog.AnyChange, true)
		})
	}
	require.Equal(t, catalog.Full, catalog.Backward.And(catalog.Forward))
	require.Equal(t, catalog.AnyChange, catalog.Mode("").And(catalog.AnyChange))
}
