package pgserver

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// processes lists what runs, from the one file of /proc that every user may
// read of every process: its command line.
func processes() ([]running, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []running
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue // ended in between
		}
		line = bytes.ReplaceAll(bytes.TrimRight(line, "\x00 "), []byte{0}, []byte{' '})
		if len(line) > 0 { // a zombie has none
			all = append(all, running{pid: pid, command: string(line)})
		}
	}
	return all, nil
}
