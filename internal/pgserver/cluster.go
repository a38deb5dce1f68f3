package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// initialise makes the cluster when there is none. It is made under another
// name and renamed when it is complete: killed on any line of this function,
// the next start begins again with nothing.
func initialise(ctx context.Context, p paths, who account, opts Options) error {
	made, err := os.ReadFile(filepath.Join(p.data, "PG_VERSION"))
	if err == nil {
		if v := strings.TrimSpace(string(made)); v != fmt.Sprint(opts.Binaries.Major) {
			return &DirError{Dir: p.data, Err: ErrVersion, Fix: fmt.Sprintf(
				"it is of version %s, the server of version %s: set PG_BIN_DIR to a server of version %s, or dump and restore",
				v, opts.Binaries.Version, v)}
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return &DirError{Dir: p.data, Err: err}
	}
	fresh := p.data + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := who.mkdir(fresh); err != nil {
		return err
	}
	if err := initdb(ctx, fresh, p, who, opts); err != nil {
		return err
	}
	if err := os.Rename(fresh, p.data); err != nil {
		return &DirError{Dir: p.data, Err: err}
	}
	if opts.Fast {
		return nil
	}
	return syncDir(p.dir)
}

func initdb(ctx context.Context, fresh string, p paths, who account, opts Options) error {
	args := []string{"-D", fresh, "-U", Superuser, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions"}
	if opts.Fast {
		args = append(args, "--no-sync")
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(opts.Binaries.Dir, "initdb"), args...)
	cmd.Dir = fresh // ours may be closed to that user
	cmd.Env = environment()
	cmd.SysProcAttr = who.attributes()
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		text := lastLines(said.String())
		if strings.Contains(text, "could not look up effective user ID") {
			text += "\nhint: run as a user that /etc/passwd knows"
		}
		return errors.Join(&ExitError{Dir: p.dir, Doing: "init", Log: text, Err: err}, ctx.Err())
	}
	return nil
}

// environment is ours without what PostgreSQL would read from it: the server
// speaks one language and one time zone wherever it is started.
func environment() []string {
	var env []string
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "PG") || strings.HasPrefix(kv, "LC_") || strings.HasPrefix(kv, "LANG") || strings.HasPrefix(kv, "TZ=") {
			continue
		}
		env = append(env, kv)
	}
	return append(env, "LC_ALL=C", "TZ=UTC")
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
