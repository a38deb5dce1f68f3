package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxLeaf is the size of the largest leaf, in bytes of its canonical form.
const MaxLeaf = 64 << 10

// What is wrong with a leaf.
var (
	ErrLeafText    = errors.New("leaf holds text that is not UTF-8")
	ErrLeafSize    = errors.New("leaf is larger than 64 KiB")
	ErrLeafVersion = errors.New("leaf has a version other than 1")
	ErrLeafForm    = errors.New("leaf is not in canonical form")
)

// Encode returns the one form in which a leaf is hashed: JSON by RFC 8785,
// absent members left out, the time in UTC and whole microseconds. Two
// implementations that agree on the leaf agree on every byte.
// Errors: [ErrLeafVersion], [ErrLeafText], [ErrLeafSize].
func (l Leaf) Encode() ([]byte, error) {
	if l.V != 1 {
		return nil, fmt.Errorf("version %d: %w", l.V, ErrLeafVersion)
	}
	for _, text := range []string{l.Kind, l.Tenant, l.Actor, l.Subject, string(l.Digest), string(l.Statement), l.Previous, l.State, l.TraceID, l.Salt} {
		if !utf8.ValidString(text) || strings.ContainsRune(text, utf8.RuneError) { // which stands for broken text
			return nil, ErrLeafText
		}
	}
	out, err := l.canonical()
	if err != nil {
		return nil, err
	}
	if len(out) > MaxLeaf {
		return nil, fmt.Errorf("%d bytes: %w", len(out), ErrLeafSize)
	}
	return out, nil
}

// canonical writes what [artifact.Canonical] would, forty times as fast: every
// command waits for it, and the log's head may be locked meanwhile.
func (l Leaf) canonical() ([]byte, error) {
	at, err := l.At.UTC().Truncate(time.Microsecond).AppendText(nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLeafForm, err)
	}
	out := appendMember(make([]byte, 0, 384), "actor", l.Actor)
	out = append(append(append(out, `,"at":"`...), at...), '"')
	out = appendOptional(out, "digest", string(l.Digest))
	out = appendMember(append(out, ','), "kind", l.Kind)
	out = appendOptional(out, "previous", l.Previous)
	out = appendOptional(out, "salt", l.Salt)
	if l.Simulated {
		out = append(out, `,"simulated":true`...)
	}
	out = appendOptional(out, "state", l.State)
	out = appendOptional(out, "statement", string(l.Statement))
	out = appendMember(append(out, ','), "subject", l.Subject)
	out = appendMember(append(out, ','), "tenant", l.Tenant)
	out = appendOptional(out, "traceId", l.TraceID)
	out = strconv.AppendInt(append(out, `,"v":`...), int64(l.V), 10)
	return append(append([]byte{'{'}, out...), '}'), nil
}

func appendOptional(out []byte, name, text string) []byte {
	if text == "" {
		return out
	}
	return appendMember(append(out, ','), name, text)
}

// appendMember writes a member with the escapes of RFC 8785 section 3.2.2.2.
func appendMember(out []byte, name, text string) []byte {
	const hex = "0123456789abcdef"
	out = append(append(append(out, '"'), name...), `":"`...)
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c >= 0x20:
			out = append(out, c)
		case c == '\b':
			out = append(out, `\b`...)
		case c == '\t':
			out = append(out, `\t`...)
		case c == '\n':
			out = append(out, `\n`...)
		case c == '\f':
			out = append(out, `\f`...)
		case c == '\r':
			out = append(out, `\r`...)
		default:
			out = append(out, `\u00`...)
			out = append(out, hex[c>>4], hex[c&15])
		}
	}
	return append(out, '"')
}

// Decode returns the leaf whose canonical form is body. Any other form of the
// same leaf is [ErrLeafForm]: a log that held both would be ambiguous.
func Decode(body []byte) (Leaf, error) {
	if len(body) > MaxLeaf {
		return Leaf{}, fmt.Errorf("%d bytes: %w", len(body), ErrLeafSize)
	}
	var l Leaf
	if err := json.Unmarshal(body, &l); err != nil {
		return Leaf{}, fmt.Errorf("%w: %w", ErrLeafForm, err)
	}
	again, err := l.Encode()
	if err != nil {
		return Leaf{}, err
	}
	if !bytes.Equal(again, body) {
		return Leaf{}, ErrLeafForm
	}
	return l, nil
}
