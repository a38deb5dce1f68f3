package artifact_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// vectors are written by tests/vectors/safetensors/generate.py.
type vectors struct {
	Source   string
	Accepted []struct {
		Name, Hex string
		Tensors   []struct {
			Name   string
			DType  artifact.DType
			Shape  []int
			Values []float64
		}
	}
	Refused []struct{ Name, Why, Hex string }
}

func readVectors(t testing.TB) vectors {
	content, err := os.ReadFile("../../tests/vectors/safetensors/vectors.json")
	require.NoError(t, err)
	var v vectors
	require.NoError(t, json.Unmarshal(content, &v))
	require.NotEmpty(t, v.Accepted)
	require.NotEmpty(t, v.Refused)
	return v
}

func unhex(t testing.TB, s string) []byte {
	content, err := hex.DecodeString(s)
	require.NoError(t, err)
	return content
}

func TestAcceptedVectors(t *testing.T) {
	for _, v := range readVectors(t).Accepted {
		t.Run(v.Name, func(t *testing.T) {
			content := unhex(t, v.Hex)
			r, err := artifact.NewTensorReader(iotest.OneByteReader(bytes.NewReader(content)))
			require.NoError(t, err)
			halves := false
			for _, want := range v.Tensors {
				info, err := r.Next()
				require.NoError(t, err)
				require.Equal(t, want.Name, info.Name)
				require.Equal(t, want.DType, info.DType)
				require.ElementsMatch(t, want.Shape, info.Shape)
				require.Equal(t, want.Values, drain(t, r))
				halves = halves || info.DType == artifact.F16 || info.DType == artifact.BF16
			}
			_, err = r.Next()
			require.ErrorIs(t, err, io.EOF)

			tensors, err := artifact.ParseTensors(content)
			if halves {
				require.ErrorIs(t, err, artifact.ErrDType)
				return
			}
			require.NoError(t, err)
			again, err := tensors.Encode()
			require.NoError(t, err)
			require.Equal(t, content, again, "our writer and the independent one agree on every byte")
		})
	}
}

func TestRefusedVectors(t *testing.T) {
	why := map[string]error{
		"header-length": artifact.ErrHeaderLength,
		"header":        artifact.ErrHeader,
		"name":          artifact.ErrTensorName,
		"order":         artifact.ErrTensorOrder,
		"dtype":         artifact.ErrDType,
		"shape":         artifact.ErrShape,
		"layout":        artifact.ErrLayout,
		"truncated":     artifact.ErrTruncated,
		"tail":          artifact.ErrTail,
	}
	for _, v := range readVectors(t).Refused {
		t.Run(v.Name, func(t *testing.T) {
			require.Contains(t, why, v.Why)
			tensors, err := artifact.ParseTensors(unhex(t, v.Hex))
			require.ErrorIs(t, err, why[v.Why])
			require.Nil(t, tensors)
		})
	}
}

func TestReaderSkipsWhatIsNotRead(t *testing.T) {
	content, err := artifact.Tensors{vector("b", 3, 4), vector("a", 1, 2)}.Encode()
	require.NoError(t, err)
	r, err := artifact.NewTensorReader(bytes.NewReader(content))
	require.NoError(t, err)
	_, err = r.Next()
	require.NoError(t, err)
	info, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, "b", info.Name)
	require.Equal(t, []float64{3, 4}, drain(t, r))
}

func TestReaderReportsTheSourcesOwnFailure(t *testing.T) {
	content, err := artifact.Tensors{vector("a", 1, 2)}.Encode()
	require.NoError(t, err)
	broken := errors.New("digest differs")
	for cut := range len(content) + 1 {
		src := io.MultiReader(bytes.NewReader(content[:cut]), iotest.ErrReader(broken))
		_, err := artifact.ReadTensors(src, 1<<20)
		require.ErrorIs(t, err, broken, "after %d bytes", cut)
	}
}

func TestReadTensorsHoldsToTheLimit(t *testing.T) {
	content, err := artifact.Tensors{vector("a", 1, 2)}.Encode()
	require.NoError(t, err)
	_, err = artifact.ReadTensors(bytes.NewReader(content), 7)
	require.ErrorIs(t, err, artifact.ErrTooLarge)
	_, err = artifact.ReadTensors(bytes.NewReader(content), 8)
	require.NoError(t, err)
}

