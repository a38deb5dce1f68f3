// Package arch holds the rules of the house as tests. It reads the sources
// itself: a test that asks the go command would be cached while the sources
// change.
//
// Invariant: a rule that is written in docs/architecture.md and can be checked
// is checked here, and every rule has been seen red.
package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	root   = "../.."
	module = "github.com/atom-fabric/fabric/"
)

// A source is one parsed Go file.
type source struct {
	path    string // slash-separated, from the root
	pkg     string // folder
	test    bool
	file    *ast.File
	imports []string
}

// load parses every Go file of the product's module.
func load(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))
		if d.IsDir() {
			nested := filepath.Join(path, "go.mod")
			if _, err := os.Stat(nested); (err == nil && path != root) || rel == "bin" || rel == ".git" || d.Name() == "node_modules" {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		s := source{path: rel, pkg: filepath.ToSlash(filepath.Dir(rel)), test: strings.HasSuffix(rel, "_test.go"), file: file}
		for _, i := range file.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, name)
		}
		all = append(all, s)
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, len(all), 50, "the sources were not found")
	return all
}

// under says whether a package is folder or below it.
func under(pkg, folder string) bool { return pkg == folder || strings.HasPrefix(pkg, folder+"/") }

// standard says whether an import is of the standard library.
func standard(name string) bool { return !strings.Contains(strings.SplitN(name, "/", 2)[0], ".") }

// ours returns the folder of an import of this module.
func ours(name string) (string, bool) { return strings.CutPrefix(name, module) }

// decisions are the domain packages that workflows may call.
var decisions = []string{"site", "artifact", "round", "approval", "promotion", "canary", "policy", "routing", "catalog", "scorecard", "audit", "privacy"}

// rooms lists, for each folder, what it may import: folders of this module,
// and libraries by the prefix of their path ("*" for any).
var rooms = []struct {
	folder  string
	inner   []string
	outside []string
}{
	{"domain", []string{"domain"}, nil},
	{"contract", []string{"domain"}, []string{"go.temporal.io/sdk"}},
	{"workflows", append([]string{"contract"}, prefixed("domain/", decisions)...), []string{"go.temporal.io/sdk", "go.temporal.io/api"}},
	{"activities", []string{"contract", "domain", "activities"}, []string{"go.temporal.io/sdk", "github.com/google/uuid"}},
	{"api", []string{"contract", "domain", "api", "internal/issuer", "internal/strictjson", "internal/telemetry", "internal/token"}, []string{"*"}},
	{"web", []string{"api/v1", "domain", "web"}, nil},
	{"internal/router", []string{"domain", "internal"}, []string{"*"}},
	{"internal/site", []string{"domain", "api/v1", "internal/durable", "internal/site", "internal/strictjson", "internal/telemetry"}, []string{"*"}},
	{"infra", nil, nil},
}

func prefixed(prefix string, names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = prefix + n
	}
	return out
}

func TestArrowsPointOneWay(t *testing.T) {
	for _, s := range load(t) {
		if s.test {
			continue
		}
		for _, r := range rooms {
			if !under(s.pkg, r.folder) || (r.folder == "api" && under(s.pkg, "api/v1")) {
				continue
			}
			for _, name := range s.imports {
				switch folder, own := ours(name); {
				case own:
					require.True(t, slices.ContainsFunc(r.inner, func(f string) bool { return under(folder, f) }),
						"%s imports %s: %s may import only %v", s.path, folder, r.folder, r.inner)
				case standard(name):
				default:
					require.True(t, slices.ContainsFunc(r.outside, func(p string) bool { return p == "*" || strings.HasPrefix(name, p) }),
						"%s imports %s: %s may import only %v", s.path, name, r.folder, r.outside)
				}
			}
		}
	}
}

