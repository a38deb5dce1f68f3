package pgserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// maxSocketPath is what every supported system can bind; Linux takes 107.
const maxSocketPath = 103

// paths are the places below Options.Dir.
type paths struct {
	dir, data, run, log, lock string
}

func pathsOf(dir string) (paths, error) {
	if dir == "" {
		return paths{}, &DirError{Err: fs.ErrInvalid, Fix: "name a directory"}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return paths{}, err
	}
	p := paths{
		dir:  dir,
		data: filepath.Join(dir, "data"),
		run:  filepath.Join(dir, "run"),
		log:  filepath.Join(dir, "postgres.log"),
		lock: filepath.Join(dir, "lock"),
	}
	if n := len(p.socket()); n > maxSocketPath {
		return paths{}, &DirError{Dir: dir, Err: ErrSocketPath,
			Fix: fmt.Sprintf("choose a directory that is %d bytes shorter", n-maxSocketPath)}
	}
	return p, nil
}

func (p paths) socket() string { return filepath.Join(p.run, ".s.PGSQL.5432") }

// cluster is the server's name in the list of processes, where it tells which
// of them belong to this directory.
func (p paths) cluster() string { return "fabric-" + digest(p.data) }

// prepare makes the directories, and finds out whether the server's user will
// get to them: the error that it would give itself blames the program. Only
// data and run are given to that user, so that a wrong Dir does no harm.
func (p paths) prepare(who account, b Binaries) error {
	if err := p.make(who); err != nil {
		return &DirError{Dir: p.dir, Err: err}
	}
	if at := who.blocked(p.dir); at != "" {
		return &DirError{Dir: p.dir, Err: ErrUnreachable, Fix: fmt.Sprintf(
			"user %s may not pass %s: chmod o+x %s, or use a directory below /var/lib", who.name, at, at)}
	}
	if at := who.blocked(b.Dir); at != "" {
		return &DirError{Dir: b.Dir, Err: ErrUnreachable, Fix: fmt.Sprintf(
			"user %s may not pass %s: install PostgreSQL elsewhere and set PG_BIN_DIR", who.name, at)}
	}
	return nil
}

func (p paths) make(who account) error {
	_, err := os.Stat(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(p.dir, 0o755); err == nil {
			err = os.Chmod(p.dir, 0o755) // whatever the umask
		}
	}
	if err != nil {
		return err
	}
	return who.mkdir(p.run)
}
