package fuzz

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A template is a request's body that was in order.
type template struct {
	tenant string
	media  string
	body   []byte
	value  any // of JSON; never changed
}

// A sent request, with what must come of it.
type sent struct {
	who       person
	simulated bool
	method    string
	target    string // path and query, as they are on the line
	header    http.Header
	body      []byte
	op        *operation // that answers; nil: none does
}

func (s sent) String() string {
	body := s.body
	if len(body) > 2000 {
		body = body[:2000]
	}
	return fmt.Sprintf("%s %s\nby %s (simulated %t)\n%v\n%q", s.method, s.target, s.who.name, s.simulated, maps.Collect(func(yield func(string, []string) bool) {
		for name, values := range s.header {
			if name != "Authorization" && !yield(name, values) {
				return
			}
		}
	}), body)
}

// seen is what earlier answers of the operation named.
type seen struct {
	cursors      []string
	ids, digests map[string][]string
	patterns     map[string]*rapid.Generator[string]
	sound        map[string]bool // problems that follow their schema
	faulty       bool
}

func newSeen() *seen {
	return &seen{ids: map[string][]string{}, digests: map[string][]string{}, patterns: map[string]*rapid.Generator[string]{}, sound: map[string]bool{}}
}

// request draws the one of that number for the operation.
func (p *plane) request(seed uint64, op *operation, number int, before *seen) sent {
	d := &drawer{Rand: rand.New(rand.NewPCG(seed, hash(op.id)+uint64(number))), plane: p, seen: before, public: op.id == "requestAccess" || op.id == "decideAccess" || op.id == "registerFeature" || op.id == "recordDecisions" || op.id == "proposePolicy"}
	s := sent{header: http.Header{}, method: op.method}
	d.caller(op, &s)
	if d.chance(40) {
		d.wild = 4
	}
	media := d.content(op, &s)
	s.target = d.target(op, &s)
	if s.simulated && !strings.Contains(s.target, "?") && d.chance(80) {
		s.target += "?tenant=" + pick(d, tenants...)
	}
	d.headers(&s, media, number)
	if d.chance(2) {
		s.method = pick(d, "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND")
	}
	s.op = p.find(s.method, s.target)
	return s
}

// caller draws who asks.
func (d *drawer) caller(op *operation, s *sent) {
	fits := func(one person) bool {
		switch op.access {
		case "site", "enrolment":
			return one.access == op.access
		}
		if slices.Contains(op.roles, "data-plane") && len(op.roles) == 1 {
			return strings.HasSuffix(one.name, " plane")
		}
		return one.all
	}
	var right []person
	for _, one := range d.people {
		if fits(one) {
			right = append(right, one)
		}
	}
	switch n := d.IntN(100); {
	case n < 80:
		s.who = pick(d, right...)
	case n < 90:
		s.who = pick(d, d.people...)
	case n < 95:
		s.who = person{name: "nobody"}
	default:
		s.who, s.simulated = person{name: "a simulated caller"}, true
	}
	d.tenant = s.who.tenant
}

// target draws path and query.
func (d *drawer) target(op *operation, s *sent) string {
	path := op.path
	var query []string
	for _, p := range op.params {
		if p.In == openapi3.ParameterInHeader || p.In == openapi3.ParameterInQuery && d.chance(65) {
			continue
		}
		text := d.parameter(op, p, s)
		if p.In == openapi3.ParameterInPath {
			if !strings.Contains(text, "%") && !(op.rest && strings.HasSuffix(path, "{"+p.Name+"}")) {
				text = url.PathEscape(text)
			}
			path = strings.Replace(path, "{"+p.Name+"}", strings.NewReplacer(" ", "%20", "\n", "%0a", "\x00", "%00").Replace(text), 1)
			continue
		}
		query = append(query, url.QueryEscape(p.Name)+"="+url.QueryEscape(text))
		if d.chance(2) {
			query = append(query, url.QueryEscape(p.Name)+"="+url.QueryEscape(text))
		}
	}
	if d.chance(3) {
		query = append(query, pick(d, "x=1", "limit", "a[]=b", "%00=1", "tenant=", "=", "Limit=1", "a;b=c", "%=1"))
	}
	if d.chance(2) {
		path = pick(d, path+"/", "/"+path, path+"/..", path+"/%2e%2e/x", strings.ToUpper(path), path+"%2f", path+"/x", path+"%00", path+";x=1", "/."+path)
	}
	if len(query) > 0 {
		path += "?" + strings.Join(query, "&")
	}
	return path
}

func (d *drawer) parameter(op *operation, p *openapi3.Parameter, s *sent) string {
	if p.Name == "digest" && strings.HasPrefix(op.id, "put") && d.chance(70) {
		return string(artifact.DigestOf(s.body))
	}
	schema := p.Schema.Value
	switch {
	case p.Name == "wait_seconds" || p.Name == "wait":
		if d.chance(98) {
			return "0"
		}
		return pick(d, "1", "-1", "61", "x", "1.5", "")
	case d.chance(5):
		return pick(d, hostile...)
	case schema.Type.Is("integer") && d.chance(8):
		return pick(d, "1.0", "1e3", "0x1", "99999999999999999999", "-1", "+1", " 1", "NaN", "9223372036854775807")
	}
	switch v := d.value(schema, p.Name).(type) {
	case string:
		return v[:min(len(v), 4000)] // a longer line is refused before it is read
	case int64:
		return strconv.FormatInt(v, 10)
	default:
		text := encode(v)
		return string(text[:min(len(text), 4000)])
	}
}