func TestTooManyTensors(t *testing.T) {
	many := make(artifact.Tensors, artifact.MaxTensors+1)
	for i := range many {
		many[i] = vector(string(rune('a'+i%26))+hex.EncodeToString(binary.BigEndian.AppendUint32(nil, uint32(i))), 1)
	}
	_, err := many.Encode()
	require.ErrorIs(t, err, artifact.ErrTooLarge)
	content, err := many[1:].Encode()
	require.NoError(t, err)
	got, err := artifact.ParseTensors(content)
	require.NoError(t, err)
	require.Len(t, got, artifact.MaxTensors)

	var head bytes.Buffer // one more than the writer would write
	head.WriteByte('{')
	for i := range artifact.MaxTensors + 1 {
		if i > 0 {
			head.WriteByte(',')
		}
		name := hex.EncodeToString(binary.BigEndian.AppendUint32(nil, uint32(i)))
		offsets, err := json.Marshal([]int{4 * i, 4*i + 4})
		require.NoError(t, err)
		head.WriteString(`"` + name + `":{"dtype":"F32","shape":[1],"data_offsets":` + string(offsets) + "}")
	}
	head.WriteByte('}')
	head.WriteString(strings.Repeat(" ", (8-head.Len()%8)%8))
	_, err = artifact.ParseTensors(append(binary.LittleEndian.AppendUint64(nil, uint64(head.Len())), head.Bytes()...))
	require.ErrorIs(t, err, artifact.ErrTooLarge)
}

func TestWriterRefuses(t *testing.T) {
	tests := []struct {
		name string
		give artifact.Tensors
		want error
	}{
		{"no tensor at all", nil, artifact.ErrTooLarge},
		{"a name twice", artifact.Tensors{vector("a", 1), vector("a", 2)}, artifact.ErrTensorOrder},
		{"a name that needs an escape", artifact.Tensors{vector("a\"b", 1)}, artifact.ErrTensorName},
		{"the metadata key as a tensor", artifact.Tensors{vector("__metadata__", 1)}, artifact.ErrTensorName},
		{"fewer elements than the shape", artifact.Tensors{{Name: "a", DType: artifact.F32, Shape: []int{2}, F32: []float32{1}}}, artifact.ErrShape},
		{"elements of the other type", artifact.Tensors{{Name: "a", DType: artifact.F64, Shape: []int{1}, F32: []float32{1}}}, artifact.ErrShape},
		{"no elements", artifact.Tensors{{Name: "a", DType: artifact.F32, Shape: []int{0}}}, artifact.ErrShape},
		{"half precision", artifact.Tensors{{Name: "a", DType: artifact.F16, Shape: []int{1}, F32: []float32{1}}}, artifact.ErrDType},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			_, err := tt.give.WriteTo(&out)
			require.ErrorIs(t, err, tt.want)
			require.Zero(t, out.Len(), "nothing is written of tensors that do not encode")
		})
	}
}

// One model is one byte string: whatever order the tensors are given in, and
// whatever bits they hold.
func TestEncodingIsCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z][a-z0-9._]{0,8}`), 1, 6, rapid.ID).Draw(t, "names")
		var tensors artifact.Tensors
		for _, name := range names {
			if bits := rapid.SliceOfN(rapid.Uint32(), 1, 9).Draw(t, "bits"); rapid.Bool().Draw(t, "wide") {
				tensor := artifact.Tensor{Name: name, DType: artifact.F64, Shape: []int{1, len(bits)}}
				for _, b := range bits {
					tensor.F64 = append(tensor.F64, math.Float64frombits(uint64(b)<<32|uint64(b)))
				}
				tensors = append(tensors, tensor)
			} else {
				tensor := artifact.Tensor{Name: name, DType: artifact.F32, Shape: []int{len(bits)}}
				for _, b := range bits {
					tensor.F32 = append(tensor.F32, math.Float32frombits(b))
				}
				tensors = append(tensors, tensor)
			}
		}
		first, err := tensors.Encode()
		require.NoError(t, err)
		shuffled, err := rapid.Permutation(tensors).Draw(t, "order").Encode()
		require.NoError(t, err)
		require.Equal(t, first, shuffled)
		back, err := artifact.ParseTensors(first)
		require.NoError(t, err)
		again, err := back.Encode()
		require.NoError(t, err)
		require.Equal(t, first, again)
	})
}

// FuzzTensors holds that what is accepted is canonical: it encodes to itself.
func FuzzTensors(f *testing.F) {
	v := readVectors(f)
	for _, good := range v.Accepted {
		f.Add(unhex(f, good.Hex))
	}
	for _, bad := range v.Refused {
		f.Add(unhex(f, bad.Hex))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		tensors, err := artifact.ParseTensors(content)
		if err != nil {
			return
		}
		again, err := tensors.Encode()
		require.NoError(t, err)
		require.Equal(t, content, again)
	})
}

func vector(name string, values ...float32) artifact.Tensor {
	return artifact.Tensor{Name: name, DType: artifact.F32, Shape: []int{len(values)}, F32: values}
}

// drain reads the current tensor in pieces of three.
func drain(t *testing.T, r *artifact.TensorReader) []float64 {
	var out []float64
	var piece [3]float64
	for {
		n, err := r.Read(piece[:])
		out = append(out, piece[:n]...)
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
	}
}
