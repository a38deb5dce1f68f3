package pgserver

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrNotFound says that no usable server is installed.
	ErrNotFound = errors.New("no PostgreSQL 15 or later found")
	// ErrInUse says that another process runs a server on the directory.
	ErrInUse = errors.New("another process runs a server in it")
	// ErrSocketPath says that the socket's path is longer than a socket's can be.
	ErrSocketPath = errors.New("the path of its socket is too long")
	// ErrUnreachable says that the user whom root gives the server to cannot
	// get to the directory.
	ErrUnreachable = errors.New("the server's user cannot enter it")
	// ErrVersion says that the cluster was made by another major version.
	ErrVersion = errors.New("made by another version of PostgreSQL")
	// ErrExited says that the server has ended by itself.
	ErrExited = errors.New("server exited")
	// ErrLeftover says that processes of an earlier server do not end.
	ErrLeftover = errors.New("an earlier server does not end")
)

// A DirError says which directory cannot be used, why, and what would help.
type DirError struct {
	Dir string
	Err error
	Fix string // empty when Err says it all
}

func (e *DirError) Error() string {
	text := fmt.Sprintf("postgres directory %s: %v", e.Dir, e.Err)
	if e.Fix != "" {
		text += "; " + e.Fix
	}
	return text
}
func (e *DirError) Unwrap() error { return e.Err }

// An ExitError is a server that ended by itself, with its last words. It is an
// ErrExited.
type ExitError struct {
	Dir   string
	Doing string // init, start or run
	Log   string // the last lines
	Err   error  // of the process; nil when it ended with status 0
}

func (e *ExitError) Error() string {
	text := fmt.Sprintf("postgres in %s, %s: %v", e.Dir, e.Doing, ErrExited)
	if e.Err != nil {
		text += fmt.Sprintf(" (%v)", e.Err)
	}
	return text + quoted(e.Log)
}
func (e *ExitError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrExited}
	}
	return []error{ErrExited, e.Err}
}

// A NotFoundError lists every place that was looked at, and why it would not
// do. It is an ErrNotFound, and its text is meant for the user as it stands.
type NotFoundError struct {
	Tried []Attempt
}

// An Attempt is one place where a server might have been.
type Attempt struct {
	Where string
	Why   string
}

func (e *NotFoundError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v; tried", ErrNotFound)
	for _, a := range e.Tried {
		fmt.Fprintf(&b, "\n    %-28s %s", a.Where, a.Why)
	}
	b.WriteString(`
  fix one of:
    export POSTGRES_DSN=postgres://...   use your own server
    make setup                           install one (Debian, Ubuntu)
    brew install postgresql@17           install one (macOS)
    export PG_BIN_DIR=/path/to/bin       use one that is somewhere else`)
	return b.String()
}
func (e *NotFoundError) Unwrap() error { return ErrNotFound }

// quoted sets lines off from the sentence before them.
func quoted(lines string) string {
	lines = strings.TrimRight(lines, "\n")
	if lines == "" {
		return ""
	}
	return ":\n    " + strings.ReplaceAll(lines, "\n", "\n    ")
}
