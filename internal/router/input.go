package router

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/atom-fabric/fabric/internal/strictjson"
)

// maxRows bounds a batch, as the runtime does.
const maxRows = 4096

// translate returns the request of the Open Inference Protocol V2 that an input
// stands for, and whether the answer is to be translated back. An input with
// "inputs" is such a request already and is passed on as it is; one with "data"
// is a list of rows of numbers, and is put into out. The input has passed
// strictjson with the body that it is a part of.
func translate(out, input []byte) (body []byte, back bool, p *problem) {
	var data, inputs []byte
	count := 0
	known := strictjson.Members(input, func(name, value []byte) bool {
		count++
		switch string(name) {
		case "data":
			data = value
		case "inputs":
			inputs = value
		case "id", "parameters", "outputs":
		default:
			return false
		}
		return true
	})
	switch {
	case !known:
		return nil, false, badInput("/input", "has other members than data, inputs, id, parameters and outputs")
	case data == nil && inputs == nil:
		return nil, false, badInput("/input", "give data, a list of rows of numbers, or inputs, tensors of the Open Inference Protocol V2")
	case data != nil && count > 1:
		return nil, false, badInput("/input", "data stands alone")
	case inputs != nil:
		return input, false, nil
	}
	rows, columns, p := measure(data)
	if p != nil {
		return nil, false, p
	}
	out = append(out, `{"inputs":[{"name":"rows","datatype":"FP64","shape":[`...)
	out = strconv.AppendInt(out, int64(rows), 10)
	out = append(out, ',')
	out = strconv.AppendInt(out, int64(columns), 10)
	out = append(out, `],"data":`...)
	out = append(out, data...)
	return append(out, `}]}`...), true, nil
}

// measure returns the shape of rows of numbers, all of the same length. One row
// may stand without the brackets around it. The text has passed strictjson.
func measure(data []byte) (rows, columns int, p *problem) {
	if len(data) == 0 || data[0] != '[' {
		return 0, 0, badInput("/input/data", "must be a list of rows")
	}
	single := false
	strictjson.Elements(data, func(row []byte) bool {
		if rows == 0 && row[0] != '[' {
			single = true
			return false
		}
		if rows++; rows > maxRows {
			p = badInput("/input/data", "at most %d rows", maxRows)
			return false
		}
		n, at, err := numbers(row)
		switch {
		case err != "":
			p = badInput(place(rows-1, at), "%s", err)
		case rows > 1 && n != columns:
			p = badInput(place(rows-1, -1), "is not as long as the first row")
		}
		columns = n
		return p == nil
	})
	switch {
	case single:
		n, at, err := numbers(data)
		switch {
		case err != "" && at >= 0:
			return 0, 0, badInput("/input/data/"+strconv.Itoa(at), "%s", err)
		case err != "":
			return 0, 0, badInput("/input/data", "%s", err)
		}
		return 1, n, nil
	case p == nil && rows == 0:
		p = badInput("/input/data", "must be a list of rows")
	}
	return rows, columns, p
}

// place points at a row, or at a number of it.
func place(row, number int) string {
	at := "/input/data/" + strconv.Itoa(row)
	if number >= 0 {
		at += "/" + strconv.Itoa(number)
	}
	return at
}

// numbers returns the length of a list of finite numbers, or what is wrong, and
// at which element if it is one.
func numbers(row []byte) (n, at int, wrong string) {
	const wanted = "must be a list of finite numbers"
	if row[0] != '[' {
		return 0, -1, wanted
	}
	if inner, count, ok := plainList(row); ok && simple(inner) {
		return count, -1, ""
	}
	for i := 1; i < len(row)-1; {
		switch c := row[i]; {
		case c == ',' || c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case c == 'n':
			return 0, n, "must be a number"
		case c != '-' && (c < '0' || c > '9'):
			return 0, -1, wanted
		}
		from, scaled := i, false
		for ; i < len(row)-1 && row[i] > ' ' && row[i] != ','; i++ {
			scaled = scaled || row[i]|0x20 == 'e'
		}
		if scaled || i-from > 300 { // only these can be out of range
			if _, err := strconv.ParseFloat(string(row[from:i]), 64); err != nil {
				return 0, -1, wanted
			}
		}
		n++
	}
	if n == 0 {
		return 0, -1, wanted
	}
	return n, -1, ""
}

// simple reports whether a part of a list that passed has only numbers in it of
// which none can be out of range, so that they need no second look: no words, no
// exponents, none of hundreds of digits.
func simple(inner []byte) bool {
	if len(inner) > 300 {
		for at := 0; at < len(inner); {
			run := bytes.IndexByte(inner[at:], ',')
			if run < 0 {
				run = len(inner) - at
			}
			if run > 300 {
				return false
			}
			at += run + 1
		}
	}
	for _, c := range inner {
		if c > '9' { // a letter
			return false
		}
	}
	return true
}

// quoted appends a text as JSON.
func quoted(out []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			other, err := compact(text)
			if err != nil {
				return append(out, `""`...) // not reached: texts encode
			}
			return append(out, other...)
		}
	}
	out = append(out, '"')
	out = append(out, text...)
	return append(out, '"')
}

// said returns a runtime's {"error"}, short and printable.
func said(text []byte) string {
	var e struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &e) != nil || e.Error == "" {
		return "the runtime refuses it"
	}
	out := []rune{}
	for _, c := range e.Error {
		if c < ' ' || c == 0x7f {
			c = ' '
		}
		if out = append(out, c); len(out) == 200 {
			break
		}
	}
	return string(out)
}
