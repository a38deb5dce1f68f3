package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// The forms in which a command says what it found.
const (
	asTable = "table"
	asJSON  = "json"
	asYAML  = "yaml"
)

// moreForms is the annotation of a command that knows other forms than these.
const moreForms = "fabric/forms"

// checkForm refuses a form before anything was done for it.
func (a *app) checkForm(cmd *cobra.Command) error {
	forms := []string{asTable, asJSON, asYAML}
	if own := cmd.Annotations[moreForms]; own != "" {
		forms = append(strings.Split(own, ","), asTable)
	}
	if !slices.Contains(forms, a.output) {
		return usage(fmt.Errorf("--output %q: choose %s", a.output, strings.Join(forms, ", ")))
	}
	return nil
}

// print writes v as JSON or YAML, or as the table that rows draws.
func (a *app) print(v any, rows func(w *tabwriter.Writer)) error {
	text, err := a.render(v, rows)
	if err != nil {
		return err
	}
	_, err = a.Out.Write(text)
	return err
}

// render is print without the writing.
func (a *app) render(v any, rows func(w *tabwriter.Writer)) ([]byte, error) {
	var b bytes.Buffer
	switch a.output {
	case asJSON:
		encoder := json.NewEncoder(&b)
		encoder.SetIndent("", "  ")
		err := encoder.Encode(v)
		return b.Bytes(), err
	case asYAML:
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		return toYAML(text)
	default:
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		rows(w)
		err := w.Flush()
		return b.Bytes(), err
	}
}

// printText writes one line for people, or the value behind it.
func (a *app) printText(v any, format string, args ...any) error {
	return a.print(v, func(w *tabwriter.Writer) { fmt.Fprintf(w, format, args...) })
}

// also writes a line for people beside what was printed: where that is a value
// for a program, it goes to standard error.
func (a *app) also(format string, args ...any) error {
	w := a.Out
	if a.output != asTable {
		w = a.notes()
	}
	_, err := fmt.Fprintf(w, format, args...)
	return err
}

// toYAML writes a JSON value as YAML: the same keys in the same order, and
// each text, number and truth value as what it was.
func toYAML(text []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	node, err := yamlNode(decoder)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(node); err != nil {
		return nil, err
	}
	err = encoder.Close()
	return b.Bytes(), err
}

// yamlNode reads the next JSON value.
func yamlNode(decoder *json.Decoder) (*yaml.Node, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch value := token.(type) {
	case json.Delim:
		node := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		if value == '{' {
			node = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		}
		for decoder.More() { // keys are values of their own here
			item, err := yamlNode(decoder)
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, item)
		}
		_, err := decoder.Token() // the closing bracket
		return node, err
	case json.Number:
		tag := "!!int"
		if strings.ContainsAny(value.String(), ".eE") {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(value)}, nil
	case string:
		return yamlText(value), nil
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
	}
}

// yamlText quotes what a reader of YAML 1.1 would take for a truth value, too.
func yamlText(text string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if slices.Contains([]string{"y", "n", "yes", "no", "on", "off"}, strings.ToLower(text)) {
		node.Style = yaml.DoubleQuotedStyle
	}
	return node
}

// terminal says whether a stream is one that a person looks at, and that
// understands more than lines.
func (a *app) terminal(stream any) bool {
	if a.env("NO_COLOR") != "" || a.env("TERM") == "dumb" || a.env("CI") != "" {
		return false
	}
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// notes is where a command says how it gets on: standard error, or nowhere
// with --quiet.
func (a *app) notes() io.Writer {
	if a.quiet {
		return io.Discard
	}
	return a.Err
}
