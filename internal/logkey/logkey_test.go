package logkey_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/internal/logkey"
)

func generate(t *testing.T, origin string) (*logkey.Key, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys", "log.key")
	key, err := logkey.Generate(path, origin)
	require.NoError(t, err)
	return key, path
}

// What we sign, the standard library of notes opens; what it signs, we open.
func TestNotesAreThoseOfSumdb(t *testing.T) {
	key, path := generate(t, "fabric.example/log")
	point := audit.Checkpoint{Origin: "fabric.example/log", Size: 3, Root: sha256.Sum256([]byte("root"))}
	signed, err := key.Sign(point)
	require.NoError(t, err)
	verifier, err := note.NewVerifier(key.Verifier().String())
	require.NoError(t, err)
	opened, err := note.Open([]byte(signed), note.VerifierList(verifier))
	require.NoError(t, err)
	require.Equal(t, point.Text(), opened.Text)
	require.Len(t, opened.Sigs, 1)

	back, err := key.Open(signed)
	require.NoError(t, err)
	require.Equal(t, point, back)
	again, err := logkey.Load(path)
	require.NoError(t, err)
	require.Equal(t, key.Verifier(), again.Verifier())

	_, err = key.Sign(audit.Checkpoint{Origin: "fabric.example/other", Size: 3})
	require.ErrorIs(t, err, logkey.ErrOrigin)
	_, err = logkey.Generate(path, "fabric.example/log")
	require.ErrorIs(t, err, logkey.ErrExists, "a key is never written over")
	private, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, shown := range []string{fmt.Sprint(key), fmt.Sprintf("%v %+v %#v", key, key, key)} {
		require.NotContains(t, shown, strings.Split(strings.TrimSpace(string(private)), "+")[4])
	}
}

// Our proofs and tiles against golang.org/x/mod/sumdb/tlog, which others use.
func TestTreeIsThatOfTlog(t *testing.T) {
	const size = 70_000 // three levels of tiles
	var hashes []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range indexes {
			out = append(out, hashes[i])
		}
		return out, nil
	})
	var tiler audit.Tiler
	stored := map[string][]byte{}
	for i := range int64(size) {
		body := fmt.Append(nil, "leaf ", i)
		more, err := tlog.StoredHashes(i, body, read)
		require.NoError(t, err)
		hashes = append(hashes, more...)
		for _, tile := range tiler.Add(audit.LeafHash(body)) {
			stored[tile.Path()] = tile.Bytes
		}
	}
	for _, tile := range tiler.Partial() {
		stored[tile.Path()] = tile.Bytes
	}
	root, err := tlog.TreeHash(size, read)
	require.NoError(t, err)
	require.Equal(t, audit.Hash(root), tiler.Tree.Root())

	theirs := tlog.NewTiles(audit.TileHeight, 0, size)
	seen := map[string]bool{}
	for _, tile := range theirs {
		want, err := tlog.ReadTileData(tile, read)
		require.NoError(t, err)
		path := strings.TrimPrefix(tile.Path(), "tile/8/")
		got, err := audit.ParseTile(path)
		require.NoError(t, err, path)
		require.Equal(t, audit.Tile{Level: tile.L, Index: tile.N, Width: tile.W}, got)
		require.Equal(t, path, got.Path())
		if tile.W == audit.TileWidth || stored[path] != nil {
			require.Equal(t, want, stored[path], path)
			seen[path] = true
		}
	}
	require.Len(t, seen, len(stored), "every tile that is stored is one of theirs")
	for _, index := range []int64{0, 255, 256, 65_535, 65_536, size - 1} {
		proof, err := tlog.ProveRecord(size, index, read)
		require.NoError(t, err)
		var ours []audit.Hash
		for _, h := range proof {
			ours = append(ours, audit.Hash(h))
		}
		require.NoError(t, audit.VerifyInclusion(index, size, audit.LeafHash(fmt.Append(nil, "leaf ", index)), ours, tiler.Tree.Root()))
	}
}

func TestLoadRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, path string)
		want   error
	}{
		{"a file that others may read", func(t *testing.T, path string) { require.NoError(t, os.Chmod(path, 0o640)) }, logkey.ErrMode},
		{"another key's public half", func(t *testing.T, path string) {
			other, _ := generate(t, "fabric.example/log")
			require.NoError(t, os.WriteFile(logkey.PublicPath(path), []byte(other.String()+"\n"), 0o600))
		}, logkey.ErrKey},
		{"a private half that is none", func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte("key\n"), 0o600)) }, logkey.ErrKey},
		{"no file", func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) }, os.ErrNotExist},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, path := generate(t, "fabric.example/log")
			tt.change(t, path)
			_, err := logkey.Load(path)
			require.ErrorIs(t, err, tt.want)
		})
	}
	t.Run("nothing without the public half, which follows from the private one", func(t *testing.T) {
		key, path := generate(t, "fabric.example/log")
		require.NoError(t, os.Remove(logkey.PublicPath(path)))
		again, err := logkey.Load(path)
		require.NoError(t, err)
		require.Equal(t, key.Verifier(), again.Verifier())
		_, err = logkey.LoadVerifier(logkey.PublicPath(path))
		require.ErrorIs(t, err, os.ErrNotExist)
		require.NoError(t, os.WriteFile(path, []byte("key\n"), 0o600))
		_, err = logkey.LoadVerifier(path)
		require.ErrorIs(t, err, audit.ErrVerifier)
	})
	for _, origin := range []string{"", "a b", "a+b"} {
		_, err := logkey.Generate(filepath.Join(t.TempDir(), "log.key"), origin)
		require.Error(t, err, "origin %q", origin)
	}
}
