package docs

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A schema is what is read of a JSON Schema of docs/protocol/predicates.
type schema struct {
	Title       string            `json:"title"`
	Description string            `json:"description"`
	ID          string            `json:"$id"`
	Type        any               `json:"type"`
	Const       any               `json:"const"`
	Enum        []any             `json:"enum"`
	Pattern     string            `json:"pattern"`
	Format      string            `json:"format"`
	Properties  map[string]schema `json:"properties"`
	Required    []string          `json:"required"`
	Items       *schema           `json:"items"`
	Ref         string            `json:"$ref"`
}

const predicatesHead = `# Predicates

Made from the schemas beside [the protocol's pages](../protocol/predicates/README.md), which say how a statement is signed and checked; a test compares, and
another holds the schemas to the types in the code. A field with a star is required. ` + "`a.b`" + ` is field b of object a, ` + "`a[].b`" + ` that of each item.
`

// kindOf says what a value may be.
func (s schema) kindOf() string {
	switch {
	case s.Const != nil:
		return fmt.Sprintf("`%v`", s.Const)
	case len(s.Enum) > 0:
		var words []string
		for _, e := range s.Enum {
			words = append(words, fmt.Sprintf("`%v`", e))
		}
		return strings.Join(words, ", ")
	case s.Ref != "":
		return s.Ref[strings.LastIndex(s.Ref, "/")+1:]
	}
	kind := ""
	switch of := s.Type.(type) {
	case string:
		kind = of
	case []any:
		var words []string
		for _, w := range of {
			words = append(words, fmt.Sprint(w))
		}
		kind = strings.Join(words, " or ")
	}
	if s.Format != "" {
		kind = s.Format
	}
	if s.Pattern == "^sha256:[0-9a-f]{64}$" {
		kind = "digest"
	}
	return kind
}

// rows writes the fields of an object, those of its objects after it.
func rows(b *strings.Builder, prefix string, s schema) {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		field := s.Properties[name]
		star := ""
		if slices.Contains(s.Required, name) {
			star = " *"
		}
		fmt.Fprintf(b, "| `%s%s`%s | %s | %s |\n", prefix, name, star, field.kindOf(), strings.ReplaceAll(field.Description, "|", `\|`))
		rows(b, prefix+name+".", field)
		if field.Items != nil {
			rows(b, prefix+name+"[].", *field.Items)
		}
	}
}

func TestThePredicateReferenceIsTheSchemas(t *testing.T) {
	folder := filepath.Join(root, "docs/protocol/predicates")
	files, err := filepath.Glob(filepath.Join(folder, "*.schema.json"))
	require.NoError(t, err)
	require.Greater(t, len(files), 15)
	var b strings.Builder
	b.WriteString(predicatesHead)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		var s schema
		require.NoError(t, json.Unmarshal(content, &s), file)
		name := strings.TrimSuffix(filepath.Base(file), ".schema.json")
		fmt.Fprintf(&b, "\n## %s\n\n%s. `%s`; [schema](../protocol/predicates/%s.schema.json)", name, strings.TrimSuffix(s.Title, "."), s.ID, name)
		if _, err := os.Stat(filepath.Join(folder, name+".md")); err == nil {
			fmt.Fprintf(&b, ", [what it is for](../protocol/predicates/%s.md)", name)
		}
		b.WriteString(".\n")
		if s.Description != "" {
			fmt.Fprintf(&b, "\n%s\n", s.Description)
		}
		if len(s.Properties) > 0 {
			b.WriteString("\n| field | is | |\n| --- | --- | --- |\n")
			rows(&b, "", s)
		}
	}
	written(t, "docs/reference/predicates.md", b.String())
}
