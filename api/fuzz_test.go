package api_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A generator draws values that follow a schema, and, now and then, some that
// do not. Patterns that it does not know get a draw from a small pool, which
// holds ids that exist.
type generator struct {
	t       *rapid.T
	correct bool // everything drawn so far follows
}

var pool = []string{"b", "t1", "m", "f1", "run-1", "promote-1", "policy-1", "tune-1", "eu", "s1", "none"}

func (g *generator) value(s *openapi3.Schema, depth int) any {
	if rapid.IntRange(0, 19).Draw(g.t, "wrong") == 0 {
		g.correct = false
		return rapid.SampledFrom([]any{nil, true, -1, 1.5, 1e300, "", "\x00", strings.Repeat("x", 300), []any{}, map[string]any{"?": 1}}).Draw(g.t, "junk")
	}
	if len(s.Enum) > 0 {
		return rapid.SampledFrom(s.Enum).Draw(g.t, "enum")
	}
	switch {
	case s.Type.Is("object"):
		return g.object(s, depth)
	case s.Type.Is("array"):
		n := rapid.IntRange(int(s.MinItems), int(s.MinItems)+2).Draw(g.t, "n")
		out := []any{}
		for range n {
			out = append(out, g.value(s.Items.Value, depth+1))
		}
		return out
	case s.Type.Is("boolean"):
		return rapid.Bool().Draw(g.t, "bool")
	case s.Type.Is("integer"), s.Type.Is("number"):
		lo, hi := 0, 1000
		if s.Min != nil {
			lo = int(*s.Min)
		}
		if s.Max != nil && *s.Max < float64(hi) {
			hi = int(*s.Max)
		}
		return rapid.SampledFrom([]int{lo, hi, min(lo+1, hi)}).Draw(g.t, "int")
	}
	return g.text(s)
}

func (g *generator) object(s *openapi3.Schema, depth int) any {
	out := map[string]any{}
	names := make([]string, 0, len(s.Properties))
	for name := range s.Properties {
		names = append(names, name)
	}
	slices.Sort(names) // draws must not depend on the order of a map
	for _, name := range names {
		required := slices.Contains(s.Required, name)
		if !required && rapid.Bool().Draw(g.t, "leave out "+name) {
			continue
		}
		out[name] = g.value(s.Properties[name].Value, depth+1)
	}
	return out
}

func (g *generator) text(s *openapi3.Schema) string {
	switch {
	case strings.HasPrefix(s.Pattern, "^sha256:"):
		return "sha256:" + strings.Repeat("0", 64)
	case strings.Contains(s.Pattern, "0-9A-Fa-f]{64}"):
		return strings.Repeat("A", 64)
	}
	return rapid.SampledFrom(pool).Draw(g.t, "text")
}

// TestGeneratedRequests sends requests that the document describes, more or
// less, as somebody whom everything is allowed. A failure is: a 5xx that is not
// "unavailable", an answer or a status off the document (the harness looks), or
// a wrong request that a command was carried out for.
func TestGeneratedRequests(t *testing.T) {
	s := owned(t)
	doc := document(t)
	type target struct {
		method, path string
		op           *openapi3.Operation
		item         *openapi3.PathItem
	}
	var targets []target
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if access := op.Extensions["x-access"]; access == "router" || access == "none" || op.OperationID == "uploadModel" {
				continue
			}
			targets = append(targets, target{method, path, op, item})
		}
	}
	slices.SortFunc(targets, func(a, b target) int { return strings.Compare(a.op.OperationID, b.op.OperationID) })
	all := s.as("b", "data-scientist", "operator", "approver", "auditor", "admin", "data-plane")
	site := s.asSite("b", "s1")
	statuses := map[int]int{}
	check := func(rt *rapid.T) {
		g := &generator{t: rt, correct: true}
		call := rapid.SampledFrom(targets).Draw(rt, "operation")
		path, query := call.path, []string{}
		for _, p := range slices.Concat(call.item.Parameters, call.op.Parameters) {
			switch p.Value.In {
			case "path":
				text := toText(g.value(p.Value.Schema.Value, 0))
				if text == "" || strings.ContainsAny(text, "/?\x00") {
					text = "none"
				}
				path = strings.Replace(path, "{"+p.Value.Name+"}", text, 1)
			case "query":
				if p.Value.Name != "tenant" && p.Value.Name != "wait_seconds" && rapid.Bool().Draw(rt, p.Value.Name) {
					query = append(query, p.Value.Name+"="+strings.NewReplacer("\x00", "%00", "?", "", " ", "", "\"", "").Replace(toText(g.value(p.Value.Schema.Value, 0))))
				}
			}
		}
		if len(query) > 0 {
			path += "?" + strings.Join(query, "&")
		}
		auth := all
		if call.op.Extensions["x-access"] == "site" {
			auth = site
		} else if call.op.Extensions["x-access"] == "enrolment" {
			auth = header("Authorization", "Bearer "+federationToken)
		}
		var body any
		if call.op.RequestBody != nil {
			if content := call.op.RequestBody.Value.Content["application/json"]; content != nil {
				text, err := json.Marshal(g.value(content.Schema.Value, 0))
				require.NoError(rt, err)
				body = string(text)
			} else {
				body = []byte("junk")
			}
		}
		before := len(s.fabric.Leaves)
		a := s.do(call.method, path, body, auth, header("Idempotency-Key", uuid.NewString()))
		statuses[a.StatusCode/100]++
		if a.StatusCode >= http.StatusInternalServerError {
			rt.Fatalf("%s %s %v: %d %s", call.method, path, body, a.StatusCode, a.body)
		}
		if a.StatusCode >= 400 && len(s.fabric.Leaves) != before {
			rt.Fatalf("%s %s %v was refused and changed something: %s", call.method, path, body, a.body)
		}
	}
	for range 3 { // of a hundred requests each
		rapid.Check(t, check)
	}
	// The run means something only if some requests got through.
	require.Positive(t, statuses[2])
	require.Positive(t, statuses[4])
}

func toText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "none"
	}
	return string(text)
}