// doors says which folder alone may import a library.
var doors = []struct {
	library string
	folders []string
}{
	{"github.com/jackc/pgx", []string{"internal/postgres", "internal/pgserver/pgtest"}},
	{"github.com/exaring/otelpgx", []string{"internal/postgres"}},
	{"github.com/sigstore/", []string{"internal/cosign"}},
	{"github.com/hashicorp/vault/", []string{"internal/transit"}},
	{"github.com/ThalesIgnite/crypto11", []string{"internal/hsm"}},
	{"github.com/gin-gonic/gin", []string{"api"}},
	{"oras.land/oras-go", []string{"internal/oci"}},
	{"github.com/google/go-containerregistry", []string{"internal/registry", "internal/cosign"}},
	{"github.com/minio/minio-go", []string{"internal/blob"}},
	{"github.com/spf13/cobra", []string{"cmd"}},
	{"github.com/open-policy-agent/opa", []string{"internal/opa"}},
	{"github.com/lestrrat-go/jwx", []string{"internal/token", "internal/issuer", "api"}},
}

func TestEachLibraryHasOneDoor(t *testing.T) {
	for _, s := range load(t) {
		if s.test || under(s.pkg, "tests") {
			continue
		}
		for _, name := range s.imports {
			for _, d := range doors {
				if strings.HasPrefix(name, d.library) {
					require.True(t, slices.ContainsFunc(d.folders, func(f string) bool { return under(s.pkg, f) }),
						"%s imports %s, whose door is %v", s.path, name, d.folders)
				}
			}
		}
	}
}

// programs says what a program must not link, however deep.
var programs = []struct {
	cmd       string
	forbidden []string
}{
	{"cmd/fabric-router", []string{"github.com/hashicorp/vault/", "github.com/ThalesIgnite/", "go.temporal.io/", "github.com/jackc/pgx", "github.com/sigstore/", "github.com/gin-gonic/gin", "github.com/open-policy-agent/"}},
	{"cmd/fabric-site", []string{"github.com/hashicorp/vault/", "github.com/ThalesIgnite/", "go.temporal.io/", "github.com/jackc/pgx", "github.com/sigstore/", "github.com/gin-gonic/gin"}},
	{"cmd/fabric", []string{"go.temporal.io/server"}},
}

func TestProgramsDoNotLinkEachOthersWorld(t *testing.T) {
	imports := map[string][]string{}
	for _, s := range load(t) {
		if !s.test {
			imports[s.pkg] = append(imports[s.pkg], s.imports...)
		}
	}
	for _, p := range programs {
		require.NotEmpty(t, imports[p.cmd], "no sources of %s", p.cmd)
		seen := map[string]bool{}
		var walk func(pkg string, path []string)
		walk = func(pkg string, path []string) {
			if seen[pkg] {
				return
			}
			seen[pkg] = true
			for _, name := range imports[pkg] {
				for _, f := range p.forbidden {
					require.False(t, strings.HasPrefix(name, f), "%s links %s through %s", p.cmd, name, strings.Join(path, " -> "))
				}
				if folder, own := ours(name); own {
					walk(folder, append(slices.Clone(path), folder))
				}
			}
		}
		walk(p.cmd, []string{p.cmd})
	}
}

// Vault itself is under the Business Source License: its engine is a judge in a
// test-tools module, and the product holds nothing of it but the API's client,
// which is under MPL-2.0.
func TestTheProductHoldsNothingOfVaultButItsClient(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[0], "github.com/hashicorp/vault") {
			require.Equal(t, "github.com/hashicorp/vault/api", fields[0])
		}
	}
	for _, s := range load(t) {
		for _, name := range s.imports {
			if strings.HasPrefix(name, "github.com/hashicorp/vault") {
				require.Equal(t, "github.com/hashicorp/vault/api", name, s.path)
			}
		}
	}
	require.FileExists(t, filepath.Join(root, "tools", "transit", "go.mod"), "the engine's module is its own")
}

