package registry

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// ErrJournal says that a line of the journal cannot be read.
var ErrJournal = errors.New("malformed line")

// A JournalError says which line of the journal is damaged.
type JournalError struct {
	Line int // from 1
	Err  error
}

func (e *JournalError) Error() string { return fmt.Sprintf("journal line %d: %v", e.Line, e.Err) }
func (e *JournalError) Unwrap() error { return e.Err }

// An entry says that a repository names a manifest, by its digest or by a tag.
// The manifest itself is a blob.
type entry struct {
	Repository string          `json:"repository"`
	Reference  string          `json:"reference"`
	Digest     artifact.Digest `json:"digest"`
	MediaType  string          `json:"mediaType"`
}

// A journal is a file of entries, one a line, that only grows.
type journal struct {
	file *os.File
	last map[[2]string]entry // by repository and reference: what it names now
}

// note keeps the entry in mind; a manifest can also be had by its digest.
func (j *journal) note(e entry) {
	j.last[[2]string{e.Repository, e.Reference}] = e
	e.Reference = string(e.Digest)
	j.last[[2]string{e.Repository, e.Reference}] = e
}

// knows says whether the repository has the manifest.
func (j *journal) knows(repository string, digest artifact.Digest) bool {
	_, ok := j.last[[2]string{repository, string(digest)}]
	return ok
}

// openJournal opens the file for this process alone.
func openJournal(path string) (*journal, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, errors.Join(err, file.Close())
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil { // the file may be new
		return nil, errors.Join(err, file.Close())
	}
	return &journal{file: file, last: map[[2]string]entry{}}, nil
}

func (j *journal) close() error { return j.file.Close() }

// read passes the entries to visit, in order. A last line without its end was
// never answered for: the crash that cut it came before the answer. It is cut
// off, so that the next one starts on a line of its own.
func (j *journal) read(visit func(entry) error) error {
	if _, err := j.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var whole int64
	lines := bufio.NewReader(j.file)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return j.file.Truncate(whole)
		}
		if err != nil {
			return err
		}
		var e entry
		if err := artifact.DecodeStrict(bytes.TrimSuffix(line, []byte("\n")), &e); err != nil {
			return &JournalError{Line: n, Err: fmt.Errorf("%w: %w", ErrJournal, err)}
		}
		if err := visit(e); err != nil {
			return &JournalError{Line: n, Err: err}
		}
		j.note(e)
		whole += int64(len(line))
	}
}

// append adds an entry and returns once it survives a crash. What is already
// so is not written again. After a failure the file may end in half a line, so
// the line is taken back; if even that fails, later appends do too.
func (j *journal) append(e entry) error {
	if j.last[[2]string{e.Repository, e.Reference}] == e {
		return nil
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	size, err := j.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err = j.file.Write(append(line, '\n')); err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return errors.Join(err, j.file.Truncate(size))
	}
	j.note(e)
	return nil
}
