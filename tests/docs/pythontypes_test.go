package docs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
)

// pythonTypes are those that the Python client gives names to; what they are
// made of comes with them.
var pythonTypes = []string{"Run", "RunAccepted", "RunParams", "Model", "Invocation", "Feature"}

const pythonHead = `"""What the API answers, as types. Made from api/openapi.yaml; a test compares.

Values are plain dictionaries. A field that is absent is not null.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

`

// A pythonic writes the types of a document for Python.
type pythonic struct {
	t    *testing.T
	doc  *openapi3.T
	done map[string]bool
	out  strings.Builder
}

// class writes a type after those that it needs.
func (p *pythonic) class(name string) {
	if p.done[name] {
		return
	}
	p.done[name] = true
	s := p.doc.Components.Schemas[name].Value
	var fields []string
	for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
		kind := p.kind(s.Properties[field])
		if !slices.Contains(s.Required, field) {
			kind = "NotRequired[" + kind + "]"
		}
		fields = append(fields, fmt.Sprintf("    %s: %s", field, kind))
	}
	require.NotContains(p.t, s.Properties, "from", "%s: a keyword of Python is no field of a class", name)
	fmt.Fprintf(&p.out, "\nclass %s(TypedDict):\n", name)
	if s.Description != "" {
		fmt.Fprintf(&p.out, "    \"\"\"%s.\"\"\"\n\n", strings.TrimSuffix(capital(s.Description), "."))
	}
	p.out.WriteString(strings.Join(fields, "\n") + "\n\n")
}

// kind is the type of a value.
func (p *pythonic) kind(ref *openapi3.SchemaRef) string {
	s := ref.Value
	switch {
	case len(s.Enum) > 0:
		var words []string
		for _, e := range s.Enum {
			word := fmt.Sprint(e)
			if s.Type.Is("string") {
				word = fmt.Sprintf("%q", word)
			}
			words = append(words, word)
		}
		return "Literal[" + strings.Join(words, ", ") + "]"
	case s.Type.Is("object") && ref.Ref != "" && len(s.Properties) > 0:
		name := ref.Ref[strings.LastIndex(ref.Ref, "/")+1:]
		p.class(name)
		return name
	case s.Type.Is("object") && s.AdditionalProperties.Schema != nil:
		return "dict[str, " + p.kind(s.AdditionalProperties.Schema) + "]"
	case s.Type.Is("object"):
		return "dict[str, Any]"
	case s.Type.Is("array"):
		return "list[" + p.kind(s.Items) + "]"
	case s.Type.Is("integer"):
		return "int"
	case s.Type.Is("number"):
		return "float"
	case s.Type.Is("boolean"):
		return "bool"
	case s.Type.Is("string"):
		return "str"
	}
	return "Any"
}

func TestThePythonTypesAreTheDocuments(t *testing.T) {
	p := &pythonic{t: t, doc: spec(t), done: map[string]bool{}}
	for _, name := range pythonTypes {
		p.class(name)
	}
	written(t, "clients/python/fabric_client/values.py", pythonHead+strings.TrimRight(p.out.String(), "\n")+"\n")
}
