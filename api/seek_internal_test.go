package api

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A counted stream says how much was read of it.
type counted struct {
	*strings.Reader
	read *int
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.read += n
	return n, err
}

func (counted) Close() error { return nil }

// A part costs what it is long where the stream can seek, and else all that
// comes before it too.
func TestASeekerReadsNoMoreThanItMust(t *testing.T) {
	const text = "0123456789"
	for _, tt := range []struct {
		name string
		wrap func(counted) io.ReadCloser
		want int
	}{
		{"a stream that seeks", func(c counted) io.ReadCloser { return c }, 3},
		{"one that only runs", func(c counted) io.ReadCloser {
			return struct {
				io.Reader
				io.Closer
			}{struct{ io.Reader }{c}, c}
		}, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var read, opened int
			open := func(context.Context) (io.ReadCloser, error) {
				opened++
				return tt.wrap(counted{strings.NewReader(text), &read}), nil
			}
			at, err := open(t.Context())
			require.NoError(t, err)
			s := &seeker{ctx: t.Context(), open: open, size: int64(len(text)), at: at}
			_, err = s.Seek(7, io.SeekStart)
			require.NoError(t, err)
			got, err := io.ReadAll(s)
			require.NoError(t, err)
			require.Equal(t, "789", string(got))
			require.Equal(t, tt.want, read)
			_, err = s.Seek(0, io.SeekStart) // the whole is read anew, so that it is compared
			require.NoError(t, err)
			got, err = io.ReadAll(s)
			require.NoError(t, err)
			require.Equal(t, text, string(got))
			require.Equal(t, 2, opened)
		})
	}
}
