// Package evidence is everything that shows why a promotion was right, in one
// file that anybody can check without asking us: what was promoted, where its
// weights come from, who agreed, what the data plane then ran, and the places
// of all of it in the audit log.
//
// Invariant: a pack is one byte string. What is read is packed again and
// compared, so that no byte of a file, of its name or of the container can
// change without being refused; and no claim in it is believed that a trusted
// key, the audit log's checkpoint, or a digest in either does not cover.
package evidence

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Limits of a pack.
const (
	MaxBytes = 256 << 20 // of all files together
	MaxFiles = 20_000
)

// index is the file that lists the others.
const index = "evidence.json"

// Why a file is no pack.
var (
	ErrForm  = errors.New("not an evidence pack")
	ErrLarge = errors.New("larger than an evidence pack may be")
	ErrBytes = errors.New("its bytes are not those that were packed")
)

// A Pack is the files by path.
type Pack map[string][]byte

// An entry is one line of the index.
type entry struct {
	Path      string          `json:"path"`
	Digest    artifact.Digest `json:"digest"`
	SizeBytes int64           `json:"sizeBytes"`
}

type contents struct {
	Format string  `json:"format"`
	Files  []entry `json:"files"` // by path
}

// format names what this code writes, and all that it reads.
const format = "fabric-evidence/v1"

// Encode returns the one encoding of the pack: a zip of uncompressed files,
// index first and then by path, without times, owners or comments.
// Errors: [ErrForm] for a path that is not a plain relative one; [ErrLarge].
func (p Pack) Encode() ([]byte, error) {
	list := contents{Format: format, Files: []entry{}}
	total := 0
	for _, path := range slices.Sorted(maps.Keys(p)) {
		if !fs.ValidPath(path) || path == "." || path == index {
			return nil, fmt.Errorf("%w: %q is no path of a file", ErrForm, path)
		}
		total += len(p[path])
		list.Files = append(list.Files, entry{path, artifact.DigestOf(p[path]), int64(len(p[path]))})
	}
	if total > MaxBytes || len(p) > MaxFiles {
		return nil, ErrLarge
	}
	encoded, err := artifact.Canonical(list)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	if err := store(w, index, encoded); err != nil {
		return nil, err
	}
	for _, e := range list.Files {
		if err := store(w, e.Path, p[e.Path]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func store(w *zip.Writer, path string, content []byte) error {
	f, err := w.CreateHeader(&zip.FileHeader{Name: path, Method: zip.Store})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	_, err = f.Write(content)
	return err
}

// Decode reads a pack. Errors: [ErrForm], [ErrLarge]; [ErrBytes] naming what
// differs, for content that is not what its index says, and for any other byte
// that Encode would not have written.
func Decode(packed []byte) (Pack, error) {
	r, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	}
	if len(r.File) > MaxFiles+1 || len(packed) > MaxBytes+MaxFiles*1024 {
		return nil, ErrLarge
	}
	p := make(Pack, len(r.File))
	left := int64(MaxBytes)
	for _, f := range r.File {
		if f.Method != zip.Store || !fs.ValidPath(f.Name) || p[f.Name] != nil {
			return nil, fmt.Errorf("%w: entry %q", ErrForm, f.Name)
		}
		content, err := load(f, left)
		if err != nil {
			return nil, err
		}
		left -= int64(len(content))
		p[f.Name] = content
	}
	var list contents
	if err := artifact.DecodeStrict(p[index], &list); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrForm, index, err)
	}
	if list.Format != format {
		return nil, fmt.Errorf("%w: format %q", ErrForm, list.Format)
	}
	delete(p, index)
	for _, e := range list.Files {
		if content, ok := p[e.Path]; !ok || artifact.DigestOf(content) != e.Digest {
			return nil, fmt.Errorf("%w: %s", ErrBytes, e.Path)
		}
	}
	again, err := p.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, packed) {
		return nil, fmt.Errorf("%w: the container or its index", ErrBytes)
	}
	return p, nil
}

func load(f *zip.File, limit int64) ([]byte, error) {
	if f.UncompressedSize64 > uint64(limit) {
		return nil, ErrLarge
	}
	content, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrForm, f.Name, err)
	}
	defer content.Close()
	out := make([]byte, 0, f.UncompressedSize64)
	buffer := bytes.NewBuffer(out)
	if _, err := io.Copy(buffer, io.LimitReader(content, limit+1)); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrBytes, f.Name, err)
	}
	return append([]byte{}, buffer.Bytes()...), nil
}
