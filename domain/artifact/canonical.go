package artifact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Canonical returns the one encoding of v by the JSON Canonicalization Scheme:
// no white space, keys by ascending UTF-16 code units, shortest numbers and
// escapes. Equal values have equal bytes in any language, so their digest
// names them.
// Errors: [ErrNumber] for an integer that a float64 cannot hold, which the
// scheme would round (beyond 2^53 integers travel as text); what [DecodeStrict] refuses.
// Source: RFC 8785.
func Canonical(v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("canonical form: %w", err)
	}
	var tree any
	if err := DecodeStrict(plain, &tree); err != nil {
		return nil, fmt.Errorf("canonical form: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(plain))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		return nil, fmt.Errorf("canonical form: %w", err)
	}
	return appendCanonical(nil, tree)
}

func appendCanonical(out []byte, v any) ([]byte, error) {
	var err error
	switch v := v.(type) {
	case nil:
		return append(out, "null"...), nil
	case bool:
		return strconv.AppendBool(out, v), nil
	case string:
		return appendText(out, v), nil
	case json.Number:
		return appendNumber(out, v.String())
	case []any:
		out = append(out, '[')
		for i, elem := range v {
			if i > 0 {
				out = append(out, ',')
			}
			if out, err = appendCanonical(out, elem); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	case map[string]any:
		out = append(out, '{')
		for i, key := range sortedKeys(v) {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendText(out, key), ':')
			if out, err = appendCanonical(out, v[key]); err != nil {
				return nil, err
			}
		}
		return append(out, '}'), nil
	default:
		return nil, fmt.Errorf("canonical form of a %T: %w", v, ErrType)
	}
}

func sortedKeys(object map[string]any) []string {
	keys := make([]string, 0, len(object))
	for key := range object {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int {
		return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
	})
	return keys
}

// appendText escapes what RFC 8785 section 3.2.2.2 escapes, and nothing else.
func appendText(out []byte, s string) []byte {
	out = append(out, '"')
	for _, r := range s {
		switch r {
		case '"', '\\':
			out = append(out, '\\', byte(r))
		case '\b':
			out = append(out, `\b`...)
		case '\t':
			out = append(out, `\t`...)
		case '\n':
			out = append(out, `\n`...)
		case '\f':
			out = append(out, `\f`...)
		case '\r':
			out = append(out, `\r`...)
		default:
			if r < 0x20 {
				out = fmt.Appendf(out, `\u%04x`, r)
			} else {
				out = append(out, string(r)...)
			}
		}
	}
	return append(out, '"')
}

// appendNumber writes a number as ECMAScript does, which is also how
// encoding/json writes a float64. An integer that this would change is refused.
func appendNumber(out []byte, literal string) ([]byte, error) {
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", clip(literal), ErrNumber)
	}
	if f == 0 {
		return append(out, '0'), nil // also for -0
	}
	text, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", clip(literal), ErrNumber)
	}
	if !strings.ContainsAny(literal, ".eE") && string(text) != literal {
		return nil, fmt.Errorf("%s is not exact as a float64: %w", clip(literal), ErrNumber)
	}
	return append(out, text...), nil
}
