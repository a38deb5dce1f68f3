package audit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A tile holds the hashes of a run of subtrees side by side, so that an auditor
// fetches and keeps the tree in pieces that never change.
const (
	TileHeight = 8               // levels of the tree that a tile spans
	TileWidth  = 1 << TileHeight // hashes of a full tile
	maxTile    = 6               // highest level of a tile that a path may name: 2^56 leaves
)

// ErrTile says that a path names no tile.
var ErrTile = errors.New("not the path of a tile")

// A Tile is where a tile stands, as C2SP tlog-tiles has it: hash i of it is the
// node at level Level*8, index Index*256+i. Width is 256, or less for the
// rightmost tile of its level.
type Tile struct {
	Level int
	Index int64
	Width int
}

// Path returns "<level>/<index>" with the index in groups of three digits, all
// but the last marked with x, and ".p/<width>" of a partial tile.
func (t Tile) Path() string {
	path := fmt.Sprintf("%03d", t.Index%1000)
	for n := t.Index / 1000; n > 0; n /= 1000 {
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	if t.Width < TileWidth {
		path += ".p/" + strconv.Itoa(t.Width)
	}
	return strconv.Itoa(t.Level) + "/" + path
}

// ParseTile reads [Tile.Path], exactly.
func ParseTile(path string) (Tile, error) {
	level, rest, ok := strings.Cut(path, "/")
	t := Tile{Width: TileWidth}
	var err error
	if t.Level, err = strconv.Atoi(level); err != nil || !ok || t.Level < 0 || t.Level > maxTile || len(path) > 64 {
		return Tile{}, ErrTile
	}
	rest, width, partial := strings.Cut(rest, ".p/")
	if partial {
		if t.Width, err = strconv.Atoi(width); err != nil || t.Width < 1 || t.Width >= TileWidth {
			return Tile{}, ErrTile
		}
	}
	digits := strings.NewReplacer("x", "", "/", "").Replace(rest)
	if t.Index, err = strconv.ParseInt(digits, 10, 64); err != nil || t.Index < 0 || t.Index > 1<<(62-TileHeight*(t.Level+1)) || t.Path() != path {
		return Tile{}, ErrTile
	}
	return t, nil
}

// Places returns where the hashes of the tile stand in the tree.
func (t Tile) Places() []Place {
	out := make([]Place, t.Width)
	for i := range out {
		out[i] = Place{t.Level * TileHeight, t.Index*TileWidth + int64(i)}
	}
	return out
}

// Leaves returns the first leaf below the tile and the first one after it.
func (t Tile) Leaves() (from, to int64) {
	from = t.Index << (TileHeight * (t.Level + 1))
	return from, from + int64(t.Width)<<(TileHeight*t.Level)
}

// In reports whether a tree of size leaves has every hash of the tile.
func (t Tile) In(size int64) bool {
	_, to := t.Leaves()
	return to <= size
}

// A Tiler cuts a growing tree into tiles. Its zero value is the empty tree.
type Tiler struct {
	Tree Tree
	open [maxTile + 2][]byte // hashes of the tile at the right of each level
}

// A FilledTile is a tile and its bytes: Width hashes of 32 bytes.
type FilledTile struct {
	Tile
	Bytes []byte
}

// Add appends a leaf and returns the tiles that it filled, lowest first.
func (t *Tiler) Add(leaf Hash) []FilledTile {
	var nodes []Node
	var full []FilledTile
	t.Tree, nodes = t.Tree.Append(leaf)
	for _, n := range nodes {
		if n.Level%TileHeight != 0 {
			continue
		}
		level := n.Level / TileHeight
		t.open[level] = append(t.open[level], n.Hash[:]...)
		if len(t.open[level]) == TileWidth*sha256.Size {
			full = append(full, FilledTile{Tile{level, n.Index / TileWidth, TileWidth}, t.open[level]})
			t.open[level] = nil
		}
	}
	return full
}

// Partial returns the tiles at the right edge that are not full.
func (t *Tiler) Partial() []FilledTile {
	var out []FilledTile
	for level, held := range t.open {
		if len(held) > 0 {
			index := t.Tree.Size >> (TileHeight * (level + 1))
			out = append(out, FilledTile{Tile{level, index, len(held) / sha256.Size}, held})
		}
	}
	return out
}
