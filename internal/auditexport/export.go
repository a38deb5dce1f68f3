// Package auditexport keeps the audit log, or what one tenant may see of it, in
// files that verify offline.
//
// Invariant: an export that verifies holds, for every leaf that it shows, the
// exact bytes that the signed checkpoint commits to; a byte of it that was
// changed, a file too many or too few, and it does not verify.
package auditexport

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/atom-fabric/fabric/domain/audit"
)

// Files of an export. Tiles are below the folder of their name, under the
// paths of C2SP tlog-tiles.
const (
	CheckpointFile = "checkpoint"   // the signed note
	VerifierFile   = "log.pub"      // the log's verifier key
	LeavesFile     = "leaves.jsonl" // the leaves that are shown, by index
	tileFolder     = "tile"
)

// Why an export does not verify.
var (
	ErrKey   = errors.New("the export is of another log than the pinned key's")
	ErrFile  = errors.New("the export's files are not what the checkpoint asks for")
	ErrLeaf  = errors.New("leaf does not hash to what the tiles say")
	ErrTile  = errors.New("tile does not follow from the leaves")
	ErrRoot  = errors.New("the leaves do not lead to the checkpoint's root")
	ErrExist = errors.New("the folder is there already; an export is never written over")
)

// A Leaf is one leaf of a log that is written out: its hash, and its exact
// bytes where they may be shown.
type Leaf struct {
	Index int64
	Hash  audit.Hash
	Body  []byte // nil: another tenant's
}

// A line of leaves.jsonl.
type line struct {
	Index int64           `json:"index"`
	Leaf  json.RawMessage `json:"leaf"`
}

func (l line) text() []byte {
	return fmt.Appendf(nil, "{\"index\":%d,\"leaf\":%s}\n", l.Index, l.Leaf)
}

// A Writer writes an export. The folder gets its name with Close, so that one
// that is there is complete.
type Writer struct {
	dir, draft string
	tiler      audit.Tiler
	file       *os.File
	leaves     *bufio.Writer
	shown      int64
}

// Create begins an export in a folder that is not there yet.
func Create(dir string) (*Writer, error) {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, ErrExist), err)
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(dir)), 0o755); err != nil {
		return nil, err
	}
	draft, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), ".export-*")
	if err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(draft, LeavesFile))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(draft))
	}
	return &Writer{dir: dir, draft: draft, file: file, leaves: bufio.NewWriter(file)}, nil
}

// Add writes the next leaf.
func (w *Writer) Add(l Leaf) error {
	if l.Index != w.tiler.Tree.Size {
		return fmt.Errorf("leaf %d where %d should be: %w", l.Index, w.tiler.Tree.Size, ErrLeaf)
	}
	if l.Body != nil {
		if audit.LeafHash(l.Body) != l.Hash {
			return fmt.Errorf("leaf %d: %w", l.Index, ErrLeaf)
		}
		if _, err := w.leaves.Write(line{l.Index, l.Body}.text()); err != nil {
			return err
		}
		w.shown++
	}
	for _, tile := range w.tiler.Add(l.Hash) {
		if err := w.tile(tile); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) tile(t audit.FilledTile) error {
	path := filepath.Join(w.draft, tileFolder, filepath.FromSlash(t.Path()))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, t.Bytes, 0o644)
}

// Close ends the export with the checkpoint over exactly the leaves that were
// added, verifies it as anybody would, and gives the folder its name.
func (w *Writer) Close(log audit.Verifier, note string) (Result, error) {
	for _, tile := range w.tiler.Partial() {
		if err := w.tile(tile); err != nil {
			return Result{}, err
		}
	}
	err := errors.Join(w.leaves.Flush(), w.file.Sync(), w.file.Close(),
		os.WriteFile(filepath.Join(w.draft, CheckpointFile), []byte(note), 0o644),
		os.WriteFile(filepath.Join(w.draft, VerifierFile), []byte(log.String()+"\n"), 0o644),
		os.Chmod(w.draft, 0o755))
	if err != nil {
		return Result{}, err
	}
	result, err := Verify(w.draft, &log)
	if err != nil {
		return result, err
	}
	return result, os.Rename(w.draft, w.dir)
}

// Abandon removes what was not closed; after Close it does nothing.
func (w *Writer) Abandon() {
	_ = w.file.Close() // closed already when Close came that far
	_ = os.RemoveAll(w.draft)
}

// readLeaf returns the next line of leaves.jsonl, or nil at the end. The one
// form of a line is that of text.
func readLeaf(r *bufio.Reader) (*line, error) {
	text, err := r.ReadSlice('\n')
	if len(text) == 0 && err != nil {
		return nil, nil //nolint:nilerr // io.EOF between two lines is the end; any other error leaves leaves out, which the caller counts
	}
	var l line
	if err != nil || json.Unmarshal(text, &l) != nil || !bytes.Equal(l.text(), text) {
		return nil, fmt.Errorf("%s: a line is not in its one form: %w", LeavesFile, ErrFile)
	}
	l.Leaf = bytes.Clone(l.Leaf)
	return &l, nil
}
