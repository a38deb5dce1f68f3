package api

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// A frail writer takes so many pieces and then fails.
type frail struct {
	bytes.Buffer
	left int
	err  error
}

func (w *frail) Write(p []byte) (int, error) {
	if w.left--; w.left < 0 {
		return 0, w.err
	}
	return w.Buffer.Write(p)
}

// A watched reader knows whether somebody reads it after it was let go.
type watched struct {
	io.Reader
	gone bool
	late bool
}

func (r *watched) Read(p []byte) (int, error) {
	r.late = r.late || r.gone
	return r.Reader.Read(p)
}

func TestReadAhead(t *testing.T) {
	text := make([]byte, 5*pieceBytes+17)
	_, err := rand.NewChaCha8([32]byte{4}).Read(text)
	require.NoError(t, err)
	away, cut := errors.New("disk away"), errors.New("line cut")
	for _, tt := range []struct {
		name    string
		content io.Reader
		takes   int
		want    []byte
		err     error
	}{
		{"the whole, in order", bytes.NewReader(text), 1 << 20, text, nil},
		{"in small reads", iotest.HalfReader(bytes.NewReader(text)), 1 << 20, text, nil},
		{"with the end", iotest.DataErrReader(bytes.NewReader(text)), 1 << 20, text, nil},
		{"nothing", bytes.NewReader(nil), 1 << 20, nil, nil},
		{"up to where reading fails", io.MultiReader(bytes.NewReader(text), iotest.ErrReader(away)), 1 << 20, text, away},
		{"up to where writing fails", bytes.NewReader(text), 2, text[:2*pieceBytes], cut},
		{"nothing of what cannot be written", bytes.NewReader(text), 0, nil, cut},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to := &frail{left: tt.takes, err: cut}
			from := &watched{Reader: tt.content}
			n, err := readAhead(to, from)
			from.gone = true
			require.ErrorIs(t, err, tt.err)
			require.Equal(t, int64(len(tt.want)), n)
			require.True(t, bytes.Equal(tt.want, to.Bytes()))
			require.False(t, from.late)
		})
	}
}
