package follow

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/routing"

	"github.com/atom-fabric/fabric/internal/durable"
)

// keep is how many snapshots stay on disk.
const keep = 16

// A shelf is the folder with the last snapshots. The name of a file only
// orders it: what is read is verified like what comes from the network.
type shelf struct{ dir string }

func openShelf(dir string) (shelf, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return shelf{}, fmt.Errorf("snapshots: %w", err)
	}
	return shelf{dir}, nil
}

func (s shelf) path(version int64) string {
	return filepath.Join(s.dir, fmt.Sprintf("snapshot-%019d.json", version))
}

// put writes the file, then gives it its name, then makes the name durable: a
// crash in between leaves the older ones.
func (s shelf) put(version int64, text []byte) error {
	if err := durable.Write(s.path(version), text, 0o600); err != nil {
		return err
	}
	for _, old := range s.newestFirst()[min(keep, len(s.newestFirst())):] {
		if err := os.Remove(old); err != nil {
			return err
		}
	}
	return nil
}

func (s shelf) newestFirst() []string {
	files, err := filepath.Glob(filepath.Join(s.dir, "snapshot-*.json"))
	if err != nil {
		return nil // only for a malformed pattern
	}
	slices.Sort(files)
	slices.Reverse(files)
	return files
}

// read returns a kept snapshot, and when it was last confirmed.
func (s shelf) read(path string) (routing.Signed, time.Time, error) {
	info, err := os.Stat(path)
	if err != nil {
		return routing.Signed{}, time.Time{}, err
	}
	if info.Size() > maxSnapshot {
		return routing.Signed{}, time.Time{}, ErrAnswer
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return routing.Signed{}, time.Time{}, err
	}
	var signed routing.Signed
	if err := json.Unmarshal(text, &signed); err != nil {
		return routing.Signed{}, time.Time{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return signed, info.ModTime(), nil
}

// touch keeps the time of the last confirmation over a restart. Losing it
// makes the snapshot look older than it is, which is the safe side.
func (s shelf) touch(version int64, at time.Time) { _ = os.Chtimes(s.path(version), at, at) }
