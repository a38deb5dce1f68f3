package artifact_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
)

var streamed = []artifact.TensorInfo{
	{Name: "a", DType: artifact.F64, Shape: []int{3}},
	{Name: "b", DType: artifact.F32, Shape: []int{2, 2}},
}

// What is written piece by piece is what Encode writes at once.
func TestTensorWriterWritesWhatEncodeWrites(t *testing.T) {
	tensors := artifact.Tensors{
		{Name: "a", DType: artifact.F64, Shape: []int{3}, F64: []float64{1, math.Inf(-1), 1e-300}},
		{Name: "b", DType: artifact.F32, Shape: []int{2, 2}, F32: []float32{1, 2, 3, 4}},
	}
	want, err := tensors.Encode()
	require.NoError(t, err)
	var raw []byte
	for _, v := range tensors[0].F64 {
		raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(v))
	}
	for _, v := range tensors[1].F32 {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	var got bytes.Buffer
	w, err := artifact.NewTensorWriter(&got, streamed)
	require.NoError(t, err)
	for _, part := range [][]byte{raw[:5], raw[5:30], raw[30:]} {
		n, err := w.Write(part)
		require.NoError(t, err)
		require.Equal(t, len(part), n)
	}
	require.NoError(t, w.Close())
	require.Equal(t, want, got.Bytes())

	// And ReadRaw gives the bytes back, whole elements at a time.
	r, err := artifact.NewTensorReader(iotest.OneByteReader(bytes.NewReader(want)))
	require.NoError(t, err)
	var back []byte
	for {
		_, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		for {
			var chunk [17]byte // two F64, or four F32
			n, err := r.ReadRaw(chunk[:])
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			require.Contains(t, []int{8, 16}, n)
			back = append(back, chunk[:n]...)
		}
	}
	require.Equal(t, raw, back)
}

func TestTensorWriterRefuses(t *testing.T) {
	w, err := artifact.NewTensorWriter(io.Discard, streamed)
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 39))
	require.NoError(t, err)
	require.ErrorIs(t, w.Close(), artifact.ErrTruncated)
	_, err = w.Write(make([]byte, 2))
	require.ErrorIs(t, err, artifact.ErrTail)
	_, err = w.Write(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, w.Close())

	_, err = artifact.NewTensorWriter(io.Discard, nil)
	require.ErrorIs(t, err, artifact.ErrTooLarge)
	for want, give := range map[error]artifact.TensorInfo{
		artifact.ErrTensorName:  {Name: "a b", DType: artifact.F32},
		artifact.ErrTensorOrder: {Name: "0", DType: artifact.F32},
		artifact.ErrDType:       {Name: "b", DType: "I8"},
		artifact.ErrShape:       {Name: "b", DType: artifact.F32, Shape: []int{0}},
	} {
		_, err := artifact.NewTensorWriter(io.Discard, append(streamed[:1:1], give))
		require.ErrorIs(t, err, want)
	}
}

func TestReadRawTellsAnEarlyEnd(t *testing.T) {
	content, err := (artifact.Tensors{{Name: "a", DType: artifact.F32, Shape: []int{4}, F32: make([]float32, 4)}}).Encode()
	require.NoError(t, err)
	r, err := artifact.NewTensorReader(bytes.NewReader(content[:len(content)-1]))
	require.NoError(t, err)
	_, err = r.Next()
	require.NoError(t, err)
	_, err = r.ReadRaw(make([]byte, 64))
	require.ErrorIs(t, err, artifact.ErrTruncated)
}
