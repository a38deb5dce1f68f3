package agent

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/internal/durable"
)

func sealer(t testing.TB) *records {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	r, err := newRecords(filepath.Join(t.TempDir(), "rounds"), key)
	require.NoError(t, err)
	return r
}

// What was sealed is read back in any place, whatever its length, and nothing of
// it is in the file.
func TestSealedFilesAreReadInPlaces(t *testing.T) {
	r := sealer(t)
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.SampledFrom([]int{0, 1, 63, sealedBlock - 1, sealedBlock, sealedBlock + 1, 3 * sealedBlock, 3*sealedBlock + 7}).Draw(rt, "length")
		content := make([]byte, n)
		for i := range content {
			content[i] = byte(i*7 + i>>8)
		}
		require.NoError(rt, r.seal("a", updateFile, bytes.NewReader(content)))
		raw, err := os.ReadFile(filepath.Join(r.dir, "a"+updateFile))
		require.NoError(rt, err)
		if n >= 63 {
			require.False(rt, bytes.Contains(raw, content[:63]))
		}
		f, err := r.unseal("a", updateFile)
		require.NoError(rt, err)
		defer f.Close()
		require.EqualValues(rt, n, f.Size())
		got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		require.NoError(rt, err)
		require.True(rt, bytes.Equal(content, got))
		for range 8 {
			at := rapid.IntRange(0, n).Draw(rt, "at")
			part := make([]byte, rapid.IntRange(0, 2*sealedBlock).Draw(rt, "part"))
			got, err := f.ReadAt(part, int64(at))
			want := copy(make([]byte, len(part)), content[at:])
			require.Equal(rt, want, got)
			require.Equal(rt, want < len(part), err != nil, "%v", err)
			require.True(rt, bytes.Equal(content[at:at+got], part[:got]))
		}
	})
}

// Blocks that were changed, moved, left out, added or taken from an older file,
// and a file under another name, are refused where they are read.
func TestSealedFilesThatWereTouchedAreRefused(t *testing.T) {
	r := sealer(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 3*sealedBlock/16)
	path := filepath.Join(r.dir, "a"+updateFile)
	seal := func() []byte {
		require.NoError(t, r.seal("a", updateFile, bytes.NewReader(content)))
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		return raw
	}
	older, good := seal(), seal()
	const block = sealedBlock + sealedOver
	at := func(raw []byte, i int) []byte { return raw[sealedID+i*block:][:block] }
	join := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	flipped := slices.Clone(good)
	flipped[sealedID+block+40] ^= 1
	for name, bad := range map[string][]byte{
		"one bit":                     flipped,
		"its last block is gone":      good[:sealedID+2*block],
		"half of its last block":      good[:len(good)-100],
		"a block that is twice there": join(good[:sealedID], at(good, 0), at(good, 0), at(good, 2)),
		"a block too many":            join(good, at(good, 2)),
		"two that changed places":     join(good[:sealedID], at(good, 1), at(good, 0), at(good, 2)),
		"a block of an older file":    join(good[:sealedID], at(good, 0), at(older, 1), at(good, 2)),
		"another name of its own":     join(older[:sealedID], good[sealedID:]),
		"no block":                    good[:sealedID],
		"nothing":                     nil,
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, bad, 0o600))
			require.ErrorIs(t, readThrough(r, "a"), ErrRecord)
		})
	}
	require.NoError(t, os.WriteFile(path, good, 0o600))
	require.NoError(t, readThrough(r, "a"))
	require.NoError(t, os.Rename(path, filepath.Join(r.dir, "b"+updateFile)))
	require.ErrorIs(t, readThrough(r, "b"), ErrRecord)
}

func readThrough(r *records, name string) error {
	f, err := r.unseal(name, updateFile)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, io.NewSectionReader(f, 0, f.Size()))
	return err
}

// A write that is cut leaves what was there, and what it has left is removed.
func TestASealThatIsCutLeavesTheOldFile(t *testing.T) {
	r := sealer(t)
	require.NoError(t, r.seal("a", updateFile, bytes.NewReader([]byte("old"))))
	cut := fmt.Errorf("cut")
	require.ErrorIs(t, r.seal("a", updateFile, io.MultiReader(bytes.NewReader(make([]byte, 3*sealedBlock)), failing{cut})), cut)
	f, err := r.unseal("a", updateFile)
	require.NoError(t, err)
	text, err := readAt(f, 0, f.Size())
	require.NoError(t, err)
	require.Equal(t, "old", string(text))
	require.NoError(t, f.Close())

	left := filepath.Join(r.dir, "a"+updateFile+".123"+durable.Unfinished)
	require.NoError(t, os.WriteFile(left, make([]byte, 5), 0o600))
	require.NoError(t, r.tidy())
	require.NoFileExists(t, left)
	require.FileExists(t, filepath.Join(r.dir, "a"+updateFile))
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
