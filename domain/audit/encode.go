package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/atom-fabric/fabric/domain/artifact"
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
	for _, text := range []string{l.Kind, l.Tenant, l.Actor, l.Subject, string(l.Digest), string(l.Statement), l.Previous, l.State, l.TraceID} {
		if !utf8.ValidString(text) { // encoding/json would replace it without a word
			return nil, ErrLeafText
		}
	}
	l.At = l.At.UTC().Truncate(time.Microsecond)
	out, err := artifact.Canonical(l)
	if err != nil {
		return nil, err
	}
	if len(out) > MaxLeaf {
		return nil, fmt.Errorf("%d bytes: %w", len(out), ErrLeafSize)
	}
	return out, nil
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
