// Package strictjson refuses the JSON texts that two readers could understand
// differently: a name that occurs twice in an object, also in another case or
// another escaping, text after the value, invalid UTF-8, bottomless nesting.
//
// It reads a text once and leaves values as the bytes that they are, for
// requests whose larger part is passed on unread. Our own documents are decoded
// against their types by artifact.DecodeStrict instead.
//
// Invariant: what passes means the same to every parser of RFC 8259, so the
// part that was checked is the part that is used. No error holds a value of
// the text, only the place.
package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
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

// At returns an [*Error] at a member of the whole text.
func At(name string, err error) *Error { return &Error{Pointer: "/" + escape(name), Err: err} }

// A Field is a member of an object: its name without quotes and escapes, and
// its value as it was written. Both share the memory of the text where they can.
type Field struct{ Name, Value []byte }

// A Member is a [Field] with its name as a string.
type Member struct {
	Name  string
	Value json.RawMessage
}

// Check returns nil if raw is one JSON value that passes, else an [*Error].
func Check(raw []byte) error {
	_, err := scan(raw, nil, false)
	return err
}

// Fields checks raw at every depth and appends the members of the object that
// it is, in order, to out. Names are compared by the caller, exactly.
func Fields(out []Field, raw []byte) ([]Field, error) { return scan(raw, out, true) }

// Object is [Fields] with names as strings.
func Object(raw []byte) ([]Member, error) {
	var room [8]Field
	fields, err := Fields(room[:0], raw)
	if err != nil {
		return nil, err
	}
	members := make([]Member, len(fields))
	for i, f := range fields {
		members[i] = Member{string(f.Name), json.RawMessage(f.Value)}
	}
	return members, nil
}

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

func scan(raw []byte, out []Field, collect bool) ([]Field, error) {
	s := scanner{raw: raw, out: out, collect: collect}
	s.space()
	if collect && s.peek() != '{' {
		if err := Check(raw); err != nil {
			return nil, err
		}
		return nil, &Error{Err: ErrNotObject}
	}
	err := s.value(0)
	if s.space(); err == nil && s.at < len(raw) {
		err = ErrSyntax
	}
	if err == nil {
		return s.out, nil
	}
	// The slower questions are asked of what is refused anyway: which fault
	// comes first, and where it is.
	switch {
	case !utf8.Valid(raw):
		return nil, &Error{Err: ErrEncoding}
	case !json.Valid(raw):
		return nil, &Error{Err: ErrSyntax}
	}
	return nil, &Error{Pointer: s.pointer(), Err: err}
}

// A scanner reads a text from front to back.
type scanner struct {
	raw     []byte
	at      int
	trail   []step // from a fault to the top, made when there is one
	collect bool
	out     []Field
}

// A step is a name, or the index of an element where there is none.
type step struct {
	name  []byte
	index int
}

func (s *scanner) pointer() string {
	var out strings.Builder
	for _, at := range slices.Backward(s.trail) {
		out.WriteByte('/')
		if at.name == nil {
			out.WriteString(strconv.Itoa(at.index))
		} else {
			out.WriteString(escape(string(at.name)))
		}
	}
	return out.String()
}

// peek returns the next byte, or 0 at the end: no JSON begins with it.
func (s *scanner) peek() byte {
	if s.at < len(s.raw) {
		return s.raw[s.at]
	}
	return 0
}

func (s *scanner) space() {
	for s.at < len(s.raw) && (s.raw[s.at] == ' ' || s.raw[s.at] == '\n' || s.raw[s.at] == '\t' || s.raw[s.at] == '\r') {
		s.at++
	}
}

func (s *scanner) value(depth int) error {
	switch c := s.peek(); {
	case c == '{':
		return s.object(depth)
	case c == '[':
		return s.array(depth)
	case c == '"':
		_, _, err := s.text()
		return err
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	}
	return s.number()
}

