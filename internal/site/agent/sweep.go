package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// carriedFiles returns the ends of the names of the files that a run carries from
// round to round, in the order in which they are erased: what says which of the
// two rests counts goes before these, so that a crash leaves files that nothing
// points to, and no pointer to a file that is gone.
func carriedFiles() [4]string {
	return [4]string{variateFile, restFile, restSlot(0), restSlot(1)}
}

// carriedKept is how long such files stay after the run has last written them.
// A fabric that is restored from its backup may go on with a run that had ended.
const carriedKept = 7 * 24 * time.Hour

// sweepRuns erases what runs that are over have carried from round to round. Which
// runs are open only the fabric knows, and nothing is erased unless it has said
// so. Every file was made for a run that had asked the site by then, so an open
// run of these is in the answer; one that says too little costs a run what its
// updates have left out, and gives away nothing.
func (a *Agent) sweepRuns(ctx context.Context, now time.Time) error {
	idle, err := a.id.records.carried(now.Add(-carriedKept))
	if err != nil || len(idle) == 0 {
		return err
	}
	open, err := a.fabric.Runs(ctx, a.id.token())
	if err != nil {
		return fmt.Errorf("which runs are open: %w", err)
	}
	for _, run := range open {
		delete(idle, runName(run.Tenant, run.Run))
	}
	var failed error
	for name := range idle {
		for _, end := range carriedFiles() {
			failed = errors.Join(failed, erase(filepath.Join(a.id.records.dir, name+end)))
		}
	}
	return failed
}

// carried returns the names of the runs with [carriedFiles], none of
// which was written since a time.
func (r *records) carried(since time.Time) (map[string]bool, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	idle := map[string]bool{}
	for _, entry := range entries {
		for _, end := range carriedFiles() {
			name, ok := strings.CutSuffix(entry.Name(), end)
			if !ok {
				continue
			}
			info, err := entry.Info()
			if err != nil {
				return nil, err
			}
			before, seen := idle[name]
			idle[name] = (before || !seen) && info.ModTime().Before(since)
		}
	}
	for name, old := range idle {
		if !old {
			delete(idle, name)
		}
	}
	return idle, nil
}
