package auditexport

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/atom-fabric/fabric/domain/audit"
)

// A Result is what an export was found to hold.
type Result struct {
	Origin   string     `json:"origin"`
	Size     int64      `json:"size"`
	Root     audit.Hash `json:"root"`
	Shown    int64      `json:"shown"`    // leaves whose bytes are there; of the others, the hash
	Verifier string     `json:"verifier"` // the key that signed
	Pinned   bool       `json:"pinned"`   // whether the caller knew that key already
}

// Verify checks a whole export. Without a pinned key it believes the key that
// the export names: then it says only that the export agrees with itself.
func Verify(dir string, pinned *audit.Verifier) (Result, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Result{}, err
	}
	defer root.Close()
	e := export{root: root, wanted: map[string]bool{CheckpointFile: true, VerifierFile: true, LeavesFile: true}}
	point, log, err := e.head(pinned)
	if err != nil {
		return Result{}, err
	}
	r := Result{Origin: point.Origin, Size: point.Size, Root: point.Root, Verifier: log.String(), Pinned: pinned != nil}
	if r.Shown, err = e.leaves(point); err != nil {
		return r, err
	}
	return r, e.nothingElse()
}

// An export that is being read.
type export struct {
	root   *os.Root
	wanted map[string]bool // files that belong to it
}

// head reads the key and the checkpoint that it signed.
func (e export) head(pinned *audit.Verifier) (audit.Checkpoint, audit.Verifier, error) {
	text, err := e.read(VerifierFile, 4096)
	if err != nil {
		return audit.Checkpoint{}, audit.Verifier{}, err
	}
	log, err := audit.ParseVerifier(strings.TrimSuffix(string(text), "\n"))
	if err != nil || log.String()+"\n" != string(text) {
		return audit.Checkpoint{}, log, fmt.Errorf("%s: %w", VerifierFile, audit.ErrVerifier)
	}
	if pinned != nil && pinned.String() != log.String() {
		return audit.Checkpoint{}, log, fmt.Errorf("%s: %w", log.Origin, ErrKey)
	}
	note, err := e.read(CheckpointFile, audit.MaxNote)
	if err != nil {
		return audit.Checkpoint{}, log, err
	}
	point, err := log.Open(string(note))
	if err != nil {
		return point, log, fmt.Errorf("%s: %w", CheckpointFile, err)
	}
	return point, log, nil
}

// leaves rebuilds the tree from the lowest tiles, holds the shown leaves and
// the upper tiles against it on the way, and the root at the end.
func (e export) leaves(point audit.Checkpoint) (shown int64, err error) {
	file, err := e.root.Open(LeavesFile)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrFile, err)
	}
	defer file.Close()
	bodies := bufio.NewReaderSize(file, audit.MaxLeaf+128)
	next, err := readLeaf(bodies)
	if err != nil {
		return 0, err
	}
	var tiler audit.Tiler
	for tiler.Tree.Size < point.Size {
		at := audit.Tile{Index: tiler.Tree.Size / audit.TileWidth, Width: int(min(audit.TileWidth, point.Size-tiler.Tree.Size))}
		hashes, err := e.tile(at)
		if err != nil {
			return shown, err
		}
		for chunk := range chunks(hashes) {
			index := tiler.Tree.Size
			if next != nil && next.Index == index {
				if audit.LeafHash(next.Leaf) != chunk {
					return shown, fmt.Errorf("leaf %d: %w", index, ErrLeaf)
				}
				if _, err := audit.Decode(next.Leaf); err != nil {
					return shown, fmt.Errorf("leaf %d: %w", index, err)
				}
				shown++
				if next, err = readLeaf(bodies); err != nil {
					return shown, err
				}
			}
			for _, full := range tiler.Add(chunk) {
				if err := e.compare(full); err != nil {
					return shown, err
				}
			}
		}
	}
	if next != nil {
		return shown, fmt.Errorf("%s: leaf %d is out of order or beyond the checkpoint's %d: %w", LeavesFile, next.Index, point.Size, ErrFile)
	}
	for _, part := range tiler.Partial() {
		if err := e.compare(part); err != nil {
			return shown, err
		}
	}
	if tiler.Tree.Root() != point.Root {
		return shown, fmt.Errorf("%d leaves: %w", point.Size, ErrRoot)
	}
	return shown, nil
}

