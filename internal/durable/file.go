// Package durable writes files that survive a crash at any line.
//
// Invariant: under the name there is the file that was there before or the
// whole new one, whenever the process or the machine stops; once a call has
// returned without an error it is the new one, after a loss of power too.
package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Unfinished ends the name of a file that is being written. What a crash left
// under such a name nobody reads, and whoever owns the folder may remove it.
const Unfinished = ".tmp"

// Write puts content under a name, with exactly the given permissions.
func Write(path string, content []byte, mode fs.FileMode) error {
	return Stream(path, mode, func(dst io.Writer) error {
		_, err := dst.Write(content)
		return err
	})
}

// Stream does it with what write writes. If write fails nothing changes.
func Stream(path string, mode fs.FileMode, write func(dst io.Writer) error) error {
	dir := filepath.Dir(path)
	draft, err := os.CreateTemp(dir, filepath.Base(path)+".*"+Unfinished) // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name()) // gone already when it was renamed
	err = write(draft)
	if err = errors.Join(err, draft.Chmod(mode), draft.Sync(), draft.Close()); err != nil {
		return err
	}
	if err := os.Rename(draft.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// SyncDir makes the names in a folder durable.
func SyncDir(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
