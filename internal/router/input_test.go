package router

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/routing"
)

func TestTranslatesRows(t *testing.T) {
	tests := []struct{ input, want, pointer string }{
		{`{"data":[[1,0],[0,3]]}`, `{"inputs":[{"name":"rows","datatype":"FP64","shape":[2,2],"data":[[1,0],[0,3]]}]}`, ""},
		{`{"data":[1, -2.5e3 ,3]}`, `{"inputs":[{"name":"rows","datatype":"FP64","shape":[1,3],"data":[1, -2.5e3 ,3]}]}`, ""},
		{` { "inputs" : [] , "id":"x"}`, ` { "inputs" : [] , "id":"x"}`, ""},
		{`{}`, "", "/input"},
		{`{"data":[[1]],"id":"x"}`, "", "/input"},
		{`{"rows":[[1]]}`, "", "/input"},
		{`{"data":1}`, "", "/input/data"},
		{`{"data":[]}`, "", "/input/data"},
		{`{"data":[[]]}`, "", "/input/data/0"},
		{`{"data":[[1],[1,2]]}`, "", "/input/data/1"},
		{`{"data":[[1],2]}`, "", "/input/data/1"},
		{`{"data":[[1],[null]]}`, "", "/input/data/1/0"},
		{`{"data":[1,null]}`, "", "/input/data/1"},
		{`{"data":[["1"]]}`, "", "/input/data/0"},
		{`{"data":[[[1]]]}`, "", "/input/data/0"},
		{`{"data":[[true]]}`, "", "/input/data/0"},
		{`{"data":[[{}]]}`, "", "/input/data/0"},
		{`{"data":[[1e999]]}`, "", "/input/data/0"},
		{`{"data":[[1` + strings.Repeat("0", 400) + `]]}`, "", "/input/data/0"},
		{`{"data":[` + strings.Repeat("[1],", 4096) + `[1]]}`, "", "/input/data"},
	}
	for _, tt := range tests {
		body, back, p := translate(nil, []byte(tt.input))
		if tt.want == "" {
			require.NotNil(t, p, tt.input)
			require.Equal(t, tt.pointer, p.errors[0].Pointer, "%.60s", tt.input)
			continue
		}
		require.Nil(t, p, tt.input)
		require.Equal(t, tt.want, string(body))
		require.Equal(t, strings.Contains(tt.input, "data"), back)
	}
}

// An output is nested by its shape, however the runtime nested it.
func TestNestsOutputs(t *testing.T) {
	tests := []struct{ shape, data, want string }{
		{"[3]", "[1,2,3]", "[1,2,3]"},
		{"[1,3]", "[1, 2 ,3]", "[[1, 2 ,3]]"},
		{"[2,2]", "[[1,2],[3,4]]", "[[1,2],[3,4]]"},
		{"[2,1,2]", "[1,2,3,4]", "[[[1,2]],[[3,4]]]"},
		{"[2]", `["a,]","\"b"]`, `["a,]","\"b"]`},
		{"[2,1]", "[true,false]", "[[true],[false]]"},
		{"[0]", "[]", "[]"},
		{"[2,0]", "[]", "[[],[]]"},
		{"[2,2]", "[1,2,3]", ""},
		{"[2]", "[1,2,3]", ""},
		{"[-1,-2]", "[1,2]", ""},
		{"[1.0]", "[1]", ""},
		{"[]", "[1]", ""},
		{"1", "[1]", ""},
		{"[1]", "1", ""},
		{"[1]", `[{"a":1}]`, ""},
		{"[1]", "[[[[[[[[[1]]]]]]]]]", ""},
		{"[8000000,8000000,0]", "[]", ""},
		{"[8000000,0]", "[]", ""},
	}
	for _, tt := range tests {
		text := `{"model_name":"o.m","model_version":"2","outputs":[{"name":"p","shape":` + tt.shape + `,"datatype":"X","data":` + tt.data + `}]}`
		got, err := output(nil, []byte(text), "o.m", 2, true)
		whole, err2 := output(nil, []byte(text), "o.m", 2, false)
		if tt.want == "" {
			require.Error(t, err, text)
			require.Error(t, err2, text)
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, `{"p":`+tt.want+`}`, string(got))
		require.NoError(t, err2)
		require.True(t, json.Valid(whole))
	}
	for _, text := range []string{
		`{"model_name":"o.m","outputs":[{"name":"p","shape":[1],"data":[1]},{"name":"p","shape":[1],"data":[1]}]}`,
		`{"model_name":"o.m","outputs":[{"shape":[1],"data":[1]}]}`,
		`{"model_name":"o.m","outputs":[1]}`,
		`{"model_name":"o.m","outputs":{}}`,
		`{"model_name":"o.m"}`,
		`{"model_name":"o.m","model_version":3,"outputs":[{"name":"p","shape":[1],"data":[1]}]}`,
		`{"model_name":"o.m","model_name":"o.m","outputs":[{"name":"p","shape":[1],"data":[1]}]}`,
		`{"model_name":"o.x","outputs":[{"name":"p","shape":[1],"data":[1]}]}`,
	} {
		_, err := output(nil, []byte(text), "o.m", 2, true)
		require.Error(t, err, text)
	}
}

// What is appended by hand is what encoding/json makes of the same.
func TestAnAnswerIsItsJSON(t *testing.T) {
	d := decision{ID: "i", Reason: `a "reason" <é>`, Environment: "dev", Policy: 7, Considered: 3, Attempts: 2, Excluded: []routing.Exclusion{}}
	for _, excluded := range [][]routing.Exclusion{{}, {{Endpoint: "e", Region: "r", Rule: "x\n"}, {Endpoint: "f"}}} {
		for _, scores := range [][]scored{nil, {{Endpoint: "e"}}} {
			for _, trial := range []*triedOut{nil, {Lineage: "l"}} {
				d.Excluded, d.Scores, d.Trial = excluded, scores, trial
				want, err := compact(d)
				require.NoError(t, err)
				require.Equal(t, string(want), string(appendDecision(nil, &d)))
			}
		}
	}
	r := Record{Tenant: "t", Model: "m", Version: 2, Region: "r", Endpoint: "e", DecisionID: "d", TraceID: "x", Manifest: "sha256:1", Snapshot: 3, Policy: 4, Output: "sha256:2", Header: "v1;a=b", Simulated: true}
	var got map[string]any
	require.NoError(t, json.Unmarshal(appendAnswer(nil, &r, []byte(`{"p":[1]}`), &d), &got))
	delete(got, "decision")
	require.Equal(t, map[string]any{"tenant": "t", "model_id": "m", "version": 2.0, "region": "r", "endpoint": "e", "output": map[string]any{"p": []any{1.0}}, "simulated": true,
		"audit": map[string]any{"decision_id": "d", "trace_id": "x", "manifest": "sha256:1", "snapshot": 3.0, "policy": 4.0, "output": "sha256:2", "header": "v1;a=b"}}, got)
}
