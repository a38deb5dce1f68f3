// Package onnx writes the fabric's models as ONNX files, which other runtimes
// load: the same weights, the same normalisation, the same names of inputs and
// outputs.
//
// Invariant: an exported file says nothing that the weights do not; the same
// weights are the same bytes. Its answers differ from ours by the rounding of
// float32, since we compute in float64.
package onnx

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/model"
)

// Names of the tensors, as our own runtime has them.
const (
	Rows          = "rows"
	Probabilities = "probabilities"
	Class         = "class"
)

// Versions of the format: https://onnx.ai/onnx/intro/concepts.html, the table of
// releases; every runtime since ONNX 1.12 reads them.
const (
	irVersion = 8
	opset     = 17
)

// Field numbers and constants of onnx.proto3, ONNX 1.12.
const (
	elemFloat = 1
	elemInt64 = 7
	attrInt   = 2
)

// Encode returns an ONNX file of weights (safetensors): input [Rows] float
// [N, inputs] in the units of the sites' files, outputs [Probabilities] float [N, classes]
// and [Class] int64 [N]. The name is kept in the file.
// Errors: [artifact.ErrTensors] and its relatives, [model.ErrKind].
func Encode(name string, weights []byte) ([]byte, error) {
	tensors, err := artifact.ParseTensors(weights)
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	spec, err := model.SpecOf(tensors)
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	net, err := model.Load(spec, tensors)
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	return file(name, graph(name, net)), nil
}

// graph is softmax(layers((rows - mean) / scale)), with ReLU between layers.
func graph(name string, net *model.Network) []byte {
	var g []byte
	constant := func(name string, values []float64, shape ...int) {
		g = message(g, 5, tensor(name, values, shape))
	}
	node := func(op, output string, attributes []byte, inputs ...string) {
		var n []byte
		for _, in := range inputs {
			n = text(n, 1, in)
		}
		n = text(text(text(n, 2, output), 3, output), 4, op)
		g = message(g, 1, append(n, attributes...))
	}
	node("Sub", "centred", nil, Rows, "mean")
	node("Div", "normalised", nil, "centred", "scale")
	at := "normalised"
	for i, layer := range net.Layers {
		out := layer.Name
		node("Gemm", out, nil, at, layer.Name+".weight", layer.Name+".bias")
		if i < len(net.Layers)-1 {
			node("Relu", out+".active", nil, out)
			out += ".active"
		}
		at = out
	}
	node("Softmax", Probabilities, integer("axis", 1), at)
	node("ArgMax", Class, append(integer("axis", 1), integer("keepdims", 0)...), Probabilities)
	g = text(g, 2, name)
	constant("mean", net.Mean, net.Inputs())
	constant("scale", net.Scale, net.Inputs())
	for _, layer := range net.Layers {
		constant(layer.Name+".weight", layer.Weight, layer.In, layer.Out)
		constant(layer.Name+".bias", layer.Bias, layer.Out)
	}
	g = message(g, 11, value(Rows, elemFloat, net.Inputs()))
	g = message(g, 12, value(Probabilities, elemFloat, net.Classes()))
	return message(g, 12, value(Class, elemInt64))
}

// file is a ModelProto.
func file(name string, graph []byte) []byte {
	m := number(nil, 1, irVersion)
	m = text(m, 2, "fabric")
	m = text(m, 4, "fabric/"+name)
	m = message(m, 7, graph)
	return message(m, 8, number(text(nil, 1, ""), 2, opset))
}

// tensor is a TensorProto of floats, row-major.
func tensor(name string, values []float64, shape []int) []byte {
	var t []byte
	for _, n := range shape {
		t = number(t, 1, uint64(n))
	}
	t = text(number(t, 2, elemFloat), 8, name)
	raw := make([]byte, 0, 4*len(values))
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(float32(v)))
	}
	return message(t, 9, raw)
}

// value is a ValueInfoProto of [N, columns...].
func value(name string, elem uint64, columns ...int) []byte {
	shape := message(nil, 1, text(nil, 2, "N"))
	for _, n := range columns {
		shape = message(shape, 1, number(nil, 1, uint64(n)))
	}
	return message(text(nil, 1, name), 2, message(nil, 1, message(number(nil, 1, elem), 2, shape)))
}

// integer is the field of a node that holds an AttributeProto.
func integer(name string, v uint64) []byte {
	return message(nil, 5, number(number(text(nil, 1, name), 3, v), 20, attrInt))
}

// The three below append a field of a message in the encoding of Protocol
// Buffers: a tag, which is the field's number and how it is written, and the value.
func number(b []byte, field, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, field<<3), v)
}

func message(b []byte, field uint64, m []byte) []byte {
	return append(binary.AppendUvarint(binary.AppendUvarint(b, field<<3|2), uint64(len(m))), m...)
}

func text(b []byte, field uint64, s string) []byte { return message(b, field, []byte(s)) }
