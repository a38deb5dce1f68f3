package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/routing"
)

const (
	manifestFile = "manifest.json"
	weightsFile  = "weights.safetensors"
	// spare is how many packages stay on disk that no snapshot wants any more,
	// for a way back without the registry.
	spare = 16
)

// A store is the folder with the packages, one folder each, named by the
// digest of its manifest. What is read from it is compared again.
type store struct{ dir string }

func openStore(dir string) (store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return store{}, fmt.Errorf("packages: %w", err)
	}
	return store{dir}, nil
}

func (s store) path(manifest artifact.Digest) string { return filepath.Join(s.dir, manifest.Hex()) }

// put writes the package beside and renames the folder.
func (s store) put(manifest artifact.Digest, text, weights []byte) error {
	temp, err := os.MkdirTemp(s.dir, ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp) // gone after the rename
	for name, content := range map[string][]byte{manifestFile: text, weightsFile: weights} {
		if err := writeSync(filepath.Join(temp, name), content); err != nil {
			return err
		}
	}
	// A folder that is there already did not verify, else it would be in use.
	if err := os.RemoveAll(s.path(manifest)); err != nil {
		return err
	}
	return os.Rename(temp, s.path(manifest))
}

func writeSync(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Sync(), file.Close())
}

// read returns the weights of a package if both files are what they should be.
func (s store) read(manifest, weights artifact.Digest, limit int64) ([]byte, error) {
	if _, err := s.content(manifest, manifestFile, manifest, maxManifest); err != nil {
		return nil, err
	}
	content, err := s.content(manifest, weightsFile, weights, limit)
	if err != nil {
		return nil, err
	}
	now := time.Now() // the order in which prune lets go
	_ = os.Chtimes(s.path(manifest), now, now)
	return content, nil
}

func (s store) content(manifest artifact.Digest, name string, want artifact.Digest, limit int64) ([]byte, error) {
	file, err := os.Open(filepath.Join(s.path(manifest), name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readDigest(file, want, limit)
}

// prune removes the packages that are not wanted, but for the youngest spare
// ones, and what a crash left half written. What cannot be removed takes room
// and does no other harm.
func (s store) prune(wanted []routing.Package) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return
	}
	type folder struct {
		name string
		at   time.Time
	}
	var idle []folder
	for _, e := range entries {
		if slices.ContainsFunc(wanted, func(p routing.Package) bool { return p.Manifest.Hex() == e.Name() }) {
			continue
		}
		if info, err := e.Info(); err == nil {
			idle = append(idle, folder{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(idle, func(a, b folder) int { return b.at.Compare(a.at) })
	for i, f := range idle {
		if i >= spare || f.name[0] == '.' {
			_ = os.RemoveAll(filepath.Join(s.dir, f.name))
		}
	}
}
