//go:build !linux

package pgserver

import (
	"os/exec"
	"strconv"
	"strings"
)

// processes lists what runs, as POSIX's ps tells it.
func processes() ([]running, error) {
	out, err := exec.Command("ps", "-axww", "-o", "pid=,command=").Output()
	if err != nil {
		return nil, err
	}
	var all []running
	for line := range strings.Lines(string(out)) {
		number, command, _ := strings.Cut(strings.TrimSpace(line), " ")
		pid, err := strconv.Atoi(number)
		if err != nil {
			continue
		}
		all = append(all, running{pid: pid, command: strings.TrimSpace(command)})
	}
	return all, nil
}
