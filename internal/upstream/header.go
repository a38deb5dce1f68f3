package upstream

import (
	"iter"
	"net/http"
	"strings"
)

// A Header is the fields of an answer, as they came.
type Header struct {
	raw    []byte // lines of "name: value\r\n", checked
	parsed http.Header
}

// Get returns the value of the first field of that name, or "".
func (h Header) Get(name string) string {
	if h.parsed != nil {
		return h.parsed.Get(name)
	}
	for rest := h.raw; len(rest) > 0; {
		var field, value []byte
		field, value, rest = line(rest)
		if same(field, name) {
			return string(value)
		}
	}
	return ""
}

// All yields the fields that a proxy passes on, in order: not those that
// concern one connection (RFC 9110, section 7.6.1), and no Content-Length.
func (h Header) All() iter.Seq2[string, string] {
	return func(out func(name, value string) bool) {
		named := strings.ToLower(h.Get("Connection"))
		yield := func(name, value string) bool { return hop(name, named) || out(name, value) }
		for name, values := range h.parsed {
			for _, value := range values {
				if !yield(name, value) {
					return
				}
			}
		}
		for rest := h.raw; len(rest) > 0; {
			var field, value []byte
			field, value, rest = line(rest)
			if !yield(string(field), string(value)) {
				return
			}
		}
	}
}

// line splits the first of checked lines.
func line(raw []byte) (name, value, rest []byte) {
	colon, end := -1, 0
	for raw[end] != '\r' {
		if colon < 0 && raw[end] == ':' {
			colon = end
		}
		end++
	}
	return raw[:colon], trim(raw[colon+1 : end]), raw[end+2:]
}

// trim takes spaces and tabs off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// same compares ASCII without regard to case.
func same(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// hop reports whether a field concerns one connection; named is the
// Connection field.
func hop(name, named string) bool {
	name = strings.ToLower(name)
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "trailer", "upgrade", "content-length":
		return true
	}
	for named != "" {
		var one string
		one, named, _ = strings.Cut(named, ",")
		if strings.TrimSpace(one) == name {
			return true
		}
	}
	return false
}

// tokenByte reports the tchar of RFC 9110, section 5.6.2: the bits are ASCII.
func tokenByte(c byte) bool {
	const low, high = 0x03ff_6cfa_0000_0000, 0x57ff_ffff_c7ff_fffe
	return c < 64 && uint64(low)>>c&1 == 1 || c >= 64 && c < 128 && uint64(high)>>(c-64)&1 == 1
}

func token[T string | []byte](s T) bool {
	for i := range len(s) {
		if !tokenByte(s[i]) {
			return false
		}
	}
	return len(s) > 0
}

// valid reports whether a field value has no control characters but tabs.
func valid[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// visible reports whether a target is made of visible ASCII.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
