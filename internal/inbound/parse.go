package inbound

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// A verdict is what a head is.
type verdict int

const (
	ended     verdict = iota // there is none
	plain                    // a request that is answered here
	other                    // one for net/http
	malformed                // and the status of the answer to these
	tooLarge
	tooSlow
)

func (v verdict) status() (int, string) {
	switch v {
	case tooLarge:
		return http.StatusRequestHeaderFieldsTooLarge, "431 Request Header Fields Too Large"
	case tooSlow:
		return http.StatusRequestTimeout, "408 Request Timeout"
	}
	return http.StatusBadRequest, "400 Bad Request"
}

const (
	maxFields = 128
	maxDigits = 15
)

// parse fills in the request. The head ends with its empty line.
func (c *conn) parse(head []byte) verdict {
	text := string(head) // the one copy, that all values are parts of
	first, rest, _ := strings.Cut(text, "\r\n")
	method, target, ok := strings.Cut(first, " ")
	target, version, ok2 := strings.Cut(target, " ")
	if !ok || !ok2 || version != "HTTP/1.1" || method != http.MethodPost && method != http.MethodGet || !origin(target) {
		return c.otherwise(len(head))
	}
	clear(c.header)
	c.values = c.values[:0]
	f := fields{}
	for fields := 0; rest != "\r\n"; fields++ {
		if fields == maxFields {
			return tooLarge
		}
		var line string
		line, rest, _ = strings.Cut(rest, "\r\n")
		colon := strings.IndexByte(line, ':')
		if colon < 1 || !token(line[:colon]) {
			return malformed
		}
		value := strings.Trim(line[colon+1:], " \t")
		if !valid(value) {
			return malformed
		}
		name := textproto.CanonicalMIMEHeaderKey(line[:colon])
		if verdict := f.take(name, value); verdict != plain {
			return verdict
		}
		if name != "Host" {
			c.add(name, value)
		}
	}
	switch {
	case f.coded && f.sized || f.hosts != 1:
		return malformed
	case f.coded || f.special || method == http.MethodGet && f.length > 0:
		return c.otherwise(len(head))
	}
	c.url = url.URL{Path: target}
	if strings.ContainsAny(target, "?%") || strings.HasPrefix(target, "//") {
		parsed, err := url.ParseRequestURI(target)
		if err != nil {
			return malformed
		}
		c.url = *parsed
	}
	c.req = c.base
	c.req.Method, c.req.URL, c.req.RequestURI, c.req.Host = method, &c.url, target, f.host
	c.req.Header, c.req.ContentLength = c.header, f.length
	c.body.left, c.body.err = f.length, nil
	if c.req.Body = http.NoBody; f.length > 0 {
		c.req.Body = &c.body
	}
	c.last = f.last
	return plain
}

// otherwise leaves the head where it was, for net/http to read again.
func (c *conn) otherwise(size int) verdict {
	c.from -= size
	return other
}

func (c *conn) add(name, value string) {
	if have := c.header[name]; have != nil {
		c.header[name] = append(have[:len(have):len(have)], value)
		return
	}
	c.values = append(c.values, value)
	n := len(c.values)
	c.header[name] = c.values[n-1 : n : n]
}

// fields are those that frame a request.
type fields struct {
	host    string
	hosts   int
	length  int64
	sized   bool
	coded   bool // in chunks
	special bool
	last    bool
}

func (f *fields) take(name, value string) verdict {
	switch name {
	case "Host":
		f.host = value
		f.hosts++
		if value == "" || strings.ContainsAny(value, " \t/?#@\\") {
			return malformed
		}
	case "Content-Length":
		if f.sized || value == "" || len(value) > maxDigits {
			return malformed
		}
		f.sized = true
		for i := range len(value) {
			if value[i] < '0' || value[i] > '9' {
				return malformed
			}
			f.length = f.length*10 + int64(value[i]-'0')
		}
	case "Transfer-Encoding":
		if f.coded || !strings.EqualFold(value, "chunked") {
			return malformed
		}
		f.coded = true
	case "Expect", "Upgrade", "Trailer", "Http2-Settings":
		f.special = true
	case "Connection":
		switch strings.ToLower(value) {
		case "keep-alive":
		case "close":
			f.last = true
		default:
			f.special = true
		}
	}
	return plain
}

// origin reports whether a target is a path of visible ASCII.
func origin(s string) bool {
	if s == "" || s[0] != '/' {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '#' {
			return false
		}
	}
	return true
}

// token reports a token of RFC 9110, section 5.6.2: the bits are ASCII.
func token(s string) bool {
	const low, high uint64 = 0x03ff_6cfa_0000_0000, 0x57ff_ffff_c7ff_fffe
	for i := range len(s) {
		c := s[i]
		if c < 64 && low>>c&1 == 0 || c >= 64 && (c >= 128 || high>>(c-64)&1 == 0) {
			return false
		}
	}
	return true
}

// valid reports whether a value has no control characters but tabs.
func valid(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}
