package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each problem of the router has its section on the page that its type leads
// to, with its status first, and each section is a problem of the router.
func TestEveryProblemOfTheRouterHasItsSection(t *testing.T) {
	codes := map[string]map[string]bool{} // statuses of a code
	files, err := filepath.Glob(filepath.Join(root, "internal/router/*.go"))
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			var code, status string
			for _, element := range lit.Elts {
				pair, ok := element.(*ast.KeyValueExpr)
				if !ok {
					continue
				}
				switch key, ok := pair.Key.(*ast.Ident); {
				case !ok:
				case key.Name == "code":
					if value, ok := pair.Value.(*ast.BasicLit); ok {
						code, err = strconv.Unquote(value.Value)
						require.NoError(t, err)
					}
				case key.Name == "status":
					if value, ok := pair.Value.(*ast.SelectorExpr); ok {
						status = value.Sel.Name
					}
				}
			}
			if code != "" {
				if codes[code] == nil {
					codes[code] = map[string]bool{}
				}
				codes[code][status] = true
			}
			return true
		})
	}
	require.Greater(t, len(codes), 15)

	_, problems, found := strings.Cut(read(t, "docs/protocol/invoke.md"), "\n## Problems\n")
	require.True(t, found)
	sections := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^### (\w+)\n(\d{3})[.,]`).FindAllStringSubmatch(problems, -1) {
		sections[m[1]] = m[2]
	}
	statuses := map[string]string{
		"StatusBadRequest": "400", "StatusUnauthorized": "401", "StatusForbidden": "403", "StatusNotFound": "404", "StatusMethodNotAllowed": "405",
		"StatusRequestEntityTooLarge": "413", "StatusUnsupportedMediaType": "415", "StatusUnprocessableEntity": "422", "StatusTooManyRequests": "429",
		"StatusInternalServerError": "500", "StatusBadGateway": "502", "StatusServiceUnavailable": "503", "StatusGatewayTimeout": "504",
	}
	for code, of := range codes {
		require.Contains(t, sections, code, "docs/protocol/invoke.md has no section ### %s", code)
		for status := range of {
			if status != "" {
				require.Equal(t, sections[code], statuses[status], code)
			}
		}
	}
	for code := range sections {
		require.Contains(t, codes, code, "docs/protocol/invoke.md explains %s, which the router never answers", code)
	}
}

// The page of exit statuses has those of cmd/fabric/exit.go and no other.
func TestExitStatusesAreThose(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "cmd/fabric/exit.go"), nil, 0)
	require.NoError(t, err)
	var ours, documented []string
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 && strings.HasPrefix(v.Names[0].Name, "exit") {
			if value, ok := v.Values[0].(*ast.BasicLit); ok {
				ours = append(ours, value.Value)
			}
		}
		return true
	})
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \|`).FindAllStringSubmatch(read(t, "docs/reference/exit-status.md"), -1) {
		documented = append(documented, m[1])
	}
	slices.Sort(ours)
	slices.Sort(documented)
	require.Equal(t, ours, documented)
}