// content draws a body and returns its media type.
func (d *drawer) content(op *operation, s *sent) string {
	if op.spec.RequestBody == nil {
		if d.chance(97) {
			return ""
		}
		s.body = []byte(pick(d, "{}", "x", `{"tenant":"south"}`))
		return "application/json"
	}
	schema := op.body()
	templates := d.bodies[op.id]
	if d.chance(85) { // another tenant's, now and then
		templates = slices.DeleteFunc(slices.Clone(templates), func(one template) bool { return d.tenant != "" && one.tenant != d.tenant })
	}
	var from template
	if len(templates) > 0 && d.chance(50) {
		from = pick(d, templates...)
		if from.tenant != d.tenant { // what it keeps secret is not for others to send
			from.body = bytes.ReplaceAll(from.body, []byte(bird+from.tenant), []byte("word-of-"+from.tenant))
			from.value = parsed(from.body)
		}
	}
	if schema == nil {
		s.body = from.body
		if from.body == nil {
			s.body = []byte(strings.Repeat(pick(d, "w", "\x00", "\x80\x04"), d.IntN(65)))
		}
		if d.chance(40) {
			s.body = d.mangle(s.body)
		}
		if from.media == "" {
			from.media = "application/octet-stream"
		}
		return from.media
	}
	var value any
	if from.body != nil {
		value = from.value
	} else {
		value = d.value(schema, "")
	}
	if d.chance(20) {
		value = d.mutate(value)
	}
	s.body = encode(value)
	if d.chance(8) {
		s.body = d.mangle(s.body)
	}
	return "application/json"
}

func (d *drawer) headers(s *sent, media string, number int) {
	if s.who.bearer != "" {
		scheme := "Bearer "
		if d.chance(2) {
			scheme = pick(d, "bearer ", "Basic ", "", "Bearer  ", "Bearer\t")
		}
		s.header.Set("Authorization", scheme+s.who.bearer)
		if scheme != "Bearer " {
			s.who = person{name: s.who.name + ", in other words", tenant: s.who.tenant, access: "odd"}
		}
	}
	switch n := d.IntN(100); {
	case s.method == http.MethodGet && n < 95, n < 3:
	case n < 92:
		s.header.Set("Idempotency-Key", "fuzz-"+strconv.Itoa(number))
	case n < 97:
		s.header.Set("Idempotency-Key", "again")
	default:
		s.header.Set("Idempotency-Key", pick(d, "é", strings.Repeat("k", 256), " ", "a b", "\"x\"", "../x"))
	}
	if media != "" {
		s.header.Set("Content-Type", media)
		if d.chance(3) {
			s.header.Set("Content-Type", pick(d, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "multipart/form-data", "multipart/form-data; boundary=", "x", "application/json;", "APPLICATION/JSON"))
		}
	}
	if d.chance(8) {
		name := pick(d, "Accept", "Range", "If-None-Match", "Content-Encoding", "X-Forwarded-For", "Forwarded", "Traceparent", "Content-Range", "Origin", "X-Http-Method-Override", "Cookie", "Accept-Encoding", "If-Range", "Expect")
		s.header.Set(name, pick(d, "bytes=0-0", "bytes=5-", "bytes=-5", "bytes=9999999-", "bytes=0-1,3-4", "*", "x", "gzip", "127.0.0.1", "for=evil", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			"00-ffffffffffffffffffffffffffffffff-0000000000000000-zz", "bytes 0-3/4", "bytes */4", "bytes 3-1/2", "bytes 0-99999999999999999999/1", "https://evil.example", "DELETE", "a=b", strings.Repeat("h", 5000)))
		if s.header.Get("Expect") != "" { // the line's own business
			s.header.Del("Expect")
		}
	}
	if d.chance(30) && (s.method == http.MethodPut) {
		s.header.Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(s.body)-1, len(s.body)))
	}
}

// refuse says why a request must not succeed, by the document alone; "" when it
// may.
func (s *sent) refuse() string {
	schema := s.op.body()
	if schema == nil || len(s.body) == 0 && !s.op.spec.RequestBody.Value.Required {
		return ""
	}
	var value any
	if err := artifact.DecodeStrict(s.body, &value); err != nil {
		return "its body is malformed: " + err.Error()
	}
	if err := schema.VisitJSON(value, openapi3.VisitAsRequest()); err != nil {
		return "its body does not follow the schema"
	}
	return ""
}

// parsed is the value of a JSON text, or nil.
func parsed(text []byte) any {
	var v any
	if json.Unmarshal(text, &v) != nil {
		return nil
	}
	return v
}

func hash(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	return h.Sum64()
}
