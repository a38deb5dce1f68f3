package artifact

import (
	"bytes"
	"fmt"
	"strconv"
)

// parseHeader reads a header in canonical form and nothing else. It is a
// scanner for that one form rather than a JSON parser with checks after it:
// a duplicate field, an unknown one, a float, an escape or deep nesting is
// simply not the next byte that it expects.
func parseHeader(header []byte) ([]TensorInfo, error) {
	s := scanner{buf: header}
	if !s.take("{") {
		return nil, s.fail()
	}
	var infos []TensorInfo
	var end int64
	previous := ""
	for {
		info, err := s.tensor()
		if err != nil {
			return nil, err
		}
		if info.Name <= previous {
			return nil, &TensorError{info.Name, ErrTensorOrder}
		}
		if err := info.follows(end); err != nil {
			return nil, &TensorError{info.Name, err}
		}
		previous, end = info.Name, info.End
		if infos = append(infos, info); len(infos) > MaxTensors {
			return nil, fmt.Errorf("more than %d tensors: %w", MaxTensors, ErrTooLarge)
		}
		if s.take(",") {
			continue
		}
		if !s.take("}") {
			return nil, s.fail()
		}
		break
	}
	if pad := header[s.pos:]; len(pad) != padding(s.pos) || len(bytes.Trim(pad, " ")) != 0 {
		return nil, s.fail()
	}
	return infos, nil
}

// padding returns how many spaces follow a header of n bytes, so that the data
// starts at a multiple of 8.
func padding(n int) int { return (8 - n%8) % 8 }

// follows compares the offsets with the ones that the shape implies when the
// data before this tensor ends at begin. Equality leaves no room for holes,
// overlaps and ranges of another size.
func (t TensorInfo) follows(begin int64) error {
	if t.DType.Size() == 0 {
		return ErrDType
	}
	n, err := elements(t.Shape, t.DType.Size())
	if err != nil {
		return err
	}
	if t.Begin != begin || t.End != begin+n*t.DType.Size() {
		return ErrLayout
	}
	if t.End > maxDataBytes {
		return ErrTooLarge
	}
	return nil
}

// appendHeader writes the canonical header, padding included.
func appendHeader(dst []byte, infos []TensorInfo) []byte {
	dst = append(dst, '{')
	for i, t := range infos {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(dst, t.Name...)
		dst = append(dst, `":{"dtype":"`...)
		dst = append(dst, t.DType...)
		dst = append(dst, `","shape":[`...)
		for j, dim := range t.Shape {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendInt(dst, int64(dim), 10)
		}
		dst = append(dst, `],"data_offsets":[`...)
		dst = strconv.AppendInt(dst, t.Begin, 10)
		dst = append(dst, ',')
		dst = strconv.AppendInt(dst, t.End, 10)
		dst = append(dst, "]}"...)
	}
	dst = append(dst, '}')
	return append(dst, bytes.Repeat([]byte{' '}, padding(len(dst)))...)
}

// A scanner walks over the header. fail says where it stopped.
type scanner struct {
	buf []byte
	pos int
}

func (s *scanner) fail() error { return fmt.Errorf("byte %d of the header: %w", s.pos, ErrHeader) }

// take steps over text if it comes next.
func (s *scanner) take(text string) bool {
	if !bytes.HasPrefix(s.buf[s.pos:], []byte(text)) {
		return false
	}
	s.pos += len(text)
	return true
}

// quoted reads up to the closing quote. The callers check the text, and refuse
// whatever would have needed an escape.
func (s *scanner) quoted() (string, bool) {
	if !s.take(`"`) {
		return "", false
	}
	n := bytes.IndexByte(s.buf[s.pos:], '"')
	if n < 0 {
		return "", false
	}
	text := string(s.buf[s.pos : s.pos+n])
	s.pos += n + 1
	return text, true
}

// number reads a decimal without sign, leading zero, point or exponent.
func (s *scanner) number() (int64, bool) {
	start := s.pos
	for s.pos < len(s.buf) && s.buf[s.pos] >= '0' && s.buf[s.pos] <= '9' {
		s.pos++
	}
	digits := string(s.buf[start:s.pos])
	if len(digits) > 1 && digits[0] == '0' {
		s.pos = start
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		s.pos = start
		return 0, false
	}
	return n, true
}

// tensor reads one entry: "name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}
func (s *scanner) tensor() (TensorInfo, error) {
	var t TensorInfo
	name, ok := s.quoted()
	if !ok {
		return t, s.fail()
	}
	if err := checkName(name); err != nil {
		return t, &TensorError{name, err}
	}
	if !s.take(`:{"dtype":`) {
		return t, s.fail()
	}
	dtype, ok := s.quoted()
	if !ok || !s.take(`,"shape":[`) {
		return t, s.fail()
	}
	t.Name, t.DType = name, DType(dtype)
	if !s.take("]") {
		for {
			dim, ok := s.number()
			if !ok {
				return t, s.fail()
			}
			if len(t.Shape) == MaxDims || dim > maxDataBytes {
				return t, &TensorError{name, ErrShape}
			}
			t.Shape = append(t.Shape, int(dim))
			if s.take("]") {
				break
			}
			if !s.take(",") {
				return t, s.fail()
			}
		}
	}
	if !s.take(`,"data_offsets":[`) {
		return t, s.fail()
	}
	if t.Begin, ok = s.number(); !ok || !s.take(",") {
		return t, s.fail()
	}
	if t.End, ok = s.number(); !ok || !s.take("]}") {
		return t, s.fail()
	}
	return t, nil
}
