package strictjson

import (
	"encoding/json"
	"unicode/utf8"
)

// text reads a string and returns it with its quotes, and whether it stands for
// itself: ASCII without escapes.
func (s *scanner) text() (quoted []byte, plain bool, err error) {
	from := s.at
	plain = true
	for at := from + 1; at < len(s.raw); {
		switch c := s.raw[at]; {
		case c == '"':
			s.at = at + 1
			return s.raw[from:s.at], plain, nil
		case c < ' ':
			return nil, false, ErrSyntax
		case c == '\\':
			plain = false
			size := s.escaped(at)
			if size == 0 {
				return nil, false, ErrSyntax
			}
			at += size
		case c < utf8.RuneSelf:
			at++
		default:
			r, size := utf8.DecodeRune(s.raw[at:])
			if r == utf8.RuneError && size == 1 {
				return nil, false, ErrEncoding
			}
			plain = false
			at += size
		}
	}
	return nil, false, ErrSyntax
}

// escaped returns the length of the escape at a place, or 0 if it is none.
func (s *scanner) escaped(at int) int {
	if at+1 >= len(s.raw) {
		return 0
	}
	switch s.raw[at+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if at+6 > len(s.raw) {
			return 0
		}
		for _, c := range s.raw[at+2 : at+6] {
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
				return 0
			}
		}
		return 6
	}
	return 0
}

func unquote(quoted []byte) []byte {
	var plain string
	if err := json.Unmarshal(quoted, &plain); err != nil {
		return quoted // not reached: the text is valid
	}
	return []byte(plain)
}
