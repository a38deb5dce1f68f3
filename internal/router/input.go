package router

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/atom-fabric/fabric/internal/strictjson"
)

// maxRows bounds a batch, as the runtime does.
const maxRows = 4096

// translate returns the request of the Open Inference Protocol V2 that an input
// stands for, and whether the answer is to be translated back. An input with
// "inputs" is such a request already and is passed on as it is; one with "data"
// is a list of rows of numbers.
func translate(input json.RawMessage) (body []byte, back bool, p *problem) {
	members, err := strictjson.Object(input)
	if err != nil {
		return nil, false, badInput("/input", "cannot be read")
	}
	var data, inputs json.RawMessage
	for _, m := range members {
		switch m.Name {
		case "data":
			data = m.Value
		case "inputs":
			inputs = m.Value
		case "id", "parameters", "outputs":
		default:
			return nil, false, badInput("/input", "has other members than data, inputs, id, parameters and outputs")
		}
	}
	switch {
	case data == nil && inputs == nil:
		return nil, false, badInput("/input", "give data, a list of rows of numbers, or inputs, tensors of the Open Inference Protocol V2")
	case data != nil && len(members) > 1:
		return nil, false, badInput("/input", "data stands alone")
	case inputs != nil:
		return input, false, nil
	}
	rows, columns, problem := measure(data)
	if problem != nil {
		return nil, false, problem
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `{"inputs":[{"name":"rows","datatype":"FP64","shape":[%d,%d],"data":`, rows, columns)
	out.Write(data)
	out.WriteString(`}]}`)
	return out.Bytes(), true, nil
}

// measure returns the shape of rows of numbers, all of the same length. One row
// may stand without the brackets around it. The text is known to be JSON.
func measure(data json.RawMessage) (rows, columns int, p *problem) {
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil || len(list) == 0 {
		return 0, 0, badInput("/input/data", "must be a list of rows")
	}
	if list[0][0] != '[' {
		columns, p = count(data, "/input/data")
		return 1, columns, p
	}
	if len(list) > maxRows {
		return 0, 0, badInput("/input/data", "at most %d rows", maxRows)
	}
	for i, row := range list {
		at := "/input/data/" + strconv.Itoa(i)
		n, problem := count(row, at)
		if problem != nil {
			return 0, 0, problem
		}
		if i > 0 && n != columns {
			return 0, 0, badInput(at, "is not as long as the first row")
		}
		columns = n
	}
	return len(list), columns, nil
}

// count returns the length of a list of finite numbers.
func count(row json.RawMessage, at string) (int, *problem) {
	var numbers []*float64
	if err := json.Unmarshal(row, &numbers); err != nil || len(numbers) == 0 {
		return 0, badInput(at, "must be a list of finite numbers")
	}
	for i, n := range numbers {
		if n == nil {
			return 0, badInput(at+"/"+strconv.Itoa(i), "must be a number")
		}
	}
	return len(numbers), nil
}

// An oipAnswer is what is read of a runtime's answer.
type oipAnswer struct {
	ModelName    string `json:"model_name"`
	ModelVersion string `json:"model_version"`
	Outputs      []struct {
		Name     string          `json:"name"`
		Shape    []int           `json:"shape"`
		Datatype string          `json:"datatype"`
		Data     json.RawMessage `json:"data"`
	} `json:"outputs"`
}

// output checks a runtime's answer and returns what the caller gets of it: the
// outputs by name, nested by shape, or {"outputs": ...} for a request that was
// passed on as it is. An answer of another model or version is none.
func output(text []byte, wire string, version int, back bool) (json.RawMessage, error) {
	var a oipAnswer
	if err := json.Unmarshal(text, &a); err != nil {
		return nil, fmt.Errorf("not an answer of the protocol: %w", err)
	}
	if a.ModelName != wire || a.ModelVersion != "" && a.ModelVersion != strconv.Itoa(version) {
		return nil, fmt.Errorf("an answer of another model or version")
	}
	if len(a.Outputs) == 0 {
		return nil, fmt.Errorf("no outputs")
	}
	named := make(map[string]json.RawMessage, len(a.Outputs))
	for _, o := range a.Outputs {
		nested, err := nest(o.Data, o.Shape)
		if err != nil {
			return nil, fmt.Errorf("an output: %w", err)
		}
		if o.Name == "" || named[o.Name] != nil {
			return nil, fmt.Errorf("an output without a name of its own")
		}
		named[o.Name] = nested
	}
	if back {
		return compact(named)
	}
	return compact(map[string]any{"outputs": a.Outputs})
}

// nest returns data, flat or nested, nested as the shape says, if it has as many
// elements.
func nest(data json.RawMessage, shape []int) (json.RawMessage, error) {
	flat, err := flatten(nil, data, 0)
	if err != nil {
		return nil, err
	}
	size := 1
	for _, dim := range shape {
		if dim < 0 || dim > maxAnswer || size > maxAnswer {
			return nil, errShape
		}
		size *= dim
	}
	if size != len(flat) || len(shape) == 0 || len(shape) > maxDims {
		return nil, errShape
	}
	return build(flat, shape)
}

// maxDims bounds the nesting of a tensor.
const maxDims = 8

var errShape = errors.New("the data does not have the shape")

func flatten(flat []json.RawMessage, data json.RawMessage, depth int) ([]json.RawMessage, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil || depth == maxDims {
		return nil, errShape
	}
	for _, item := range list {
		if item[0] != '[' {
			flat = append(flat, item)
			continue
		}
		var err error
		if flat, err = flatten(flat, item, depth+1); err != nil {
			return nil, err
		}
	}
	return flat, nil
}

func build(list []json.RawMessage, shape []int) (json.RawMessage, error) {
	if len(shape) == 1 {
		return compact(list)
	}
	groups := make([]json.RawMessage, shape[0])
	for i := range groups {
		size := len(list) / len(groups)
		group, err := build(list[i*size:(i+1)*size], shape[1:])
		if err != nil {
			return nil, err
		}
		groups[i] = group
	}
	return compact(groups)
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
