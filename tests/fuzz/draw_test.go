package fuzz

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"pgregory.net/rapid"
)

// A drawer draws one request, of values that follow a schema, mostly. What it
// draws follows from the seed, the operation and the number of the request, and
// from what earlier answers named.
type drawer struct {
	*rand.Rand
	*plane
	tenant string // of whoever will send it
	public bool   // what is said may be read by others, so it holds no canary
	seen   *seen  // of earlier answers
	wild   int    // how many of a hundred values are not what the schema says
}

// chance is true so many times of a hundred.
func (d *drawer) chance(percent int) bool {
	return d.IntN(100) < percent
}

// between includes both ends.
func (d *drawer) between(lo, hi int) int { return lo + d.IntN(hi-lo+1) }

func pick[T any](d *drawer, from ...T) T { return from[d.IntN(len(from))] }

// names that a schema lets through and a store may trip over, and worse.
var hostile = []string{
	"a..b", "..", ".", "a.", "a..", "-a", "A", "a/b", "a\\b", "%2e%2e", "a%2fb", "\x00", "é", "a b", "a\nb", "'; drop table x;--", "<script>alert(1)</script>", "con", "a--b", "a__b", "a.-b", "a_",
	strings.Repeat("x", 63), strings.Repeat("x", 64), strings.Repeat("y", 128), strings.Repeat("z", 300), "0", "-1", "null", "\U0001F600", "\u202eabc", "${jndi:x}", "{{7*7}}", "../../etc/passwd", "",
}

// odd are keys of pages of some list, and what is nearly one.
var odd = []string{
	"9223372036854775807", "9223372036854775808", "-9223372036854775808", "2147483648", "1.5", "1e9", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "2026-11-22T12:00:00Z",
	"9999-12-31T23:59:59.999999Z/x", "292278994-08-17T07:12:55Z", "north/f-north", "a/b/c/d", "/", "//", "|", "\x1f", "1/1", "north\x00f",
}

// junk is of the wrong type wherever it is put.
func (d *drawer) junk() any {
	return pick[any](d, nil, true, -1, 0, 1.5, 1e300, json.Number("99999999999999999999"), json.Number("-0"), json.Number("1e400"), "", "\x00", "\ufffd", strings.Repeat("x", 300),
		strings.Repeat("ü", 70_000), []any{}, map[string]any{}, map[string]any{"?": 1}, nested(200), []any{nil}, "2026-13-45T25:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", 1<<53+1)
}

func nested(depth int) any {
	var v any = "x"
	for range depth {
		v = []any{v}
	}
	return v
}

// value draws one for a schema, of a property of that name.
func (d *drawer) value(s *openapi3.Schema, name string) any {
	if d.wild > 0 && d.chance(d.wild) {
		return d.junk()
	}
	switch {
	case len(s.Enum) > 0:
		return pick(d, s.Enum...)
	case s.Type.Is("object"):
		return d.object(s)
	case s.Type.Is("array"):
		out := []any{}
		most := 3
		if s.MaxItems != nil {
			most = min(most, int(*s.MaxItems))
		}
		for range d.between(int(s.MinItems), max(int(s.MinItems), most)) {
			out = append(out, d.value(s.Items.Value, name))
		}
		return out
	case s.Type.Is("boolean"):
		return d.chance(50)
	case s.Type.Is("integer"):
		return d.integer(s)
	case s.Type.Is("number"):
		lo, hi := bounds(s, 1000)
		return pick(d, lo, hi, (lo+hi)/2, min(lo+1, hi))
	}
	return d.text(s, name)
}

func bounds(s *openapi3.Schema, most float64) (lo, hi float64) {
	hi = most
	if s.Min != nil {
		lo, hi = *s.Min, *s.Min+most
	}
	if s.Max != nil {
		hi = *s.Max
	}
	return lo, hi
}

func (d *drawer) integer(s *openapi3.Schema) any {
	lo, hi := bounds(s, 1000)
	if d.chance(70) {
		hi = min(hi, lo+4) // what exists has small numbers
	}
	return pick(d, int64(lo), int64(hi), int64(min(lo+1, hi)), int64(min(lo+2, hi)))
}

