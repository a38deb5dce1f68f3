package evidence

import (
	"archive/zip"
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPackIsOneByteString(t *testing.T) {
	p := Pack{"plan.json": []byte(`{"a":1}`), "rounds/1/bundle.json": []byte("b"), "empty": {}}
	one, err := p.Encode()
	require.NoError(t, err)
	two, err := Pack{"empty": nil, "rounds/1/bundle.json": []byte("b"), "plan.json": []byte(`{"a":1}`)}.Encode()
	require.NoError(t, err)
	require.Equal(t, one, two)
	back, err := Decode(one)
	require.NoError(t, err)
	require.Equal(t, p, back)
	r, err := zip.NewReader(bytes.NewReader(one), int64(len(one)))
	require.NoError(t, err)
	require.Equal(t, index, r.File[0].Name, "any unzip reads it")
}

// Every byte counts: names, lengths, sums, flags, times.
func TestEveryFlippedByteOfAPackIsRefused(t *testing.T) {
	packed, err := Pack{"plan.json": []byte(`{"a":1}`), "rounds/1/bundle.json": []byte("bundle")}.Encode()
	require.NoError(t, err)
	for i := range packed {
		for _, bit := range []byte{1, 0x20, 0x80} {
			flipped := bytes.Clone(packed)
			flipped[i] ^= bit
			_, err := Decode(flipped)
			require.Error(t, err, "byte %d of %d, bit %#x", i, len(packed), bit)
		}
	}
	for _, n := range []int{0, 1, len(packed) / 2, len(packed) - 1} {
		_, err := Decode(packed[:n])
		require.ErrorIs(t, err, ErrForm, "cut to %d", n)
	}
	for _, more := range [][]byte{append(bytes.Clone(packed), 0), append([]byte{0}, packed...)} {
		_, err := Decode(more)
		require.Error(t, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	raw := func(files ...string) []byte {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		for i := 0; i < len(files); i += 2 {
			require.NoError(t, store(w, files[i], []byte(files[i+1])))
		}
		require.NoError(t, w.Close())
		return b.Bytes()
	}
	none := fmt.Sprintf(`{"files":[],"format":%q}`, format)
	for name, tt := range map[string]struct {
		packed []byte
		want   error
	}{
		"no zip":            {[]byte("PK"), ErrForm},
		"no index":          {raw("a", "1"), ErrForm},
		"another format":    {raw(index, `{"files":[],"format":"fabric-evidence/v2"}`), ErrForm},
		"two indexes":       {raw(index, none, index, none), ErrForm},
		"a key too many":    {raw(index, `{"files":[],"format":"fabric-evidence/v1","x":1}`), ErrForm},
		"a way out":         {raw(index, none, "../a", "1"), ErrForm},
		"an absolute path":  {raw(index, none, "/a", "1"), ErrForm},
		"a file not listed": {raw(index, none, "a", "1"), ErrBytes},
		"white space":       {raw(index, " "+none), ErrBytes},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode(tt.packed)
			require.ErrorIs(t, err, tt.want)
		})
	}
	_, err := Pack{"../a": nil}.Encode()
	require.ErrorIs(t, err, ErrForm)
	_, err = Pack{index: nil}.Encode()
	require.ErrorIs(t, err, ErrForm)
}
