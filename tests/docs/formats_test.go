package docs

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// languages are those that a fence may name; each is parsed. A fence without a
// language is text for people.
var languages = []string{"", "text", "sh", "json", "yaml", "go", "python", "sql", "rego"}

// fragment wraps Go that is no file into one.
func fragment(text string) string {
	switch {
	case strings.HasPrefix(strings.TrimSpace(text), "package "):
		return text
	case strings.Contains("\n"+text, "\nfunc ") || strings.Contains("\n"+text, "\ntype ") || strings.Contains("\n"+text, "\nimport "):
		return "package page\n" + text
	}
	return "package page\nfunc _() {\n" + text + "\n}"
}

func TestEveryBlockParses(t *testing.T) {
	python := []string{}
	for _, b := range blocks(t) {
		if !slices.Contains(languages, b.language()) {
			t.Errorf("%s:%d: nothing parses blocks of %q", b.page, b.line, b.language())
			continue
		}
		var err error
		switch b.language() {
		case "json":
			err = json.Unmarshal([]byte(b.text()), new(any))
		case "yaml":
			err = yaml.Unmarshal([]byte(b.text()), new(any))
		case "go":
			_, err = parser.ParseFile(token.NewFileSet(), b.page, fragment(b.text()), 0)
		case "python":
			python = append(python, b.text())
		}
		if err != nil {
			t.Errorf("%s:%d: %v", b.page, b.line, err)
		}
	}
	texts, err := json.Marshal(python)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-c", "import ast, json, sys\nfor text in json.load(sys.stdin): ast.parse(text)")
	cmd.Stdin = strings.NewReader(string(texts))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