func TestPackagesAreNamedForWhatTheyHold(t *testing.T) {
	folders := map[string]string{}
	vague := []string{"util", "utils", "common", "helper", "helpers", "misc", "types", "shared", "base"}
	for _, s := range load(t) {
		name := strings.TrimSuffix(s.file.Name.Name, "_test")
		require.NotContains(t, vague, name, s.path)
		if name == "main" || under(s.pkg, "examples") {
			continue
		}
		if other, seen := folders[name]; seen {
			require.Equal(t, other, s.pkg, "package name %s occurs twice", name)
		}
		folders[name] = s.pkg
	}
}

func TestEveryPackageStatesItsInvariant(t *testing.T) {
	docs := map[string]string{}
	for _, s := range load(t) {
		if s.test || strings.HasSuffix(s.path, ".gen.go") {
			continue
		}
		docs[s.pkg] += s.file.Doc.Text()
	}
	for pkg, doc := range docs {
		require.Contains(t, doc, "Invariant:", "package doc of %s", pkg)
	}
}

func TestNoHiddenStartOrState(t *testing.T) {
	for _, s := range load(t) {
		if s.test || strings.HasSuffix(s.path, ".gen.go") || strings.HasSuffix(s.pkg, "test") {
			continue
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				require.False(t, d.Recv == nil && d.Name.Name == "init", "%s has an init function", s.path)
			case *ast.GenDecl:
				if d.Tok == token.VAR && !under(s.pkg, "contract") && s.pkg != "cmd/fabric" {
					for _, spec := range d.Specs {
						require.NoError(t, constant(spec.(*ast.ValueSpec), d.Doc), s.path)
					}
				}
			}
		}
	}
}

// constant accepts the package variables that nobody changes: sentinel errors,
// compiled expressions, tables, embedded files, and checks of an interface.
func constant(v *ast.ValueSpec, declared *ast.CommentGroup) error {
	for i, name := range v.Names {
		if name.Name == "_" || strings.HasPrefix(name.Name, "Err") || strings.HasPrefix(name.Name, "err") {
			continue
		}
		if len(v.Values) <= i {
			if embedded(v.Doc, v.Comment, declared) {
				continue
			}
			return fmt.Errorf("package variable %s has no value: it is state", name.Name)
		}
		switch e := v.Values[i].(type) {
		case *ast.CompositeLit, *ast.BasicLit, *ast.FuncLit, *ast.SelectorExpr, *ast.Ident, *ast.BinaryExpr, *ast.UnaryExpr:
		case *ast.CallExpr:
			text := fmt.Sprint(e.Fun)
			if sel, ok := e.Fun.(*ast.SelectorExpr); ok {
				text = fmt.Sprint(sel.X) + "." + sel.Sel.Name
			}
			if !pure.MatchString(text) {
				return fmt.Errorf("package variable %s is made by %s", name.Name, text)
			}
		default:
			return fmt.Errorf("package variable %s is a %T", name.Name, e)
		}
	}
	return nil
}

// pure are the calls whose results are as good as constants.
var pure = regexp.MustCompile(`^(regexp\.MustCompile|errors\.New|strings\.NewReplacer|template\.Must|big\.NewInt|\[\]byte|&\{.*|func.*|elliptic\.P256|crc32\.MakeTable|.*\.MustParse|reflect\.TypeFor|len|math\.\w+)$`)

// embedded says whether a variable is filled by go:embed.
func embedded(docs ...*ast.CommentGroup) bool {
	for _, doc := range docs {
		if doc == nil {
			continue
		}
		for _, c := range doc.List {
			if strings.HasPrefix(c.Text, "//go:embed") {
				return true
			}
		}
	}
	return false
}

func TestWorkflowsDoNotBranchOnFloats(t *testing.T) {
	for _, s := range load(t) {
		if s.test || s.pkg != "workflows" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				require.NotContains(t, []string{"float64", "float32"}, id.Name, s.path)
			}
			return true
		})
	}
}
