package telemetry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
)

// redacted stands where a secret or personal value would be.
const redacted = "[redacted]"

// A redactor knows by which names and by which looks a value is secret. Both
// are needed: a token under an innocent name has the look, a password has only
// the name.
type redactor struct {
	names *regexp.Regexp
	looks []look
}

// A look is a pattern of a secret in running text. The text of the first
// group, where there is one, is kept: it says what was removed.
type look struct {
	pattern *regexp.Regexp
	instead string
}

func newRedactor() *redactor {
	return &redactor{
		names: regexp.MustCompile(`(?i)(secret|token|passw|passphrase|authorization|api[-_]?key|private[-_]?key|cookie|dsn|credential|e?-?mail$|patient)`),
		looks: []look{
			{regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)`), redacted},
			{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`), "$1 " + redacted},
			{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`), redacted},
			{regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@]*):[^\s@]+@`), "$1:" + redacted + "@"},
			{regexp.MustCompile(`(?i)(\b\w*(?:password|passwd|pwd|secret|token))=('[^']*'|[^\s&;]+)`), "$1=" + redacted},
			{regexp.MustCompile(`\b(AKIA|ASIA)[0-9A-Z]{16}\b`), redacted},
			{regexp.MustCompile(`\bhv[sbr]\.[A-Za-z0-9_-]{8,}`), redacted},
			{regexp.MustCompile(`\b[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}\b`), redacted},
		},
	}
}

// text returns s without the secrets that can be recognised in it.
func (r *redactor) text(s string) string {
	for _, l := range r.looks {
		s = l.pattern.ReplaceAllString(s, l.instead)
	}
	return s
}

// attr is a slog ReplaceAttr: it sees every attribute, the message included.
func (r *redactor) attr(_ []string, a slog.Attr) slog.Attr {
	if r.names.MatchString(a.Key) {
		return slog.String(a.Key, redacted)
	}
	switch a.Value.Kind() {
	case slog.KindString:
		return slog.String(a.Key, r.text(a.Value.String()))
	case slog.KindAny:
		return slog.Attr{Key: a.Key, Value: r.value(a.Value.Any())}
	default:
		return a
	}
}

// value redacts what is not plain text: an error by its text, anything else by
// its JSON form, field by field. What has no JSON form is printed, then
// redacted as text.
func (r *redactor) value(v any) slog.Value {
	if err, ok := v.(error); ok {
		return slog.StringValue(r.text(err.Error()))
	}
	if _, ok := v.(*slog.Source); ok {
		return slog.AnyValue(v)
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		return slog.StringValue(r.text(fmt.Sprint(v)))
	}
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber() // 64-bit integers stay what they are
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return slog.StringValue(r.text(string(encoded)))
	}
	return slog.AnyValue(r.tree(tree))
}

func (r *redactor) tree(v any) any {
	switch v := v.(type) {
	case string:
		return r.text(v)
	case []any:
		for i := range v {
			v[i] = r.tree(v[i])
		}
		return v
	case map[string]any:
		for name := range v {
			if r.names.MatchString(name) {
				v[name] = redacted
				continue
			}
			v[name] = r.tree(v[name])
		}
		return v
	default:
		return v
	}
}