func (d *drawer) object(s *openapi3.Schema) any {
	out := map[string]any{}
	if len(s.Properties) == 0 { // a document that is passed on
		return pick(d, map[string]any{}, map[string]any{"type": "object", "description": d.free()}, map[string]any{"k": []any{1, d.free(), nil}})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) { // draws must not depend on the order of a map
		if !slices.Contains(s.Required, name) && d.chance(60) {
			continue
		}
		out[name] = d.value(s.Properties[name].Value, name)
	}
	return out
}

// free is a text that nothing is asked of: a secret of the sender's, often.
func (d *drawer) free() string {
	if d.tenant != "" && !d.public && d.chance(50) {
		return canary(d.tenant, strconv.Itoa(d.IntN(10)))
	}
	return pick(d, "x", "a reason", "<b>x</b>", "\u00e9\u4e2d\U0001F600", "\u202e", "line\nbreak", "\t", " ", "nul\x00", "\ufffd", "\U0010ffff", strings.Repeat("w", 199), "null", "'")
}

// name is one of something that exists, mostly of the sender's.
func (d *drawer) name(most int) string {
	whose := d.tenant
	if whose == "" || d.chance(25) {
		whose = pick(d, tenants...)
	}
	var text string
	switch n := d.IntN(20); {
	case n < 11:
		text = pick(d, d.ids[whose]...)
	case n < 13:
		text = whose
	case n < 15:
		text = pick(d, "eu", "us", "none", "production", "dev")
	case n < 16 && len(d.seen.ids[whose]) > 0:
		text = pick(d, d.seen.ids[whose]...)
	case n < 17:
		text = "n" + strconv.Itoa(d.IntN(100))
	case n < 18 && d.wild > 0:
		text = pick(d, hostile...)
	default:
		text = pick(d, "a..b", "a.", "a--b", "a__b", "a.-b", "0", strings.Repeat("x", most))
	}
	return text
}

func (d *drawer) text(s *openapi3.Schema, name string) string {
	most := 100
	if s.MaxLength != nil {
		most = int(*s.MaxLength)
	}
	switch {
	case name == "tenant" && d.tenant != "" && d.chance(85):
		return d.tenant
	case name == "tenants" && d.tenant != "" && d.chance(60):
		return d.tenant
	case name == "region" || name == "regions":
		return pick(d, "eu", "us", "eu", "mars")
	case name == "cursor" && len(d.seen.cursors) > 0 && d.chance(70):
		return pick(d, d.seen.cursors...)
	case name == "cursor" && d.chance(90): // that no page gave, but one might have
		return base64.RawURLEncoding.EncodeToString([]byte(pick(d, slices.Concat(hostile, odd)...)))
	case s.Format == "date-time":
		return pick(d, "2026-11-22T12:00:00Z", "2026-11-22T12:00:00.123456789+05:30", "2099-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-02-30T00:00:00Z")
	case strings.HasPrefix(s.Pattern, "^sha256:"):
		return d.digest()
	case strings.Contains(s.Pattern, "{0,62}$"):
		return d.name(63)
	case strings.Contains(s.Pattern, "{0,127}$"):
		return d.name(128)
	case name == "purpose" || name == "purposes":
		return pick(d, "GRU", "HMB", "DS-MONDO:0004992", "NRES", "POA")
	case s.Pattern != "":
		text := d.matching(s.Pattern)
		return text[:min(len(text), most)]
	case name == "bundle" || name == "message" || name == "public_key":
		return pick(d, "{}", "x", `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`, "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n")
	}
	text := d.free()
	if n := int(s.MinLength); len(text) < n {
		text += strings.Repeat("x", n-len(text))
	}
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return text
}

func (d *drawer) digest() string {
	whose := d.tenant
	if whose == "" || d.chance(20) {
		whose = pick(d, tenants...)
	}
	known := d.digests[whose]
	if len(d.seen.digests[whose]) > 0 && d.chance(50) {
		known = d.seen.digests[whose]
	}
	if len(known) > 0 && d.chance(80) {
		return pick(d, known...)
	}
	return "sha256:" + strings.Repeat(pick(d, "0", "a"), 64)
}

// matching is a text that follows a pattern.
func (d *drawer) matching(pattern string) string {
	g := d.seen.patterns[pattern]
	if g == nil { // parsing one takes longer than all else
		g = rapid.StringMatching(pattern)
		d.seen.patterns[pattern] = g
	}
	return g.Example(d.Int())
}
