package fuzz

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// fatal ends the look at an answer; see [look].
func fatal(format string, args ...any) { panic(fault(fmt.Sprintf(format, args...))) }

// An answer, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// client never follows a redirect: an answer is what the first one said.
var client = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport:     &http.Transport{MaxIdleConnsPerHost: 32, DisableCompression: true},
}

// exchange sends a request and reads the answer.
func (p *plane) exchange(s sent) answer {
	base := p.url
	if s.simulated {
		base = p.simulate
	}
	host, err := url.Parse(base)
	if err != nil {
		fatal("%v", err)
	}
	path, query, asked := strings.Cut(s.target, "?")
	req := &http.Request{Method: s.method, URL: &url.URL{Scheme: "http", Host: host.Host, Opaque: "//" + host.Host + path, RawQuery: query, ForceQuery: asked && query == ""}, Header: s.header, Host: host.Host}
	if s.body != nil {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(s.body)), int64(len(s.body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(s.body)), nil }
	}
	resp, err := client.Do(req)
	if err != nil {
		fatal("no answer: %v\nto %v", err, s)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		fatal("half an answer: %v\nto %v", err, s)
	}
	return answer{resp.StatusCode, resp.Header, body}
}

var trace = regexp.MustCompile(`^[0-9a-f]{32}$`)

// check holds an answer against the document and against what every answer
// promises.
func (p *plane) check(s sent, a answer, before *seen) {
	fail := func(why string, args ...any) {
		fatal(why+"\n%d %v\n%.3000s\nto %v", append(args, a.status, a.header, a.body, s)...)
	}
	p.leaks(fail, s, a)
	if _, err := url.ParseRequestURI(s.target); err != nil && a.status == http.StatusBadRequest {
		return // the line itself is malformed: no operation is reached
	}
	if a.status >= 500 {
		fail("a failure of the server")
	}
	if !trace.MatchString(a.header.Get("X-Trace-Id")) {
		fail("no trace id")
	}
	media, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil && len(a.body) > 0 {
		fail("no content type")
	}
	if s.op == nil {
		// A step of the path that is empty may be looked at after who asks.
		if !slices.Contains([]int{400, 401, 403, 404, 405}, a.status) {
			fail("no operation of the document, and yet")
		}
		p.problem(fail, s, a, media, before)
		return
	}
	p.documented(fail, s, a, media, before)
	if a.status < 300 {
		if why := s.refuse(); why != "" {
			fail("it succeeded although %s", why)
		}
	}
	wants := s.op.access != "none" && s.op.access != "router"
	if wants && !s.simulated && (s.who.bearer == "" && s.who.access == "" || s.who.access == "bad") && a.status != http.StatusUnauthorized {
		fail("without a credential")
	}
	if a.status == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") == "" {
		fail("a 401 that asks for nothing")
	}
}

// documented looks for the status, the content type and the schema.
func (p *plane) documented(fail func(string, ...any), s sent, a answer, media string, before *seen) {
	response := s.op.spec.Responses.Status(a.status)
	switch {
	case response == nil && a.status == http.StatusNotModified && s.header.Get("If-None-Match") != "":
		if len(a.body) > 0 {
			fail("a body with 304")
		}
		return
	case response == nil:
		fail("%s does not document the status", s.op.id)
	case s.method == http.MethodHead || len(response.Value.Content) == 0:
		if len(a.body) > 0 {
			fail("a body that the document knows nothing of")
		}
		return
	}
	content := response.Value.Content[media]
	if content == nil {
		fail("%s documents %v only", s.op.id, slices.Sorted(maps.Keys(response.Value.Content)))
	}
	if media == "application/problem+json" {
		p.problem(fail, s, a, media, before)
		return
	}
	if media == "application/json" {
		conforms(fail, a, content.Schema.Value)
	}
}

func conforms(fail func(string, ...any), a answer, schema *openapi3.Schema) {
	var value any
	if err := json.Unmarshal(a.body, &value); err != nil {
		fail("no JSON: %v", err)
	}
	if err := schema.VisitJSON(value, openapi3.VisitAsResponse(), openapi3.MultiErrors()); err != nil {
		fail("off its schema: %v", err)
	}
}

func (p *plane) problem(fail func(string, ...any), s sent, a answer, media string, before *seen) {
	if s.method == http.MethodHead {
		return
	}
	if media != "application/problem+json" {
		fail("no problem document")
	}
	// But for their trace many problems are the same, letter by letter.
	id := a.header.Get("X-Trace-Id")
	text := fmt.Sprintf("%d %s", a.status, strings.ReplaceAll(string(a.body), `"`+id+`"`, `"trace"`))
	if before.sound[text] {
		return
	}
	conforms(fail, a, p.doc.Components.Schemas["Problem"].Value)
	var said struct {
		Status   int
		Instance string
	}
	if err := json.Unmarshal(a.body, &said); err != nil || said.Status != a.status || said.Instance != id {
		fail("a problem of another answer")
	}
	if len(before.sound) < 1000 {
		before.sound[text] = true
	}
}

// leaks finds secrets of tenants other than those who may read the answer:
// the caller's own, or for a simulated caller those that the request names.
func (p *plane) leaks(fail func(string, ...any), s sent, a answer) {
	whole := a.body
	for name, values := range a.header {
		for _, v := range values {
			whole = append(append(whole, name...), v...)
		}
	}
	for rest := whole; ; {
		i := bytes.Index(rest, []byte(bird))
		if i < 0 {
			return
		}
		rest = rest[i+len(bird):]
		for _, tenant := range tenants {
			mine := tenant == s.who.tenant || s.simulated && (strings.Contains(s.target, tenant) || bytes.Contains(s.body, []byte(tenant)))
			if bytes.HasPrefix(rest, []byte(tenant)) && !mine {
				fail("a secret of %s", tenant)
			}
		}
	}
}

// remember keeps what an answer names, for later requests of the operation.
func (b *seen) remember(who string, a answer) {
	var said struct {
		ID    string `json:"id"`
		Next  any    `json:"next"`
		Plan  string `json:"plan_digest"`
		Items []struct {
			ID string `json:"id"`
		} `json:"items"`
	}
	if a.status >= 300 || json.Unmarshal(a.body, &said) != nil {
		return
	}
	keep := func(in []string, one string) []string {
		if one == "" {
			return in
		}
		if len(in) >= 32 {
			in = in[1:]
		}
		return append(in, one)
	}
	next, _ := said.Next.(string)
	b.cursors = keep(b.cursors, next)
	b.ids[who] = keep(b.ids[who], said.ID)
	for _, item := range said.Items {
		b.ids[who] = keep(b.ids[who], item.ID)
	}
	b.digests[who] = keep(b.digests[who], said.Plan)
}
