package fuzz

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
)

// An operation of openapi.yaml.
type operation struct {
	id, method, path string
	steps            []string // of the path
	rest             bool     // the last parameter holds slashes
	access           string
	roles            []string
	refused          bool // to simulated callers
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
	slices.SortFunc(ops, func(a, b *operation) int { return strings.Compare(a.id, b.id) })
	return doc, ops
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

// matches says whether a decoded path is one of the operation's, and how many
// of its steps are given by the document.
func (o *operation) matches(path string) (fixed int, ok bool) {
	steps := strings.Split(path, "/")
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
	most := -1
	for _, o := range p.ops {
		fixed, ok := o.matches(u.Path)
		if ok && fixed > most && o.method == method {
			best, most = o, fixed
		}
	}
	return best
}