// compare holds a tile's file against what the leaves make of it.
func (e export) compare(want audit.FilledTile) error {
	got, err := e.tile(want.Tile)
	if err != nil {
		return err
	}
	for i := 0; i < len(got); i += len(audit.Hash{}) {
		if !bytes.Equal(got[i:i+len(audit.Hash{})], want.Bytes[i:i+len(audit.Hash{})]) {
			below := int64(1) << (audit.TileHeight * want.Level)
			first := (want.Index*audit.TileWidth + int64(i/len(audit.Hash{}))) * below
			return fmt.Errorf("tile %s, leaves %d to %d: %w", want.Path(), first, first+below-1, ErrTile)
		}
	}
	return nil
}

// tile reads a tile's file.
func (e export) tile(t audit.Tile) ([]byte, error) {
	name := tileFolder + "/" + t.Path()
	e.wanted[name] = true
	size := t.Width * len(audit.Hash{})
	text, err := e.read(name, size)
	if err == nil && len(text) != size {
		err = fmt.Errorf("%s: %d bytes, want %d: %w", name, len(text), size, ErrFile)
	}
	return text, err
}

// read returns a file that is not longer than it should be.
func (e export) read(name string, longest int) ([]byte, error) {
	info, err := e.root.Lstat(filepath.FromSlash(name))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	if !info.Mode().IsRegular() || info.Size() > int64(longest) {
		return nil, fmt.Errorf("%s: %w", name, ErrFile)
	}
	return e.root.ReadFile(filepath.FromSlash(name))
}

// nothingElse refuses what an export does not have: it would be taken for a
// part of it.
func (e export) nothingElse() error {
	return fs.WalkDir(e.root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() && !e.wanted[path] {
			return fmt.Errorf("%s does not belong to it: %w", path, ErrFile)
		}
		return nil
	})
}

// chunks yields the hashes of a tile.
func chunks(tile []byte) func(func(audit.Hash) bool) {
	return func(yield func(audit.Hash) bool) {
		for i := 0; i+len(audit.Hash{}) <= len(tile); i += len(audit.Hash{}) {
			if !yield(audit.Hash(tile[i : i+len(audit.Hash{})])) {
				return
			}
		}
	}
}

// ErrNotShown says that an export holds only the hash of a leaf.
var ErrNotShown = errors.New("the export does not show this leaf")

// Prove returns the proof of one leaf, from an export that it verifies, and
// the leaf's bytes.
func Prove(dir string, pinned *audit.Verifier, index int64) (audit.Transcript, []byte, error) {
	result, err := Verify(dir, pinned)
	if err != nil {
		return audit.Transcript{}, nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return audit.Transcript{}, nil, err
	}
	defer root.Close()
	e := export{root: root, wanted: map[string]bool{}}
	note, err := e.read(CheckpointFile, audit.MaxNote)
	if err != nil {
		return audit.Transcript{}, nil, err
	}
	hashes, err := audit.ProveInclusion(index, result.Size, func(places []audit.Place) ([]audit.Hash, error) { return e.nodes(places, result.Size) })
	if err != nil {
		return audit.Transcript{}, nil, err
	}
	body, err := e.body(index)
	if err != nil {
		return audit.Transcript{}, nil, err
	}
	return audit.Transcript{Index: index, Hashes: hashes, Note: string(note)}, body, nil
}

// body returns the bytes of a leaf that is shown.
func (e export) body(index int64) ([]byte, error) {
	file, err := e.root.Open(LeavesFile)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r := bufio.NewReaderSize(file, audit.MaxLeaf+128)
	for {
		l, err := readLeaf(r)
		if err != nil {
			return nil, err
		}
		if l == nil || l.Index > index {
			return nil, fmt.Errorf("leaf %d: %w", index, ErrNotShown)
		}
		if l.Index == index {
			return l.Leaf, nil
		}
	}
}

// nodes makes complete subtrees from the tiles below them.
func (e export) nodes(places []audit.Place, size int64) ([]audit.Hash, error) {
	out := make([]audit.Hash, len(places))
	for i, at := range places {
		level := at.Level / audit.TileHeight
		first := at.Index << (at.Level % audit.TileHeight) // of the hashes at the tile's level
		count := 1 << (at.Level % audit.TileHeight)
		tile := audit.Tile{Level: level, Index: first / audit.TileWidth}
		tile.Width = int(min(audit.TileWidth, size>>(audit.TileHeight*level)-tile.Index*audit.TileWidth))
		held, err := e.tile(tile)
		if err != nil {
			return nil, err
		}
		var tree audit.Tree
		offset := int(first%audit.TileWidth) * len(audit.Hash{})
		for h := range chunks(held[offset : offset+count*len(audit.Hash{})]) {
			tree, _ = tree.Append(h)
		}
		out[i] = tree.Root()
	}
	return out, nil
}
