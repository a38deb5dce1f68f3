package strictjson

import "bytes"

// Elements calls visit with each element of an array that passed, in order,
// until visit returns false. It returns false if that happened, or if value is
// no array.
func Elements(value []byte, visit func(element []byte) bool) bool {
	s := scanner{raw: value}
	if s.space(); s.peek() != '[' {
		return false
	}
	s.at++
	for s.space(); s.at < len(value) && s.raw[s.at] != ']'; s.space() {
		if s.raw[s.at] == ',' {
			s.at++
			s.space()
		}
		from := s.at
		s.skip()
		if s.at == from || !visit(value[from:s.at:s.at]) {
			return false
		}
	}
	return true
}

// skip steps over a value of a text that passed.
func (s *scanner) skip() {
	for depth := 0; s.at < len(s.raw); {
		switch s.raw[s.at] {
		case '[':
			depth++
			s.at++
			s.flat()
		case '{':
			depth++
			s.at++
		case '}', ']':
			if depth == 0 {
				return // the end of what the value is in
			}
			depth--
			if s.at++; depth == 0 {
				return
			}
		case '"':
			if s.quoted(); depth == 0 {
				return
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return
			}
			s.at++
		default:
			s.at++
		}
	}
}

// flat steps to the end of an array that has nothing but numbers and words in
// it, as tensors have, at the speed of the memory.
func (s *scanner) flat() {
	end := bytes.IndexByte(s.raw[s.at:], ']')
	if end < 0 {
		return
	}
	for _, c := range [...]byte{'[', '"', '{'} {
		if bytes.IndexByte(s.raw[s.at:s.at+end], c) >= 0 {
			return
		}
	}
	s.at += end
}

// quoted steps over a string.
func (s *scanner) quoted() {
	for s.at++; s.at < len(s.raw) && s.raw[s.at] != '"'; s.at++ {
		if s.raw[s.at] == '\\' {
			s.at++
		}
	}
	s.at = min(s.at+1, len(s.raw))
}

// Members calls visit with each member of an object that passed, in order, until
// visit returns false. It returns false if that happened, or if value is no
// object. The name is without quotes and escapes.
func Members(value []byte, visit func(name, value []byte) bool) bool {
	s := scanner{raw: value}
	if s.space(); s.peek() != '{' {
		return false
	}
	s.at++
	for s.space(); s.at < len(value) && s.raw[s.at] != '}'; s.space() {
		if s.raw[s.at] == ',' {
			s.at++
			s.space()
		}
		from := s.at
		s.quoted()
		name := Text(value[from:s.at])
		for s.space(); s.peek() == ':'; s.space() {
			s.at++
		}
		if from = s.at; from >= len(value) {
			return false
		}
		s.skip()
		if s.at == from || !visit(name, value[from:s.at:s.at]) {
			return false
		}
	}
	return true
}

// Text returns what a string of a text that passed stands for, nil if it is
// none. It shares the memory of the text if there are no escapes in it.
func Text(quoted []byte) []byte {
	if len(quoted) < 2 || quoted[0] != '"' {
		return nil
	}
	if plain := quoted[1 : len(quoted)-1 : len(quoted)-1]; bytes.IndexByte(plain, '\\') < 0 {
		return plain
	}
	return unquote(quoted)
}
