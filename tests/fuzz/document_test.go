package fuzz

import (
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// An operation of openapi.yaml.
type operation struct {
	id, method, path string
	steps            []string // of the path
	rest             bool     // the last parameter holds slashes
	access           string
	roles            []string
	refused          bool            // to simulated callers
	digest           artifact.Digest // of all that the document says of it
	spec             *openapi3.Operation
	params           []*openapi3.Parameter
}

func document(t testing.TB) (*openapi3.T, []*operation) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("../../api/openapi.yaml")
	require.NoError(t, err)
	var ops []*operation
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			o := &operation{id: op.OperationID, method: method, path: path, steps: strings.Split(path, "/"), spec: op, refused: op.Extensions["x-simulated"] == "refused"}
			o.rest, _ = op.Extensions["x-rest"].(bool)
			o.access, _ = op.Extensions["x-access"].(string)
			roles, _ := op.Extensions["x-roles"].([]any)
			for _, role := range roles {
				text, _ := role.(string)
				o.roles = append(o.roles, text)
			}
			for _, p := range slices.Concat(item.Parameters, op.Parameters) {
				o.params = append(o.params, p.Value)
			}
			ops = append(ops, o)
		}
	}
	digests(t, ops)
	slices.SortFunc(ops, func(a, b *operation) int { return strings.Compare(a.id, b.id) })
	return doc, ops
}

// digests says of each operation what the document says of it, with all that is
// referred to: a change elsewhere in the document is none of it.
func digests(t testing.TB, ops []*operation) {
	t.Helper()
	text, err := os.ReadFile("../../api/openapi.yaml")
	require.NoError(t, err)
	var doc map[string]any
	require.NoError(t, yaml.Unmarshal(text, &doc))
	paths, _ := doc["paths"].(map[string]any)
	for _, o := range ops {
		item, _ := paths[o.path].(map[string]any)
		said := map[string]any{"path": o.path, "parameters": item["parameters"], o.method: item[strings.ToLower(o.method)]}
		gather(doc, said, said)
		text, err := json.Marshal(said) // sorts the members
		require.NoError(t, err)
		o.digest = artifact.DigestOf(text)
	}
}

// gather puts what v refers to into said.
func gather(doc map[string]any, v any, said map[string]any) {
	switch at := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(at)) {
			gather(doc, at[name], said)
		}
		ref, _ := at["$ref"].(string)
		if _, done := said[ref]; ref == "" || done {
			return
		}
		var there any = doc
		for _, step := range strings.Split(ref, "/")[1:] {
			m, _ := there.(map[string]any)
			there = m[step]
		}
		said[ref] = there
		gather(doc, there, said)
	case []any:
		for _, one := range at {
			gather(doc, one, said)
		}
	}
}

// body returns the schema of the JSON body, or nil.
func (o *operation) body() *openapi3.Schema {
	if o.spec.RequestBody == nil {
		return nil
	}
	content := o.spec.RequestBody.Value.Content["application/json"]
	if content == nil {
		return nil
	}
	return content.Schema.Value
}

// matches says whether the steps of a decoded path are the operation's, and how
// many of them are given by the document.
func (o *operation) matches(steps []string) (fixed int, ok bool) {
	if len(steps) != len(o.steps) && !(o.rest && len(steps) > len(o.steps)) {
		return 0, false
	}
	for i, want := range o.steps {
		switch {
		case strings.HasPrefix(want, "{"):
			if steps[i] == "" {
				return 0, false
			}
		case steps[i] != want:
			return 0, false
		default:
			fixed++
		}
	}
	return fixed, true
}

// find returns the operation that answers, or nil: then the answer is 404 or
// 405. It reads the document alone.
func (p *plane) find(method, target string) *operation {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil
	}
	var best *operation
	most, steps := -1, strings.Split(u.Path, "/")
	for _, o := range p.ops {
		fixed, ok := o.matches(steps)
		if ok && fixed > most && o.method == method {
			best, most = o, fixed
		}
	}
	return best
}
