package auditexport_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/internal/auditexport"
	"github.com/atom-fabric/fabric/internal/logkey"
)

func body(t *testing.T, i int64) []byte {
	t.Helper()
	l := audit.Leaf{V: 1, At: time.Unix(1_800_000_000+i, 0), Kind: "test", Tenant: fmt.Sprint("t", i%3), Actor: "ann", Subject: fmt.Sprint("thing/", i), Salt: "0123456789abcdefghijkl"}
	text, err := l.Encode()
	require.NoError(t, err)
	return text
}

// write exports a log of size leaves as tenant t1 sees it.
func write(t *testing.T, size int64) (string, *logkey.Key) {
	t.Helper()
	key, err := logkey.Generate(filepath.Join(t.TempDir(), "log.key"), "fabric.example/log")
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "export")
	w, err := auditexport.Create(dir)
	require.NoError(t, err)
	defer w.Abandon()
	var tree audit.Tree
	for i := range size {
		text := body(t, i)
		leaf := auditexport.Leaf{Index: i, Hash: audit.LeafHash(text)}
		if i%3 == 1 {
			leaf.Body = text
		}
		tree, _ = tree.Append(leaf.Hash)
		require.NoError(t, w.Add(leaf))
	}
	signed, err := key.Sign(audit.Checkpoint{Origin: key.Origin(), Size: size, Root: tree.Root()})
	require.NoError(t, err)
	result, err := w.Close(key.Verifier(), signed)
	require.NoError(t, err)
	require.Equal(t, size, result.Size)
	require.Equal(t, (size+1)/3, result.Shown)
	return dir, key
}

func TestAnExportVerifies(t *testing.T) {
	for _, size := range []int64{0, 1, 2, 255, 256, 257, 1000, 66_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			dir, key := write(t, size)
			v := key.Verifier()
			result, err := auditexport.Verify(dir, &v)
			require.NoError(t, err)
			require.True(t, result.Pinned)
			unpinned, err := auditexport.Verify(dir, nil)
			require.NoError(t, err)
			require.False(t, unpinned.Pinned)
			for _, index := range []int64{1, size / 2 / 3 * 3, size - 1} {
				if index < 0 || index >= size {
					continue
				}
				proof, text, err := auditexport.Prove(dir, &v, index)
				if index%3 != 1 {
					require.ErrorIs(t, err, auditexport.ErrNotShown)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, body(t, index), text)
				again, err := audit.ParseTranscript(proof.Text())
				require.NoError(t, err)
				point, err := again.Verify(v, text)
				require.NoError(t, err)
				require.Equal(t, size, point.Size)
			}
			_, _, err = auditexport.Prove(dir, &v, size)
			require.ErrorIs(t, err, audit.ErrRange)
		})
	}
}

// The libraries that others audit logs with read the export as it lies there.
func TestOthersReadTheExport(t *testing.T) {
	const size = 1000
	dir, key := write(t, size)
	verifier, err := note.NewVerifier(key.Verifier().String())
	require.NoError(t, err)
	signed, err := os.ReadFile(filepath.Join(dir, auditexport.CheckpointFile))
	require.NoError(t, err)
	opened, err := note.Open(signed, note.VerifierList(verifier))
	require.NoError(t, err)
	lines := strings.Split(opened.Text, "\n")
	root, err := tlog.ParseHash(lines[2])
	require.NoError(t, err)
	reader := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, tiles{dir})
	for _, index := range []int64{1, 100, 511, 997} {
		proof, err := tlog.ProveRecord(size, index, reader)
		require.NoError(t, err)
		require.NoError(t, tlog.CheckRecord(proof, size, root, index, tlog.RecordHash(body(t, index))))
	}
}

// tiles are the export's, for tlog.
type tiles struct{ dir string }

