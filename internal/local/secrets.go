package local

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/atom-fabric/fabric/internal/durable"
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
	return path, durable.Write(path, []byte(base64.RawURLEncoding.EncodeToString(secret)+"\n"), 0o600)
}
