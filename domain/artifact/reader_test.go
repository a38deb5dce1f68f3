package artifact_test

import (
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// abc is the first test vector of FIPS 180-2, appendix B.1.
const abc = artifact.Digest("sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")

func TestExpect(t *testing.T) {
	away := errors.New("disk away")
	tests := []struct {
		name    string
		content io.Reader
		want    error
	}{
		{"accepts the content", strings.NewReader("abc"), nil},
		{"accepts it byte by byte", iotest.OneByteReader(strings.NewReader("abc")), nil},
		{"accepts it with the end", iotest.DataErrReader(strings.NewReader("abc")), nil},
		{"refuses other content", strings.NewReader("abd"), artifact.ErrContent},
		{"refuses a part", strings.NewReader("ab"), artifact.ErrContent},
		{"refuses more", strings.NewReader("abcd"), artifact.ErrContent},
		{"refuses nothing", strings.NewReader(""), artifact.ErrContent},
		{"passes the source's failure on", io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(away)), away},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := io.ReadAll(artifact.Expect(tt.content, abc))
			require.ErrorIs(t, err, tt.want)
			if tt.want == nil {
				require.NoError(t, err)
				require.Equal(t, "abc", string(got))
			}
		})
	}
}

func TestLimit(t *testing.T) {
	for _, wrap := range []func(io.Reader) io.Reader{
		func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader, iotest.HalfReader,
	} {
		got, err := io.ReadAll(artifact.Limit(wrap(strings.NewReader("abc")), 3))
		require.NoError(t, err)
		require.Equal(t, "abc", string(got))
		got, err = io.ReadAll(artifact.Limit(wrap(strings.NewReader("abcd")), 3))
		require.ErrorIs(t, err, artifact.ErrTooLarge)
		require.LessOrEqual(t, len(got), 3, "no byte beyond the limit is given away")
		_, err = io.ReadAll(artifact.Limit(wrap(strings.NewReader("")), 0))
		require.NoError(t, err)
	}
}

func TestHashed(t *testing.T) {
	begun := artifact.Expect(strings.NewReader("xabc"), artifact.DigestOf([]byte("xabc")))
	_, err := io.ReadFull(begun, make([]byte, 1))
	require.NoError(t, err)
	tests := []struct {
		name    string
		content io.Reader
	}{
		{"any content", strings.NewReader("abc")},
		{"what is compared already", artifact.Expect(strings.NewReader("abc"), abc)},
		{"what was read of it, and not what was read before", begun},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			content, sum := artifact.Hashed(tt.content)
			_, err := io.Copy(io.Discard, content)
			require.NoError(t, err)
			require.Equal(t, abc.Hex(), hex.EncodeToString(sum.Sum(nil)))
		})
	}
}
