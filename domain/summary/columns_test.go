package summary_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/summary"
)

func TestBoundsArePublic(t *testing.T) {
	at := func(x float64) *float64 { return &x }
	const schema = `{"properties":{"age":{"type":"integer"},"mass":{"type":["number","null"],"minimum":1,"maximum":300},"ward":{"type":"string"},"label":{"type":"integer"}}}`
	const semantics = `{"columns":{"age":{"range":[0,120]},"mass":{"range":[2,250]}}}`
	tests := []struct {
		name              string
		schema, semantics string
		wishes            []summary.Wish
		want              []summary.Column
		err               error
		says              string
	}{
		{name: "takes the range of the semantics, before the schema's", schema: schema, semantics: semantics,
			want: []summary.Column{{Name: "age", Low: 0, High: 120}, {Name: "mass", Low: 2, High: 250}}},
		{name: "takes minimum and maximum of the schema", schema: schema, wishes: []summary.Wish{{Name: "mass"}}, want: []summary.Column{{Name: "mass", Low: 1, High: 300}}},
		{name: "takes those of the request first", schema: schema, semantics: semantics, wishes: []summary.Wish{{Name: "age", Low: at(18), High: at(65)}},
			want: []summary.Column{{Name: "age", Low: 18, High: 65}}},
		{name: "takes one bound from each", schema: schema, semantics: semantics, wishes: []summary.Wish{{Name: "age", High: at(65)}}, want: []summary.Column{{Name: "age", Low: 0, High: 65}}},
		{name: "takes any column of a schema that names none", schema: `{"type":"object"}`, wishes: []summary.Wish{{Name: "x", Low: at(0), High: at(1)}}, want: []summary.Column{{Name: "x", Low: 0, High: 1}}},
		{name: "refuses columns without bounds, by name", schema: schema, err: summary.ErrUnbounded, says: "column age has no public bounds"},
		{name: "refuses a column that is not there", schema: schema, wishes: []summary.Wish{{Name: "height", Low: at(0), High: at(1)}}, err: summary.ErrUnknown},
		{name: "refuses text", schema: schema, wishes: []summary.Wish{{Name: "ward", Low: at(0), High: at(1)}}, err: summary.ErrNotNumber},
		{name: "refuses the label", schema: schema, wishes: []summary.Wish{{Name: "label", Low: at(0), High: at(1)}}, err: summary.ErrNotNumber},
		{name: "refuses bounds the wrong way around", schema: schema, wishes: []summary.Wish{{Name: "age", Low: at(9), High: at(1)}}, err: summary.ErrBounds},
		{name: "refuses bounds that are one", schema: schema, wishes: []summary.Wish{{Name: "age", Low: at(1), High: at(1)}}, err: summary.ErrBounds},
		{name: "refuses bounds that are no numbers", schema: schema, wishes: []summary.Wish{{Name: "age", Low: at(math.NaN()), High: at(1)}}, err: summary.ErrBounds},
		{name: "refuses bounds without an end", schema: schema, wishes: []summary.Wish{{Name: "age", Low: at(math.Inf(-1)), High: at(1)}}, err: summary.ErrBounds},
		{name: "refuses bounds whose distance is none", schema: schema, wishes: []summary.Wish{{Name: "age", Low: at(-math.MaxFloat64), High: at(math.MaxFloat64)}}, err: summary.ErrBounds},
		{name: "refuses bounds that are too near to be halved", schema: schema, wishes: []summary.Wish{{Name: "age", Low: at(0), High: at(math.SmallestNonzeroFloat64)}}, err: summary.ErrBounds},
		{name: "refuses a column twice", schema: schema, wishes: []summary.Wish{{Name: "mass"}, {Name: "mass"}}, err: summary.ErrColumns},
		{name: "refuses a name that is none", schema: `{}`, wishes: []summary.Wish{{Name: "a\nb", Low: at(0), High: at(1)}}, err: summary.ErrName},
		{name: "refuses a schema without numbers", schema: `{"properties":{"ward":{"type":"string"}}}`, err: summary.ErrNone},
		{name: "refuses a schema without columns", schema: `{}`, err: summary.ErrNone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := summary.Columns(json.RawMessage(tt.schema), json.RawMessage(tt.semantics), tt.wishes)
			require.ErrorIs(t, err, tt.err)
			require.Equal(t, tt.want, got)
			if tt.says != "" {
				require.ErrorContains(t, err, tt.says)
			}
		})
	}
}
