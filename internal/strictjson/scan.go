// Package strictjson refuses the JSON texts that two readers could understand
// differently: a name that occurs twice in an object, also in another case or
// another escaping, text after the value, invalid UTF-8, bottomless nesting.
//
// It scans once and leaves values as the bytes that they are, for requests
// whose larger part is passed on unread. Our own documents are decoded against
// their types by artifact.DecodeStrict instead.
//
// Invariant: what passes means the same to every parser of RFC 8259, so the
// part that was checked is the part that is used. No error holds a value of
// the text, only the place.
package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Why a text is refused.
var (
	ErrSyntax    = errors.New("not one JSON value")
	ErrEncoding  = errors.New("not UTF-8")
	ErrDuplicate = errors.New("the name occurs twice")
	ErrDepth     = errors.New("nested too deep")
	ErrNotObject = errors.New("not an object")
	ErrUnknown   = errors.New("no such field")
)

// maxDepth is how deep arrays and objects may nest.
const maxDepth = 64

// An Error says where the text is at fault, and why.
type Error struct {
	Pointer string // RFC 6901; "" is the whole text
	Err     error
}

func (e *Error) Error() string { return fmt.Sprintf("json at %q: %v", e.Pointer, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// A Member is a name of an object with its value as it was written. Value
// shares the memory of the text.
type Member struct {
	Name  string
	Value json.RawMessage
}

// Check returns nil if raw is one JSON value that passes, else an [*Error].
func Check(raw []byte) error {
	_, err := scan(raw, false)
	return err
}

// Object checks raw at every depth and returns the members of the object that
// it is, in order. Names are compared by the caller, exactly.
func Object(raw []byte) ([]Member, error) { return scan(raw, true) }

// Decode checks raw and decodes it into a struct of which it may name only
// known fields, and these in their exact case.
func Decode(raw []byte, fields map[string]any) error {
	members, err := Object(raw)
	if err != nil {
		return err
	}
	for _, m := range members {
		into, known := fields[m.Name]
		if !known {
			return &Error{Pointer: "/" + escape(m.Name), Err: ErrUnknown}
		}
		if err := json.Unmarshal(m.Value, into); err != nil {
			return &Error{Pointer: "/" + escape(m.Name), Err: fmt.Errorf("not %s", wanted(into))}
		}
	}
	return nil
}

// wanted names what a field takes, for people.
func wanted(into any) string {
	switch into.(type) {
	case *string:
		return "a text"
	case *bool:
		return "true or false"
	case *int, *int64, *float64:
		return "a number in range"
	}
	return "of the right type"
}

func scan(raw []byte, collect bool) ([]Member, error) {
	switch {
	case !utf8.Valid(raw):
		return nil, &Error{Err: ErrEncoding}
	case !json.Valid(raw):
		return nil, &Error{Err: ErrSyntax}
	}
	s := scanner{raw: raw}
	s.space()
	if !collect {
		return nil, s.value(0)
	}
	if s.raw[s.at] != '{' {
		return nil, &Error{Err: ErrNotObject}
	}
	s.collect = true
	err := s.object(0)
	return s.members, err
}

// A scanner walks text that json.Valid has accepted, so it checks names and
// depth only and cannot run past the end.
type scanner struct {
	raw     []byte
	at      int
	path    []string
	collect bool
	members []Member
}

func (s *scanner) fail(err error) error {
	var pointer strings.Builder
	for _, step := range s.path {
		pointer.WriteByte('/')
		pointer.WriteString(escape(step))
	}
	return &Error{Pointer: pointer.String(), Err: err}
}

func (s *scanner) space() {
	for s.at < len(s.raw) && (s.raw[s.at] == ' ' || s.raw[s.at] == '\n' || s.raw[s.at] == '\t' || s.raw[s.at] == '\r') {
		s.at++
	}
}

func (s *scanner) value(depth int) error {
	switch s.raw[s.at] {
	case '{':
		return s.object(depth)
	case '[':
		return s.array(depth)
	case '"':
		s.text()
	default:
		for s.at < len(s.raw) && !strings.ContainsRune(" \n\t\r,]}", rune(s.raw[s.at])) {
			s.at++
		}
	}
	return nil
}

func (s *scanner) object(depth int) error {
	if depth == maxDepth {
		return s.fail(ErrDepth)
	}
	top := s.collect && depth == 0
	seen := make(map[string]struct{}, 8)
	s.at++ // {
	for s.space(); s.raw[s.at] != '}'; s.space() {
		if s.raw[s.at] == ',' {
			s.at++
			s.space()
		}
		name := unquote(s.text())
		folded := fold(name)
		s.path = append(s.path, name)
		if _, twice := seen[folded]; twice {
			return s.fail(ErrDuplicate)
		}
		seen[folded] = struct{}{}
		s.space()
		s.at++ // :
		s.space()
		from := s.at
		if err := s.value(depth + 1); err != nil {
			return err
		}
		if top {
			s.members = append(s.members, Member{Name: name, Value: s.raw[from:s.at]})
		}
		s.path = s.path[:len(s.path)-1]
	}
	s.at++ // }
	return nil
}

func (s *scanner) array(depth int) error {
	if depth == maxDepth {
		return s.fail(ErrDepth)
	}
	s.at++ // [
	for i := 0; ; i++ {
		s.space()
		if s.raw[s.at] == ',' {
			s.at++
			s.space()
		}
		switch s.raw[s.at] {
		case ']':
			s.at++
			return nil
		case '{', '[':
			s.path = append(s.path, strconv.Itoa(i))
			if err := s.value(depth + 1); err != nil {
				return err
			}
			s.path = s.path[:len(s.path)-1]
		default:
			if err := s.value(depth + 1); err != nil {
				return err
			}
		}
	}
}

// text steps over a string and returns it with its quotes.
func (s *scanner) text() []byte {
	from := s.at
	for s.at++; s.raw[s.at] != '"'; s.at++ {
		if s.raw[s.at] == '\\' {
			s.at++
		}
	}
	s.at++
	return s.raw[from:s.at]
}

func unquote(quoted []byte) string {
	var plain string
	if err := json.Unmarshal(quoted, &plain); err != nil {
		return string(quoted) // not reached: the text was valid
	}
	return plain
}

// fold maps names that encoding/json takes for the same field to one text:
// each rune becomes the smallest of those that differ from it in case only.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, name)
}

// escape is the escaping of RFC 6901, of a name that is not too long to show.
func escape(name string) string {
	if len(name) > 64 {
		name = strings.ToValidUTF8(name[:64], "") + "..."
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