func (s *scanner) word(w string) error {
	if len(s.raw)-s.at < len(w) || string(s.raw[s.at:s.at+len(w)]) != w {
		return ErrSyntax
	}
	s.at += len(w)
	return nil
}

// number reads the grammar of RFC 8259, section 6.
func (s *scanner) number() error {
	if s.peek() == '-' {
		s.at++
	}
	if s.peek() == '0' {
		s.at++
	} else if !s.digits() {
		return ErrSyntax
	}
	if s.peek() == '.' {
		if s.at++; !s.digits() {
			return ErrSyntax
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.at++
		if c := s.peek(); c == '+' || c == '-' {
			s.at++
		}
		if !s.digits() {
			return ErrSyntax
		}
	}
	return nil
}

// run steps over numbers that each have a comma behind them, as far as they are
// of the plainest form, and returns how many. What it stops at is read again.
func (s *scanner) run() (count int) {
	raw, at := s.raw, s.at
	for {
		if at < len(raw) && raw[at] == '-' {
			at++
		}
		if at < len(raw) && raw[at] == '0' {
			at++
		} else if at = past(raw, at); at < 0 {
			return count
		}
		if at < len(raw) && raw[at] == '.' {
			if at = past(raw, at+1); at < 0 {
				return count
			}
		}
		if at >= len(raw) || raw[at] != ',' {
			return count
		}
		for at++; at < len(raw) && raw[at] == ' '; at++ {
			continue
		}
		s.at = at
		count++
	}
}

// past returns the end of digits that begin at a place, -1 if there are none.
func past(raw []byte, at int) int {
	from := at
	for at < len(raw) && raw[at]-'0' <= 9 {
		at++
	}
	if at == from {
		return -1
	}
	return at
}

func (s *scanner) digits() bool {
	at := past(s.raw, s.at)
	s.at = max(s.at, at)
	return at >= 0
}

func (s *scanner) object(depth int) error {
	if depth == maxDepth {
		return ErrDepth
	}
	top := s.collect && depth == 0
	seen := names{}
	s.at++ // {
	for first := true; ; first = false {
		s.space()
		if s.peek() == '}' && first {
			break
		}
		if s.peek() != '"' {
			return ErrSyntax
		}
		quoted, plain, err := s.text()
		if err != nil {
			return err
		}
		name := quoted[1 : len(quoted)-1]
		if !plain {
			name = unquote(quoted)
		}
		if !seen.add(name) {
			s.trail = append(s.trail, step{name: name})
			return ErrDuplicate
		}
		if s.space(); s.peek() != ':' {
			return ErrSyntax
		}
		s.at++
		s.space()
		from := s.at
		if err := s.value(depth + 1); err != nil {
			s.trail = append(s.trail, step{name: name})
			return err
		}
		if top {
			s.out = append(s.out, Field{name, s.raw[from:s.at:s.at]})
		}
		if s.space(); s.peek() != ',' {
			break
		}
		s.at++
	}
	if s.peek() != '}' {
		return ErrSyntax
	}
	s.at++
	return nil
}

func (s *scanner) array(depth int) error {
	if depth == maxDepth {
		return ErrDepth
	}
	s.at++ // [
	if s.space(); s.peek() == ']' {
		s.at++
		return nil
	}
	for i := 0; ; i++ {
		s.space()
		if c := s.peek(); c == '-' || '0' <= c && c <= '9' {
			i += s.run()
		}
		if err := s.value(depth + 1); err != nil {
			s.trail = append(s.trail, step{index: i})
			return err
		}
		if s.space(); s.peek() != ',' {
			break
		}
		s.at++
	}
	if s.peek() != ']' {
		return ErrSyntax
	}
	s.at++
	return nil
}

// escape is the escaping of RFC 6901, of a name that is not too long to show.
func escape(name string) string {
	if len(name) > 64 {
		name = strings.ToValidUTF8(name[:64], "") + "..."
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
