package precheck

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Files that a precheck writes below the report directory.
const (
	LogFile   = "logs/I.1_precheck.log"
	JSONFile  = "I.1_precheck.json"
	BlockFile = "PhaseI.1_precheck_block.txt"
)

// Write puts the report into dir. The block file is there exactly when the
// decision is BLOCK, so that an old one misleads nobody.
func (r Report) Write(dir string, now time.Time) error {
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o755); err != nil {
		return fmt.Errorf("report directory: %w", err)
	}
	encoded, err := json.MarshalIndent(struct {
		At time.Time `json:"at"`
		Report
	}{now.UTC(), r}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, JSONFile), append(encoded, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, LogFile), []byte(r.Text(now)), 0o644); err != nil {
		return err
	}
	block := filepath.Join(dir, BlockFile)
	if r.Decision != Block {
		if err := os.Remove(block); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return os.WriteFile(block, []byte(strings.Join(r.Why, "\n")+"\n"), 0o644)
}

// Text is the report for people.
func (r Report) Text(now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s precheck of the fabric, environment %s\n", now.UTC().Format(time.RFC3339), r.Environment)
	for _, v := range r.Variables {
		critical := ""
		if v.Critical {
			critical = " (critical)"
		}
		fmt.Fprintf(&b, "%-24s %s%s\n", v.Name, v.State, critical)
	}
	fmt.Fprintf(&b, "P2 signing               %s\ndeployment               %s\ndecision                 %s\n", r.Signing, r.Deployment, r.Decision)
	for _, why := range r.Why {
		fmt.Fprintf(&b, "  because: %s\n", why)
	}
	return b.String()
}
