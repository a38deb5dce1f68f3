package router

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/atom-fabric/fabric/internal/strictjson"
)

const (
	maxDims    = 8       // of a tensor
	maxOutputs = 64      // of an answer
	maxEmpty   = 1 << 16 // brackets of a tensor without elements
)

var (
	errProtocol = errors.New("not an answer of the protocol")
	errOther    = errors.New("an answer of another model or version")
	errOutput   = errors.New("an output without a name of its own")
	errShape    = errors.New("the data does not have the shape")
)

// output checks a runtime's answer and appends to out what the caller gets of
// it: the outputs by name, nested by shape, or {"outputs": ...} for a request
// that was passed on as it is. An answer of another model or version is none.
func output(out, text []byte, wire string, version int, back bool) ([]byte, error) {
	var room [8]strictjson.Field
	fields, err := strictjson.Fields(room[:0], text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProtocol, err)
	}
	var name, outputs []byte
	for _, f := range fields {
		switch string(f.Name) {
		case "model_name":
			name = strictjson.Text(f.Value)
		case "model_version":
			var digits [20]byte
			if got := strictjson.Text(f.Value); len(got) > 0 && string(got) != string(strconv.AppendInt(digits[:0], int64(version), 10)) ||
				got == nil && string(f.Value) != "null" {
				return nil, errOther
			}
		case "outputs":
			outputs = f.Value
		}
	}
	if string(name) != wire {
		return nil, errOther
	}
	if back {
		out = append(out, '{')
	} else {
		out = append(append(append(out, `{"outputs":`...), outputs...), '}')
	}
	var some [4][]byte // as many as most have
	seen, count := some[:0], 0
	all := strictjson.Elements(outputs, func(one []byte) bool {
		if count == maxOutputs {
			err = errOutput
			return false
		}
		if back && count > 0 {
			out = append(out, ',')
		}
		var name []byte
		if out, name, err = tensor(out, one, back); err != nil {
			return false
		}
		for _, other := range seen {
			if bytes.Equal(other, name) {
				err = errOutput
				return false
			}
		}
		seen = append(seen, name)
		count++
		return true
	})
	switch {
	case err != nil:
		return nil, err
	case !all || count == 0:
		return nil, errProtocol
	case back:
		out = append(out, '}')
	}
	return out, nil
}

// tensor checks an output and, if it is to be translated back, appends it.
func tensor(out, text []byte, back bool) (_, name []byte, err error) {
	var quotedName, shape, data []byte
	if !strictjson.Members(text, func(name, value []byte) bool {
		switch string(name) {
		case "name":
			quotedName = value
		case "shape":
			shape = value
		case "data":
			data = value
		}
		return true
	}) {
		return out, nil, errProtocol
	}
	if name = strictjson.Text(quotedName); len(name) == 0 {
		return out, nil, errOutput
	}
	var dims [maxDims]int
	n := 0
	if !strictjson.Elements(shape, func(dim []byte) bool {
		if n == maxDims {
			return false
		}
		size, err := strconv.Atoi(string(dim))
		if err != nil || size < 0 || size > maxAnswer {
			return false
		}
		dims[n] = size
		n++
		return true
	}) || n == 0 {
		return out, nil, errShape
	}
	if !back {
		_, err = nest(nil, data, dims[:n], false)
		return out, name, err
	}
	out = append(append(out, quotedName...), ':')
	out, err = nest(out, data, dims[:n], true)
	return out, name, err
}

// nest checks that data, flat or nested, has as many elements as its shape says,
// and appends it, nested so, if it is wanted.
func nest(out, data []byte, shape []int, wanted bool) ([]byte, error) {
	size := 1
	for _, dim := range shape {
		if size *= dim; size > maxAnswer {
			return out, errShape
		}
	}
	if len(data) == 0 || data[0] != '[' {
		return out, errShape
	}
	if inner, count, ok := plainList(data); ok && count == size && size == shape[len(shape)-1] {
		if wanted { // one row: it stays as it is
			for range shape {
				out = append(out, '[')
			}
			out = append(out, inner...)
			for range shape {
				out = append(out, ']')
			}
		}
		return out, nil
	}
	count, depth := 0, 0
	for i := 0; i < len(data); {
		switch c := data[i]; c {
		case '[':
			if depth++; depth > maxDims {
				return out, errShape
			}
			i++
			continue
		case ']':
			depth--
			i++
			continue
		case ',', ' ', '\t', '\n', '\r':
			i++
			continue
		case '{':
			return out, errShape
		}
		if count == size {
			return out, errShape
		}
		from := i
		i = end(data, i)
		if wanted {
			out = open(out, shape, count)
			out = append(out, data[from:i]...)
			out = shut(out, shape, count+1)
		}
		count++
	}
	if count != size {
		return out, errShape
	}
	if size > 0 {
		return out, nil
	}
	groups := 1
	for _, dim := range shape {
		if groups *= max(dim, 1); groups > maxEmpty {
			return out, errShape
		}
	}
	if wanted {
		out = empty(out, shape)
	}
	return out, nil
}

// plainList returns what is between the brackets of a list that has nothing but
// numbers and words in it, and how many, at the speed of the memory. Most
// tensors are such a list.
func plainList(data []byte) (inner []byte, count int, ok bool) {
	if data[len(data)-1] != ']' {
		return nil, 0, false
	}
	inner = data[1 : len(data)-1]
	if len(inner) == 0 || inner[0] <= ' ' { // perhaps nothing is in it
		return nil, 0, false
	}
	for _, c := range [...]byte{'[', '"', '{'} {
		if bytes.IndexByte(inner, c) >= 0 {
			return nil, 0, false
		}
	}
	return inner, bytes.Count(inner, []byte{','}) + 1, true
}

// end returns where the number, text or word that begins at i ends.
func end(data []byte, i int) int {
	if data[i] != '"' {
		for i < len(data) && data[i] > ' ' && data[i] != ',' && data[i] != ']' {
			i++
		}
		return i
	}
	for i++; i < len(data) && data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return min(i+1, len(data))
}

// open appends what stands before element k of a tensor.
func open(out []byte, shape []int, k int) []byte {
	if k > 0 {
		out = append(out, ',')
	}
	for j, size := len(shape)-1, 1; j >= 0; j-- {
		if size *= shape[j]; k%size != 0 {
			break
		}
		out = append(out, '[')
	}
	return out
}

// shut appends what stands behind element k-1.
func shut(out []byte, shape []int, k int) []byte {
	for j, size := len(shape)-1, 1; j >= 0; j-- {
		if size *= shape[j]; k%size != 0 {
			break
		}
		out = append(out, ']')
	}
	return out
}

// empty appends a tensor without elements.
func empty(out []byte, shape []int) []byte {
	out = append(out, '[')
	if len(shape) > 1 {
		for i := range shape[0] {
			if i > 0 {
				out = append(out, ',')
			}
			out = empty(out, shape[1:])
		}
	}
	return append(out, ']')
}

// compact encodes without spaces and without HTML escapes, so that the bytes
// stay what they are when they are put into a larger document.
func compact(v any) (json.RawMessage, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(out.Bytes(), "\n"), nil
}
