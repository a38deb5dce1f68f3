package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/atom-fabric/fabric/internal/strictjson"
)

// ErrInput says that a request's tensors are not what the model takes. The
// text after it is for the caller and holds none of the caller's values.
var ErrInput = errors.New("input refused")

// maxRows bounds a batch.
const maxRows = 4096

// An inferRequest is a request of the Open Inference Protocol V2.
type inferRequest struct {
	id      string
	rows    [][]float64
	outputs map[string]bool // nil: all
}

// parseInfer reads a request for a model with that many inputs.
func parseInfer(body []byte, inputs int) (inferRequest, error) {
	var req inferRequest
	var tensors, outputs, parameters json.RawMessage
	err := strictjson.Decode(body, map[string]any{"id": &req.id, "parameters": &parameters, "inputs": &tensors, "outputs": &outputs})
	if err != nil {
		return req, fmt.Errorf("%w: %w", ErrInput, err)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(tensors, &list); err != nil || len(list) != 1 {
		return req, fmt.Errorf("%w: inputs must be a list of one tensor", ErrInput)
	}
	if req.rows, err = parseRows(list[0], inputs); err != nil {
		return req, err
	}
	if len(outputs) > 0 && string(outputs) != "null" {
		req.outputs, err = parseOutputs(outputs)
	}
	return req, err
}

func parseOutputs(text json.RawMessage) (map[string]bool, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("%w: outputs must be a list", ErrInput)
	}
	wanted := map[string]bool{}
	for _, item := range list {
		var name string
		var parameters json.RawMessage
		if err := strictjson.Decode(item, map[string]any{"name": &name, "parameters": &parameters}); err != nil {
			return nil, fmt.Errorf("%w: an output: %w", ErrInput, err)
		}
		if name != outProbabilities && name != outClass {
			return nil, fmt.Errorf("%w: an output has a name that the model does not have", ErrInput)
		}
		wanted[name] = true
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	return wanted, nil
}

// parseRows reads a tensor [rows, inputs] or [inputs] of FP32 or FP64.
func parseRows(text json.RawMessage, inputs int) ([][]float64, error) {
	var name, datatype string
	var shape []int
	var data, parameters json.RawMessage
	err := strictjson.Decode(text, map[string]any{"name": &name, "datatype": &datatype, "shape": &shape, "data": &data, "parameters": &parameters})
	if err != nil {
		return nil, fmt.Errorf("%w: inputs/0: %w", ErrInput, err)
	}
	if name == "" {
		return nil, fmt.Errorf("%w: inputs/0/name is missing", ErrInput)
	}
	if datatype != "FP32" && datatype != "FP64" {
		return nil, fmt.Errorf("%w: inputs/0/datatype must be FP32 or FP64", ErrInput)
	}
	switch {
	case len(shape) == 1 && shape[0] == inputs:
		shape = []int{1, inputs}
	case len(shape) != 2 || shape[1] != inputs || shape[0] < 1 || shape[0] > maxRows:
		return nil, fmt.Errorf("%w: inputs/0/shape must be [rows, %d] with 1 to %d rows", ErrInput, inputs, maxRows)
	}
	n := numbers{text: data, single: datatype == "FP32", out: make([]float64, 0, shape[0]*inputs)}
	if err := n.read(shape); err != nil {
		return nil, fmt.Errorf("%w: inputs/0/data: %w", ErrInput, err)
	}
	rows := make([][]float64, shape[0])
	for i := range rows {
		rows[i] = n.out[i*inputs : (i+1)*inputs]
	}
	return rows, nil
}

// numbers reads the data of a tensor, flat or nested as its shape says, out of
// text that is known to be JSON.
type numbers struct {
	text   []byte
	at     int
	single bool
	out    []float64
}

var (
	errNotNumber = errors.New("holds what is not a finite number of the datatype")
	errNested    = errors.New("is neither flat nor nested as the shape says")
)

func (n *numbers) read(shape []int) error {
	size := 1
	for _, dim := range shape {
		size *= dim
	}
	nested := false
	for _, b := range n.text[min(1, len(n.text)):] {
		if b == '[' {
			nested = true
			break
		}
		if b != ' ' && b != '\n' && b != '\t' && b != '\r' {
			break
		}
	}
	if !nested {
		shape = []int{size}
	}
	return n.array(shape)
}

func (n *numbers) next() byte {
	for n.at < len(n.text) {
		switch b := n.text[n.at]; b {
		case ' ', '\n', '\t', '\r':
			n.at++
		default:
			return b
		}
	}
	return 0
}

func (n *numbers) array(shape []int) error {
	if n.next() != '[' {
		return errNested
	}
	n.at++
	for i := range shape[0] {
		if i > 0 {
			if n.next() != ',' {
				return errNested
			}
			n.at++
		}
		if len(shape) > 1 {
			if err := n.array(shape[1:]); err != nil {
				return err
			}
			continue
		}
		if err := n.number(); err != nil {
			return err
		}
	}
	if n.next() != ']' {
		return errNested
	}
	n.at++
	return nil
}

func (n *numbers) number() error {
	if b := n.next(); b != '-' && (b < '0' || b > '9') {
		if b == ']' || b == '[' {
			return errNested
		}
		return errNotNumber // null, true, a text
	}
	from := n.at
	for n.at < len(n.text) && n.text[n.at] != ',' && n.text[n.at] != ']' && n.text[n.at] > ' ' {
		n.at++
	}
	bits := 64
	if n.single {
		bits = 32
	}
	v, err := strconv.ParseFloat(string(n.text[from:n.at]), bits)
	if err != nil {
		return errNotNumber // out of range: the text was JSON
	}
	n.out = append(n.out, v)
	return nil
}
