package router

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
)

// A span is the router's part of a trace (W3C Trace Context). Its texts are
// pieces of one: parent is traceparent for the runtime and for the answer.
type span struct {
	parent string // 00-<trace>-<id>-<flags>
	trace  string // 32 hex digits
	id     string // 16 hex digits, of the router's own span
}

// decision returns the id of the decision that is made in this span: of a
// trace that the caller chose, and of a span that it cannot choose.
func (s span) decision() string {
	if s.parent == "" {
		return "-"
	}
	return s.parent[3:52]
}

// traced begins a span and puts its names into the answer's headers, where
// [spanOf] finds them: a context for it would cost each call a copy of its request.
func traced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		s := newSpan(req.Header.Get("Traceparent"))
		values := [...]string{s.parent, s.trace}
		h := w.Header()
		h["Traceparent"], h["X-Trace-Id"] = values[0:1:1], values[1:2:2]
		next.ServeHTTP(w, req)
	})
}

// spanOf returns the span that an answer is made in.
func spanOf(w http.ResponseWriter) span {
	if text := w.Header()["Traceparent"]; len(text) == 1 && len(text[0]) == 55 {
		return span{parent: text[0], trace: text[0][3:35], id: text[0][36:52]}
	}
	return span{}
}

// newSpan goes on with the caller's trace or, if it has none that is well
// formed, starts one.
func newSpan(traceparent string) span {
	var fresh [24]byte
	_, _ = rand.Read(fresh[:]) // never fails: crypto/rand ends the program instead
	text := [55]byte{0: '0', 1: '0', 2: '-', 35: '-', 52: '-', 53: '0', 54: '1'}
	if trace, flags, ok := parseTraceparent(traceparent); ok {
		copy(text[3:], trace)
		copy(text[53:], flags)
	} else {
		hex.Encode(text[3:35], fresh[:16])
	}
	hex.Encode(text[36:52], fresh[16:])
	parent := string(text[:])
	return span{parent: parent, trace: parent[3:35], id: parent[36:52]}
}

// parseTraceparent returns the parts of a caller's traceparent that are kept.
func parseTraceparent(text string) (trace, flags string, ok bool) {
	if len(text) < 55 || text[2] != '-' || text[35] != '-' || text[52] != '-' || text[:2] == "ff" {
		return "", "", false
	}
	if len(text) > 55 && (text[:2] == "00" || text[55] != '-') { // a later version may have more
		return "", "", false
	}
	trace, flags = text[3:35], text[53:55]
	for _, part := range [...]string{text[:2], trace, text[36:52], flags} {
		if !lowerHex(part) {
			return "", "", false
		}
	}
	if zeros(trace) || zeros(text[36:52]) {
		return "", "", false
	}
	return trace, flags, true
}

func lowerHex(text string) bool {
	for i := range len(text) {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func zeros(text string) bool {
	for i := range len(text) {
		if text[i] != '0' {
			return false
		}
	}
	return true
}
