package artifact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Why a JSON document is refused.
var (
	ErrSyntax       = errors.New("malformed JSON")
	ErrText         = errors.New("text is not valid Unicode")
	ErrUnknownKey   = errors.New("unknown key")
	ErrDuplicateKey = errors.New("key occurs twice")
	ErrType         = errors.New("value has the wrong type")
	ErrNumber       = errors.New("number is out of range")
	ErrNesting      = errors.New("nested too deeply")
	ErrTrailing     = errors.New("data after the end")
)

// maxNesting bounds the recursion of a decode. Our own documents are less than
// ten levels deep.
const maxNesting = 64

// A JSONError says where in a document the first fault is.
type JSONError struct {
	Pointer string // RFC 6901, "" for the whole document
	Err     error
}

func (e *JSONError) Error() string { return fmt.Sprintf("json %q: %v", e.Pointer, e.Err) }
func (e *JSONError) Unwrap() error { return e.Err }

// DecodeStrict decodes exactly one JSON value into v and accepts only what
// every parser reads alike. encoding/json alone takes the last of two equal
// keys and ignores their case, so that {"Decision":"reject","decision":
// "approve"} would be an approval; here keys must be spelled as the field's
// tag says, occur once, and be known. Numbers must be finite as a float64, text must be
// Unicode without the replacement character, and nothing may follow.
//
// Objects behind an interface, a [json.RawMessage] or an own UnmarshalJSON
// have no known keys; the rest applies inside them as well.
// Errors: [*JSONError].
func DecodeStrict(data []byte, v any) error {
	if !utf8.Valid(data) {
		return &JSONError{Err: ErrText}
	}
	w := walker{dec: json.NewDecoder(bytes.NewReader(data))}
	w.dec.UseNumber()
	if err := w.value(reflect.TypeOf(v), "", 0); err != nil {
		return err
	}
	if _, err := w.dec.Token(); !errors.Is(err, io.EOF) {
		return &JSONError{Err: ErrTrailing}
	}
	err := json.Unmarshal(data, v)
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong):
		return &JSONError{Pointer: "/" + strings.ReplaceAll(wrong.Field, ".", "/"), Err: ErrType}
	default:
		return &JSONError{Err: fmt.Errorf("%w: %w", ErrType, err)} // an UnmarshalText refused it
	}
}

// A walker reads a document token by token beside the type that it is meant
// for, because the decoder of the standard library cannot be told to look.
type walker struct{ dec *json.Decoder }

func (w walker) value(t reflect.Type, at string, depth int) error {
	if depth > maxNesting {
		return &JSONError{Pointer: at, Err: ErrNesting}
	}
	tok, err := w.dec.Token()
	if err != nil {
		return &JSONError{Pointer: at, Err: ErrSyntax}
	}
	t = known(t)
	switch tok := tok.(type) {
	case json.Delim:
		if tok == '[' {
			return w.array(t, at, depth)
		}
		return w.object(t, at, depth)
	case json.Number:
		if _, err := strconv.ParseFloat(tok.String(), 64); err != nil {
			return &JSONError{Pointer: at, Err: ErrNumber}
		}
	case string:
		if strings.ContainsRune(tok, utf8.RuneError) { // an unpaired surrogate reads as this
			return &JSONError{Pointer: at, Err: ErrText}
		}
	}
	return nil
}

func (w walker) array(t reflect.Type, at string, depth int) error {
	var elem reflect.Type
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
		elem = t.Elem()
	}
	for i := 0; w.dec.More(); i++ {
		if err := w.value(elem, at+"/"+strconv.Itoa(i), depth+1); err != nil {
			return err
		}
	}
	return w.close(at)
}

func (w walker) object(t reflect.Type, at string, depth int) error {
	fields := map[string]reflect.Type{}
	if t != nil && t.Kind() == reflect.Struct {
		addFields(fields, t)
	}
	seen := map[string]bool{}
	for w.dec.More() {
		tok, err := w.dec.Token()
		key, ok := tok.(string)
		if err != nil || !ok {
			return &JSONError{Pointer: at, Err: ErrSyntax}
		}
		here := at + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(clip(key))
		if strings.ContainsRune(key, utf8.RuneError) {
			return &JSONError{Pointer: at, Err: ErrText}
		}
		var elem reflect.Type
		if t != nil && t.Kind() == reflect.Struct {
			if elem, ok = fields[key]; !ok {
				return &JSONError{Pointer: here, Err: ErrUnknownKey}
			}
		} else if t != nil && t.Kind() == reflect.Map {
			elem = t.Elem()
		}
		if seen[key] {
			return &JSONError{Pointer: here, Err: ErrDuplicateKey}
		}
		seen[key] = true
		if err := w.value(elem, here, depth+1); err != nil {
			return err
		}
	}
	return w.close(at)
}

// close reads the closing bracket that More saw, or the end of a cut document.
func (w walker) close(at string) error {
	if _, err := w.dec.Token(); err != nil {
		return &JSONError{Pointer: at, Err: ErrSyntax}
	}
	return nil
}

// known returns the type whose keys are known, or nil when its own code or
// nobody knows them.
func known(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() == reflect.Interface || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return nil
	}
	return t
}

// addFields collects the keys of a struct, those of embedded structs too.
func addFields(into map[string]reflect.Type, t reflect.Type) {
	for i := range t.NumField() {
		field := t.Field(i)
		tag := field.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		switch {
		case tag == "-":
		case field.Anonymous && name == "" && known(field.Type) != nil && known(field.Type).Kind() == reflect.Struct:
			addFields(into, known(field.Type))
		case !field.IsExported():
		case name != "":
			into[name] = field.Type
		default:
			into[field.Name] = field.Type
		}
	}
}
