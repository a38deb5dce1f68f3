package witness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/atom-fabric/fabric/internal/durable"
)

// A stateFile is where a witness keeps its report.
type stateFile struct{ path string }

func openState(dir string) (stateFile, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return stateFile{}, fmt.Errorf("witness: %w", err)
	}
	return stateFile{filepath.Join(dir, "witness.json")}, nil
}

// read returns what was kept; nothing on the first start. A file that cannot
// be read is an error: to begin anew would forget what was witnessed.
func (f stateFile) read() (Report, error) {
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return Report{}, nil
	}
	var r Report
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return Report{}, fmt.Errorf("witness: %s: %w", f.path, err)
	}
	return r, nil
}

// write replaces the file: a crash in between leaves the earlier one, which
// the log must then extend again.
func (f stateFile) write(r Report) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return durable.Write(f.path, text, 0o600)
}
