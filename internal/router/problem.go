package router

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// problemTypes is where docs/protocol/invoke.md is read; a code is an anchor in it.
const problemTypes = "https://github.com/atom-fabric/fabric/blob/main/docs/protocol/invoke.md#"

// A problem is a refusal: an RFC 9457 problem document. Its texts are written
// here; nothing of another process's error and no value of a request gets in.
type problem struct {
	code   string
	status int
	title  string
	detail string
	errors []fieldError
	retry  int  // seconds, 0: no Retry-After
	oip    bool // a client of the Open Inference Protocol reads it
}

// A fieldError is what is wrong at a place of the body.
type fieldError struct {
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

func (p *problem) Error() string { return p.code + ": " + p.detail }

type problemDocument struct {
	Type     string       `json:"type"`
	Title    string       `json:"title"`
	Status   int          `json:"status"`
	Detail   string       `json:"detail,omitempty"`
	Instance string       `json:"instance"`
	Code     string       `json:"code"`
	Errors   []fieldError `json:"errors,omitempty"`
	Error    string       `json:"error,omitempty"` // of the Open Inference Protocol
}

// refuse answers with a problem document.
func (r *Router) refuse(w http.ResponseWriter, req *http.Request, p problem) {
	doc := problemDocument{
		Type: problemTypes + p.code, Title: p.title, Status: p.status, Detail: p.detail,
		Instance: spanOf(w).trace, Code: p.code, Errors: p.errors,
	}
	if p.oip {
		doc.Error = strings.TrimSuffix(p.title+": "+p.detail, ": ")
	}
	text, err := json.Marshal(doc)
	if err != nil { // only texts and numbers
		r.opts.Log.Error("problem document", "err", err)
	}
	if p.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retry))
	}
	if p.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="fabric"`)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(p.status)
	_, _ = w.Write(text)
}

// The problems that are made at more than one place.

func badField(pointer, format string, args ...any) *problem {
	return &problem{code: "bad_request", status: http.StatusBadRequest, title: "The request is malformed",
		errors: []fieldError{{pointer, fmt.Sprintf(format, args...)}}}
}

func badInput(pointer, format string, args ...any) *problem {
	return &problem{code: "bad_input", status: http.StatusUnprocessableEntity, title: "The model cannot take this input",
		errors: []fieldError{{pointer, fmt.Sprintf(format, args...)}}}
}

func noRoute(format string, args ...any) *problem {
	return &problem{code: "no_route", status: http.StatusNotFound, title: "No version of this model has been promoted for this caller",
		detail: fmt.Sprintf(format, args...)}
}

func notFound() *problem {
	return &problem{code: "not_found", status: http.StatusNotFound, title: "There is no such thing"}
}
