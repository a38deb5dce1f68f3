package fuzz

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the fuzzer would say of answers that no server here gives.
func TestWhatTheFuzzerSees(t *testing.T) {
	doc, ops := document(t)
	p := &plane{doc: doc, ops: ops}
	const id = "0af7651916cd43dd8448eb211c80319c"
	north := person{name: "north all", tenant: "north", access: "token", bearer: "x", all: true}
	problem := func(says, code, trace string) string {
		return `{"type":"https://github.com/atom-fabric/fabric/blob/main/docs/errors.md#` + code + `","title":"t","status":` + says + `,"code":"` + code + `","instance":"` + trace + `"}`
	}
	type given struct {
		op     string
		who    person
		method string
		body   string // of the request
		target string
		status int
		media  string
		trace  string
		says   string
		head   [2]string
	}
	list := given{op: "listModels", who: north, method: "GET", target: "/models", status: 200, media: "application/json", trace: id, says: `{"items":[]}`}
	for _, c := range []struct {
		name   string
		change func(*given)
		want   string // "": nothing is wrong
	}{
		{"a page", func(*given) {}, ""},
		{"a problem", func(g *given) {
			g.status, g.media, g.says = 404, "application/problem+json", problem("404", "not_found", id)
		}, ""},
		{"a 500, though it is documented", func(g *given) {
			g.status, g.media, g.says = 500, "application/problem+json", problem("500", "internal", id)
		}, "a failure of the server"},
		{"a status that the document has not", func(g *given) { g.status, g.says, g.media = 204, "", "" }, "listModels does not document the status"},
		{"a member too many", func(g *given) { g.says = `{"items":[],"more":1}` }, "off its schema"},
		{"a member missing", func(g *given) { g.says = `{}` }, "off its schema"},
		{"a member of another type", func(g *given) { g.says = `{"items":{}}` }, "off its schema"},
		{"half an answer", func(g *given) { g.says = `{"items":[` }, "no JSON"},
		{"another media type", func(g *given) { g.media = "text/html" }, "listModels documents"},
		{"an own secret", func(g *given) { g.says = `{"items":[],"next":"` + canary("north", "x") + `"}` }, ""},
		{"another tenant's secret", func(g *given) { g.says = `{"items":[],"next":"` + canary("south", "x") + `"}` }, "a secret of south"},
		{"another tenant's secret in a header", func(g *given) { g.head = [2]string{"Location", "/x/" + canary("east", "x")} }, "a secret of east"},
		{"another tenant's secret in a refusal", func(g *given) {
			g.status, g.media, g.says = 404, "application/problem+json", strings.Replace(problem("404", "not_found", id), `"t"`, `"`+canary("east", "x")+`"`, 1)
		}, "a secret of east"},
		{"nobody is served", func(g *given) { g.who = person{name: "nobody"} }, "without a credential"},
		{"a token that nobody accepts", func(g *given) { g.who = person{name: "expired", access: "bad", bearer: "x"} }, "without a credential"},
		{"no trace", func(g *given) { g.trace = "" }, "no trace id"},
		{"the problem of another request", func(g *given) {
			g.status, g.media, g.says = 404, "application/problem+json", problem("404", "not_found", strings.Repeat("0", 32))
		}, "a problem of another answer"},
		{"the problem of another status", func(g *given) {
			g.status, g.media, g.says = 404, "application/problem+json", problem("409", "conflict", id)
		}, "a problem of another answer"},
		{"a refusal in plain words", func(g *given) { g.status, g.media, g.says = 404, "text/plain", "404 page not found" }, "listModels documents"},
		{"a refusal in plain words where there is no operation", func(g *given) {
			g.op, g.target, g.status, g.media, g.says = "", "/nothing", 404, "text/plain", "404 page not found"
		}, "no problem document"},
		{"an answer where there is no operation", func(g *given) { g.op, g.target = "", "/nothing" }, "no operation of the document, and yet"},
		{"who asks is not asked for", func(g *given) {
			g.status, g.media, g.says = 401, "application/problem+json", problem("401", "token_missing", id)
		}, "a 401 that asks for nothing"},
		{"a body off its schema is taken", func(g *given) {
			g.op, g.method, g.target, g.body, g.status = "startRun", "POST", "/train/round", `{"model_id":1,"tenants":["north"]}`, 202
			g.says = `{"id":"run-1","workflow_id":"run/run-1","status_url":"/train/runs/run-1","trace_id":"` + id + `"}`
		}, "it succeeded although its body does not follow the schema"},
		{"a body with a key twice is taken", func(g *given) {
			g.op, g.method, g.target, g.body, g.status = "startRun", "POST", "/train/round", `{"model_id":"m","model_id":"m","tenants":["north"]}`, 202
			g.says = `{"id":"run-1","workflow_id":"run/run-1","status_url":"/train/runs/run-1","trace_id":"` + id + `"}`
		}, "it succeeded although its body is malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := list
			c.change(&g)
			s := sent{who: g.who, method: g.method, target: g.target, header: http.Header{}, body: []byte(g.body)}
			if i := slices.IndexFunc(ops, func(o *operation) bool { return o.id == g.op }); i >= 0 {
				s.op = ops[i]
			}
			a := answer{g.status, http.Header{"Content-Type": {g.media}, "X-Trace-Id": {g.trace}}, []byte(g.says)}
			if g.head[0] != "" {
				a.header.Set(g.head[0], g.head[1])
			}
			found := look(func() { p.check(s, a, newSeen()) })
			if c.want == "" {
				require.Nil(t, found)
				return
			}
			require.NotNil(t, found)
			require.True(t, strings.HasPrefix(string(*found), c.want), "%s", *found)
		})
	}
}
