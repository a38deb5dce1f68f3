package router

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
)

// A span is the router's part of a trace (W3C Trace Context).
type span struct {
	trace  string // 32 hex digits
	id     string // 16 hex digits, of the router's own span
	parent string // traceparent for the runtime and for the answer
}

// decision returns the id of the decision that is made in this span: of a
// trace that the caller chose, and of a span that it cannot choose.
func (s span) decision() string { return s.trace + "-" + s.id }

type spanKey struct{}

// traced puts a span into the context and its names into the answer's headers.
func traced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		s := newSpan(req.Header.Get("Traceparent"))
		w.Header().Set("Traceparent", s.parent)
		w.Header().Set("X-Trace-Id", s.trace)
		next.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), spanKey{}, s)))
	})
}

func traceOf(ctx context.Context) span {
	s, _ := ctx.Value(spanKey{}).(span)
	return s
}

// newSpan goes on with the caller's trace or, if it has none that is well
// formed, starts one.
func newSpan(traceparent string) span {
	trace, flags, ok := parseTraceparent(traceparent)
	if !ok {
		trace, flags = random(16), "01"
	}
	s := span{trace: trace, id: random(8)}
	s.parent = "00-" + s.trace + "-" + s.id + "-" + flags
	return s
}

func parseTraceparent(text string) (trace, flags string, ok bool) {
	parts := strings.Split(text, "-")
	if len(parts) < 4 || len(parts[0]) != 2 || parts[0] == "ff" || parts[0] == "00" && len(parts) != 4 {
		return "", "", false
	}
	for i, size := range []int{2, 32, 16, 2} {
		if len(parts[i]) != size || strings.Trim(parts[i], "0123456789abcdef") != "" {
			return "", "", false
		}
	}
	if strings.Trim(parts[1], "0") == "" || strings.Trim(parts[2], "0") == "" {
		return "", "", false
	}
	return parts[1], parts[3], true
}

func random(size int) string {
	raw := make([]byte, size)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(raw)
}
