package onnx_test

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/onnx"
)

// fields reads one message of Protocol Buffers: all that onnx.proto needs.
func fields(t *testing.T, b []byte) map[uint64][]any {
	t.Helper()
	out := map[uint64][]any{}
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		require.Positive(t, n)
		v, m := binary.Uvarint(b[n:])
		require.Positive(t, m)
		b = b[n+m:]
		switch tag & 7 {
		case 0:
			out[tag>>3] = append(out[tag>>3], v)
		case 2:
			require.LessOrEqual(t, v, uint64(len(b)))
			out[tag>>3] = append(out[tag>>3], b[:v])
			b = b[v:]
		default:
			t.Fatalf("wire type %d", tag&7)
		}
	}
	return out
}

func text(v any) string { return string(v.([]byte)) }

// The graph is computed here by the words of the operators' specification
// (ONNX 1.12, opset 17: Sub, Div, Gemm, Relu, Softmax) and compared with the
// model's own answers.
func TestTheExportedGraphComputesTheModel(t *testing.T) {
	for _, spec := range []round.ModelSpec{
		{Trainer: round.TrainerLogistic, Inputs: 3, Classes: 2},
		{Trainer: round.TrainerMLP, Inputs: 4, Hidden: 5, Classes: 3},
	} {
		tensors := model.Initial(spec, 9)
		for i := range tensors {
			for j := range tensors[i].F32 {
				tensors[i].F32[j] += float32(j%7)/8 - 0.25
				if tensors[i].Name == round.TensorScale {
					tensors[i].F32[j] = 0.5 + float32(j)
				}
			}
		}
		weights, err := tensors.Encode()
		require.NoError(t, err)
		file, err := onnx.Encode("m", weights)
		require.NoError(t, err)
		again, err := onnx.Encode("m", weights)
		require.NoError(t, err)
		require.Equal(t, file, again)

		m := fields(t, file)
		require.EqualValues(t, 8, m[1][0], "IR version")
		require.EqualValues(t, 17, fields(t, m[8][0].([]byte))[2][0], "opset")
		g := fields(t, m[7][0].([]byte))
		values := map[string][]float64{}
		for _, raw := range g[5] {
			c := fields(t, raw.([]byte))
			data := c[9][0].([]byte)
			name := text(c[8][0])
			require.EqualValues(t, 1, c[2][0], "float")
			for i := 0; i < len(data); i += 4 {
				values[name] = append(values[name], float64(math.Float32frombits(binary.LittleEndian.Uint32(data[i:]))))
			}
		}
		row := []float64{1, -2, 0.5, 3}[:spec.Inputs]
		values[onnx.Rows] = row
		for _, raw := range g[1] {
			n := fields(t, raw.([]byte))
			var in [][]float64
			for _, name := range n[1] {
				require.Contains(t, values, text(name), "nodes stand in order")
				in = append(in, values[text(name)])
			}
			var out []float64
			switch op := text(n[4][0]); op {
			case "Sub":
				for i := range in[0] {
					out = append(out, in[0][i]-in[1][i])
				}
			case "Div":
				for i := range in[0] {
					out = append(out, in[0][i]/in[1][i])
				}
			case "Gemm": // Y = A B + C
				out = append(out, in[2]...)
				for i, a := range in[0] {
					for j := range out {
						out[j] += a * in[1][i*len(out)+j]
					}
				}
			case "Relu":
				for _, a := range in[0] {
					out = append(out, max(a, 0))
				}
			case "Softmax":
				sum := 0.0
				for _, a := range in[0] {
					out = append(out, math.Exp(a))
					sum += math.Exp(a)
				}
				for i := range out {
					out[i] /= sum
				}
			case "ArgMax":
				out = []float64{float64(model.Argmax(in[0]))}
			default:
				t.Fatalf("operator %s", op)
			}
			values[text(n[2][0])] = out
		}
		net, err := model.Load(spec, tensors)
		require.NoError(t, err)
		want, err := net.Probabilities([][]float64{row})
		require.NoError(t, err)
		require.InDeltaSlice(t, want[0], values[onnx.Probabilities], 1e-12)
		require.Len(t, g[12], 2)
	}
}

func TestEncodeRefuses(t *testing.T) {
	_, err := onnx.Encode("m", []byte("no tensors"))
	require.Error(t, err)
	other := artifact.Tensors{{Name: "x", DType: artifact.F32, Shape: []int{1}, F32: []float32{1}}}
	text, err := other.Encode()
	require.NoError(t, err)
	_, err = onnx.Encode("m", text)
	require.ErrorIs(t, err, model.ErrKind)
}
