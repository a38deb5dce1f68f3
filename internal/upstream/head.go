package upstream

import (
	"bytes"
	"strings"
)

// head returns the bytes up to the empty line, and steps over them.
func (r *reader) head() ([]byte, error) {
	for seen := 0; ; {
		var have []byte
		if r.buffer != nil {
			have = r.buffer.b[r.from:r.to]
		}
		if end := bytes.Index(have[seen:], []byte("\r\n\r\n")); end >= 0 {
			end += seen + 4
			if end > maxHead {
				return nil, ErrAnswer
			}
			r.from += end
			return have[:end], nil
		}
		if len(have) > maxHead {
			return nil, ErrAnswer
		}
		seen = max(0, len(have)-3)
		if err := r.fill(maxHead + smallSize); err != nil {
			return nil, err
		}
	}
}

// parse reads the status line and the fields of a head. What two readers could
// frame differently is refused.
func parse(head []byte, method string, fields *Header) (status int, f framing, err error) {
	// HTTP/1.1 200 OK
	if len(head) < 15 || string(head[:7]) != "HTTP/1." || head[7] != '0' && head[7] != '1' || head[8] != ' ' {
		return 0, f, ErrAnswer
	}
	for _, c := range head[9:12] {
		if c < '0' || c > '9' {
			return 0, f, ErrAnswer
		}
		status = status*10 + int(c-'0')
	}
	end := bytes.IndexByte(head, '\r')
	if status < 100 || head[12] != ' ' && head[12] != '\r' || head[end+1] != '\n' || !valid(head[12:end]) {
		return 0, f, ErrAnswer
	}
	f.keep = head[7] == '1'
	fields.raw = head[end+2 : len(head)-2]
	length := int64(-1)
	for rest := fields.raw; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\r')
		colon := bytes.IndexByte(rest[:end], ':')
		if rest[end+1] != '\n' || colon < 0 || !token(rest[:colon]) {
			return 0, f, ErrAnswer
		}
		name, value := rest[:colon], trim(rest[colon+1:end])
		rest = rest[end+2:]
		if !valid(value) {
			return 0, f, ErrAnswer
		}
		switch {
		case same(name, "Content-Length"):
			if length >= 0 || len(value) == 0 || len(value) > maxDigits {
				return 0, f, ErrAnswer
			}
			length = 0
			for _, c := range value {
				if c < '0' || c > '9' {
					return 0, f, ErrAnswer
				}
				length = length*10 + int64(c-'0')
			}
		case same(name, "Transfer-Encoding"):
			if f.chunked || !same(value, "chunked") || head[7] != '1' {
				return 0, f, ErrAnswer
			}
			f.chunked = true
		case same(name, "Connection"):
			if strings.Contains(strings.ToLower(string(value)), "close") {
				f.keep = false
			}
		}
	}
	if f.chunked && length >= 0 {
		return 0, f, ErrAnswer
	}
	switch {
	case status < 200 || status == 204 || status == 304 || method == "HEAD":
		if f.chunked || length > 0 && status < 300 && method != "HEAD" {
			return 0, f, ErrAnswer
		}
		f.left, f.ended = 0, true
	case f.chunked:
	case length >= 0:
		f.left, f.ended = length, length == 0
	default:
		f.left, f.keep = -1, false
	}
	return status, f, nil
}

// streams are the types that are sent piece by piece, and wanted so.
func streams(h Header) bool {
	kind := h.Get("Content-Type")
	return strings.HasPrefix(kind, "text/event-stream") || strings.HasPrefix(kind, "application/x-ndjson")
}
