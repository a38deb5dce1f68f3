package local

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Generated returns the path of a file with a random secret of 32 bytes, which
// it makes when there is none yet. The file is readable by its owner alone and
// is complete or absent whenever the machine stops.
func (l Layout) Generated(name string) (string, error) {
	path := l.Path("secrets", name)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("%w: %w", ErrStateDir, err)
	}
	secret := make([]byte, 32)
	rand.Read(secret) // never fails: crypto/rand ends the process instead
	draft, err := os.CreateTemp(filepath.Dir(path), name+".*")
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrStateDir, err)
	}
	defer os.Remove(draft.Name()) // gone already when it was renamed
	if _, err := draft.WriteString(base64.RawURLEncoding.EncodeToString(secret) + "\n"); err != nil {
		draft.Close()
		return "", err
	}
	if err := errors.Join(draft.Sync(), draft.Close()); err != nil {
		return "", err
	}
	return path, os.Rename(draft.Name(), path)
}
