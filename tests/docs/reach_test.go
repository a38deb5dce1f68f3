package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A reach knows which kinds of problem each function of package api may name.
// It follows calls by name: what a function of another package answers, or a
// port, is turned into a problem in api again.
type reach struct {
	kinds   map[string]string   // variable -> code
	bodies  map[string]ast.Node // "f" or "Type.f"
	mounted map[string][]string // operation -> "Type.f"
	methods map[string][]string // f -> "Type.f" of every type
}

func newReach(t *testing.T) *reach {
	t.Helper()
	r := &reach{map[string]string{}, map[string]ast.Node{}, map[string][]string{}, map[string][]string{}}
	files, err := filepath.Glob(filepath.Join(root, "api/*.go"))
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				key := d.Name.Name
				if d.Recv != nil {
					key = receiver(d) + "." + key
					r.methods[d.Name.Name] = append(r.methods[d.Name.Name], key)
				}
				if d.Body != nil {
					r.bodies[key] = d
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					r.kind(t, spec)
				}
			}
		}
	}
	for key, body := range r.bodies {
		ast.Inspect(body, func(n ast.Node) bool { return r.mount(key, n) })
	}
	return r
}

// receiver is the name of a method's type.
func receiver(d *ast.FuncDecl) string {
	switch x := d.Recv.List[0].Type.(type) {
	case *ast.StarExpr:
		if id, ok := x.X.(*ast.Ident); ok {
			return id.Name
		}
	case *ast.Ident:
		return x.Name
	}
	return ""
}

// kind notes `name = Kind{"code", ...}`.
func (r *reach) kind(t *testing.T, spec ast.Spec) {
	v, ok := spec.(*ast.ValueSpec)
	if !ok {
		return
	}
	for i, value := range v.Values {
		if lit, ok := value.(*ast.CompositeLit); ok {
			if id, ok := lit.Type.(*ast.Ident); ok && id.Name == "Kind" {
				code, err := strconv.Unquote(lit.Elts[0].(*ast.BasicLit).Value)
				require.NoError(t, err)
				r.kinds[v.Names[i].Name] = code
			}
		}
	}
}

// mount notes b.mount(router, "operation", s.handler), written in a method of
// the handler's type.
func (r *reach) mount(within string, n ast.Node) bool {
	c, ok := n.(*ast.CallExpr)
	if !ok || len(c.Args) != 3 {
		return true
	}
	fn, isSelector := c.Fun.(*ast.SelectorExpr)
	id, isText := c.Args[1].(*ast.BasicLit)
	if !isSelector || fn.Sel.Name != "mount" || !isText {
		return true
	}
	operation, _ := strconv.Unquote(id.Value)
	owner, _, _ := strings.Cut(within, ".")
	ast.Inspect(c.Args[2], func(n ast.Node) bool {
		if handler, ok := n.(*ast.SelectorExpr); ok {
			r.mounted[operation] = append(r.mounted[operation], owner+"."+handler.Sel.Name)
		}
		return true
	})
	return true
}

// codes returns what an operation's handler may answer with, beside what the
// border answers for every operation.
func (r *reach) codes(operation string) []string {
	found, seen := map[string]bool{}, map[string]bool{}
	var walk func(key string)
	walk = func(key string) {
		body, ok := r.bodies[key]
		if !ok || seen[key] {
			return
		}
		seen[key] = true
		owner, _, method := strings.Cut(key, ".")
		ast.Inspect(body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				if code, ok := r.kinds[n.Name]; ok {
					found[code] = true
				}
				walk(n.Name) // a function that is called or passed on
			case *ast.SelectorExpr:
				if _, ours := r.bodies[owner+"."+n.Sel.Name]; method && ours {
					walk(owner + "." + n.Sel.Name)
				} else if of := r.methods[n.Sel.Name]; len(of) == 1 {
					walk(of[0])
				}
			}
			return true
		})
	}
	for _, key := range r.mounted[operation] {
		walk(key)
	}
	var codes []string
	for code := range found {
		codes = append(codes, code)
	}
	slices.Sort(codes)
	return codes
}

func TestReachFollowsCalls(t *testing.T) {
	r := newReach(t)
	require.Greater(t, len(r.kinds), 40)
	require.GreaterOrEqual(t, len(r.mounted), 90)
	start := r.codes("startRun")
	for _, code := range []string{"simulation_refused", "no_signing_key", "no_consent", "no_sites", "budget_exhausted", "not_admitted", "bad_params"} {
		require.Contains(t, start, code)
	}
	require.NotContains(t, start, "bad_vote")
	require.Contains(t, r.codes("castVote"), "bad_vote")
}
