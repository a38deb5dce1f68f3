package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// grace is how long a program may take to end after SIGTERM.
const grace = 5 * time.Second

// maxLog bounds output.log; a program that prints without end fills no disk.
const maxLog = 1 << 20

// run starts the program as the leader of a process group of its own and waits
// for it. When ctx ends or the limit passes, the group gets SIGTERM and, after
// grace, SIGKILL; whatever the program left running is killed too.
func (p Program) run(ctx context.Context, folder, log string, environment []string) error {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	limited, cancel := context.WithTimeout(ctx, p.Limit)
	defer cancel()

	cmd := exec.CommandContext(limited, "/bin/sh", "-c", p.Command)
	cmd.Dir = folder
	cmd.Env = environment
	sink := &capped{file: out, left: maxLog}
	cmd.Stdout, cmd.Stderr = sink, sink
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	err = cmd.Wait()
	if kill := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); kill != nil && !errors.Is(kill, syscall.ESRCH) {
		err = errors.Join(err, kill)
	}
	switch {
	case limited.Err() != nil && ctx.Err() == nil:
		return fmt.Errorf("%w: %s", ErrTimeout, p.Limit)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return nil
}

// A capped file keeps the first bytes and swallows the rest.
type capped struct {
	file *os.File
	left int
}

func (c *capped) Write(text []byte) (int, error) {
	keep := min(len(text), c.left)
	c.left -= keep
	if _, err := c.file.Write(text[:keep]); err != nil {
		return 0, err
	}
	return len(text), nil
}
