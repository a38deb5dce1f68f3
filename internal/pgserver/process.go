package pgserver

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// process is one postmaster.
type process struct {
	cmd     *exec.Cmd
	done    chan struct{}
	waitErr error // valid when done is closed

	log  string
	from int64 // where in the log this run begins
}

// arguments of the server. Statements and the values in constraint errors stay
// out of its log: they can be anybody's data.
func arguments(p paths, fast bool) []string {
	settings := []string{
		"cluster_name=" + p.cluster(),
		"unix_socket_permissions=0700",
		"log_destination=stderr",
		"logging_collector=off",
		"log_min_error_statement=panic",
		"log_error_verbosity=terse",
	}
	if fast {
		// Not synchronous_commit=off: that loses the last commits when the
		// server crashes, and writing them without a sync costs next to nothing.
		settings = append(settings, "fsync=off", "full_page_writes=off", "shared_buffers=16MB")
	}
	args := []string{"-D", p.data, "-k", p.run, "-h", ""}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	return args
}

// launch starts the postmaster. The thread that forks it is kept until it has
// ended: the kernel takes the end of that thread for the parent's.
func launch(p paths, who account, opts Options) (*process, error) {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, &DirError{Dir: p.dir, Err: err}
	}
	defer log.Close()
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(opts.Binaries.Dir, "postgres"), arguments(p, opts.Fast)...)
	cmd.Dir = p.data
	cmd.Env = environment()
	cmd.SysProcAttr = who.attributes()
	dieWithParent(cmd.SysProcAttr)
	cmd.Stdout, cmd.Stderr = log, log

	proc := &process{cmd: cmd, done: make(chan struct{}), log: p.log, from: from}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		proc.waitErr = cmd.Wait()
		close(proc.done)
	}()
	if err := <-started; err != nil {
		return nil, &DirError{Dir: p.dir, Err: err}
	}
	return proc, nil
}

// signal sends sig, unless the process has ended.
func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// end sends sig and waits for the end.
func (p *process) end(sig syscall.Signal) error {
	if err := p.signal(sig); err != nil {
		return err
	}
	<-p.done
	return nil
}

// tail is the end of what this run wrote to its log.
func (p *process) tail() string {
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if _, err := f.Seek(p.from, io.SeekStart); err != nil {
		return err.Error()
	}
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return err.Error()
	}
	return lastLines(string(text))
}

func (p *process) said() string { return quoted(p.tail()) }

// lastLines are few enough to read in an error.
func lastLines(text string) string {
	const keep = 12
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-keep):], "\n")
}