func (t tiles) Height() int { return audit.TileHeight }
func (t tiles) ReadTiles(want []tlog.Tile) (out [][]byte, err error) {
	for _, tile := range want {
		path := strings.TrimPrefix(tile.Path(), "tile/8/")
		text, err := os.ReadFile(filepath.Join(t.dir, "tile", path))
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, nil
}
func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// Every byte of every file, each bit of it, one at a time.
func TestEveryChangedByteIsRefused(t *testing.T) {
	dir, key := write(t, 300)
	v := key.Verifier()
	seed := time.Now().UnixNano()
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	t.Logf("seed %d", seed)
	changed := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		good, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		step := max(1, len(good)/120) // all bytes of the small files, some of the large ones
		for at := random.IntN(step); at < len(good); at += step {
			for _, flip := range []byte{1 << random.IntN(8), 0x20, good[at] ^ '\r', good[at] ^ '\n'} {
				if flip == 0 {
					continue
				}
				bad := bytes.Clone(good)
				bad[at] ^= flip
				require.NoError(t, os.WriteFile(path, bad, 0o644))
				// Without a pinned key, which finds even what the key does not.
				_, err := auditexport.Verify(dir, nil)
				require.Error(t, err, "%s, byte %d, %#x to %#x", d.Name(), at, good[at], bad[at])
				changed++
			}
		}
		for _, bad := range [][]byte{nil, good[:len(good)-1], append(bytes.Clone(good), '\n'), append(bytes.Clone(good), 0), append([]byte{' '}, good...)} {
			require.NoError(t, os.WriteFile(path, bad, 0o644))
			_, err := auditexport.Verify(dir, &v)
			if d.Name() == auditexport.LeavesFile && len(bad) == 0 {
				require.NoError(t, err, "leaves that are not shown are hashes: docs/protocol/audit-log.md says so")
				continue
			}
			require.Error(t, err, "%s cut or lengthened", d.Name())
		}
		return os.WriteFile(path, good, 0o644)
	}))
	_, err := auditexport.Verify(dir, &v)
	require.NoError(t, err)
	require.Greater(t, changed, 1000)
}

func TestWhatDoesNotBelongIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, dir string)
		want   error
		says   string
	}{
		{"a file too many", func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "tile", "9"), nil, 0o600))
		}, auditexport.ErrFile, "tile/9"},
		{"a missing tile", func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "tile", "1", "000.p", "1")))
		}, auditexport.ErrFile, "tile/1/000.p/1"},
		{"a link", func(t *testing.T, dir string) {
			path := filepath.Join(dir, "tile", "0", "000")
			require.NoError(t, os.Rename(path, dir+".tile"))
			require.NoError(t, os.Symlink(dir+".tile", path))
		}, auditexport.ErrFile, "tile/0/000"},
		{"two leaves exchanged", func(t *testing.T, dir string) { edit(t, dir, func(l []string) { l[0], l[1] = l[1], l[0] }) }, auditexport.ErrFile, "leaf 1"},
		{"a leaf twice", func(t *testing.T, dir string) { edit(t, dir, func(l []string) { l[1] = l[0] }) }, auditexport.ErrFile, "leaf 1"},
		{"another tenant's words under its index", func(t *testing.T, dir string) {
			edit(t, dir, func(l []string) { l[2] = strings.Replace(l[2], "ann", "bob", 1) })
		}, auditexport.ErrLeaf, "leaf 7"},
		{"a hash in the lowest tile", func(t *testing.T, dir string) {
			path := filepath.Join(dir, "tile", "0", "000")
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			text[32*6] ^= 1 // not shown to this tenant
			require.NoError(t, os.WriteFile(path, text, 0o644))
		}, auditexport.ErrTile, "leaves 0 to 255"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, key := write(t, 300)
			tt.change(t, dir)
			v := key.Verifier()
			_, err := auditexport.Verify(dir, &v)
			require.ErrorIs(t, err, tt.want)
			require.ErrorContains(t, err, tt.says)
		})
	}
	dir, _ := write(t, 3)
	_, other := write(t, 3)
	v := other.Verifier()
	_, err := auditexport.Verify(dir, &v)
	require.ErrorIs(t, err, auditexport.ErrKey)
	_, err = auditexport.Create(dir)
	require.ErrorIs(t, err, auditexport.ErrExist)
}

// edit changes the lines of leaves.jsonl.
func edit(t *testing.T, dir string, change func(lines []string)) {
	t.Helper()
	path := filepath.Join(dir, auditexport.LeavesFile)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.SplitAfter(string(text), "\n")
	change(lines)
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "")), 0o644))
}

func TestAWriterRefuses(t *testing.T) {
	parent := t.TempDir()
	w, err := auditexport.Create(filepath.Join(parent, "export"))
	require.NoError(t, err)
	require.ErrorIs(t, w.Add(auditexport.Leaf{Index: 1}), auditexport.ErrLeaf)
	require.ErrorIs(t, w.Add(auditexport.Leaf{Body: []byte("x")}), auditexport.ErrLeaf)
	require.NoError(t, w.Add(auditexport.Leaf{Hash: audit.LeafHash(body(t, 0))}))
	key, err := logkey.Generate(filepath.Join(t.TempDir(), "log.key"), "fabric.example/log")
	require.NoError(t, err)
	signed, err := key.Sign(audit.Checkpoint{Origin: key.Origin(), Size: 1, Root: audit.EmptyRoot()})
	require.NoError(t, err)
	_, err = w.Close(key.Verifier(), signed)
	require.ErrorIs(t, err, auditexport.ErrRoot)
	w.Abandon()
	left, err := os.ReadDir(parent)
	require.NoError(t, err)
	require.Empty(t, left, "an export that does not verify is not there")
}
