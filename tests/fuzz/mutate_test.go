package fuzz

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// mutate changes one place of a document.
func (d *drawer) mutate(v any) any {
	switch at := v.(type) {
	case map[string]any:
		if len(at) == 0 || d.chance(15) {
			out := maps.Clone(at)
			out[pick(d, "extra", "__proto__", "", "TENANT", "tenant", "\u0000", bird+"x")] = d.junk()
			return out
		}
		out := maps.Clone(at)
		name := pick(d, slices.Sorted(maps.Keys(at))...)
		switch d.IntN(5) {
		case 0:
			delete(out, name)
		case 1:
			out[strings.ToUpper(name)] = at[name]
			delete(out, name)
		default:
			out[name] = d.mutate(at[name])
		}
		return out
	case []any:
		if len(at) == 0 || d.chance(20) {
			return append(slices.Clone(at), slices.Concat(at, []any{d.junk()})...)
		}
		out := slices.Clone(at)
		i := d.IntN(len(at))
		out[i] = d.mutate(at[i])
		return out
	case string:
		if d.chance(60) {
			return pick(d, hostile...)
		}
	}
	return d.junk()
}

// mangle changes the text of a document, so that it is hardly one any more.
func (d *drawer) mangle(text []byte) []byte {
	switch d.IntN(10) {
	case 0: // cut off
		return text[:d.between(0, len(text))]
	case 1: // a key twice
		if i := bytes.IndexByte(text, '{'); i >= 0 {
			if name, _, ok := bytes.Cut(text[i+1:], []byte(":")); ok && len(name) > 0 {
				return slices.Concat(text[:i+1], name, []byte(":null,"), text[i+1:])
			}
		}
	case 2:
		return append(slices.Clone(text), pick(d, "{}", "x", "\x00", " 1", ",")...)
	case 3:
		return slices.Concat([]byte("\xef\xbb\xbf"), text)
	case 4:
		return bytes.Replace(text, []byte(`"`), []byte("\"\xff"), 1)
	case 5:
		return bytes.Replace(text, []byte(`:"`), []byte(`:"\ud800`), 1)
	case 6:
		return []byte(pick(d, "", "null", "[]", "1", `"x"`, "{", "tru", "[[[[[[[[", "\x00", "<xml/>", "a=b&c=d"))
	case 7:
		return bytes.Repeat([]byte("["), 100_000)
	case 8:
		if d.chance(10) {
			return slices.Concat([]byte(`{"x":"`), bytes.Repeat([]byte("x"), 1<<20), []byte(`"}`))
		}
	}
	if len(text) > 0 { // a byte flipped
		out := slices.Clone(text)
		out[d.IntN(len(text))] ^= byte(d.between(1, 255))
		return out
	}
	return text
}

func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil { // an impossible number, as text
		return []byte(`{"x":1e999}`)
	}
	return text
}
