package pgserver

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// minMajor is the oldest major version that we support: the first with
// security_invoker views.
const minMajor = 15

// Binaries are the server's programs, of one version, in one directory.
type Binaries struct {
	Dir     string
	Version string // for example 15.18
	Major   int
}

// Find looks for a server in this order: the directory PG_BIN_DIR, which is
// taken or refused but never passed over; the initdb programs on PATH, through
// their links; the directories of the system's packages, highest version first;
// the cache that `make setup` fills. It fails with a *NotFoundError.
func Find() (Binaries, error) {
	cache := ""
	if dir, err := os.UserCacheDir(); err == nil {
		cache = filepath.Join(dir, "fabric", "pg", "*", "bin")
	}
	return finder{
		binDir: os.Getenv("PG_BIN_DIR"),
		path:   filepath.SplitList(os.Getenv("PATH")),
		system: []string{
			"/usr/lib/postgresql/*/bin",          // Debian, Ubuntu
			"/usr/pgsql-*/bin",                   // Red Hat
			"/opt/homebrew/opt/postgresql@*/bin", // macOS, ARM
			"/usr/local/opt/postgresql@*/bin",    // macOS, Intel
			"/Applications/Postgres.app/Contents/Versions/*/bin",
		},
		cache: cache,
	}.find()
}

// finder is Find without its surroundings.
type finder struct {
	binDir string
	path   []string
	system []string // globs
	cache  string   // glob, or empty
}

func (f finder) find() (Binaries, error) {
	var failed NotFoundError
	note := func(where, why string) { failed.Tried = append(failed.Tried, Attempt{where, why}) }

	if f.binDir != "" {
		b, err := inspect(f.binDir)
		if err == nil {
			return b, nil
		}
		note("PG_BIN_DIR="+f.binDir, err.Error())
		return Binaries{}, &failed
	}
	note("PG_BIN_DIR", "not set")

	why := "no initdb"
	for _, dir := range f.path {
		// A link on PATH leads to the directory that holds the whole server.
		target, err := filepath.EvalSymlinks(filepath.Join(dir, "initdb"))
		if err != nil {
			continue
		}
		b, err := inspect(filepath.Dir(target))
		if err == nil {
			return b, nil
		}
		why = err.Error()
	}
	note("PATH", why)

	for _, glob := range append(slices.Clone(f.system), f.cache) {
		if glob == "" {
			continue
		}
		b, why := best(glob)
		if why == "" {
			return b, nil
		}
		note(glob, why)
	}
	return Binaries{}, &failed
}

// best is the highest version among the directories of a pattern.
func best(glob string) (found Binaries, why string) {
	dirs, err := filepath.Glob(glob)
	if err != nil {
		return Binaries{}, err.Error()
	}
	why = "nothing there"
	var all []Binaries
	for _, dir := range dirs {
		b, err := inspect(dir)
		if err != nil {
			why = err.Error()
			continue
		}
		all = append(all, b)
	}
	if len(all) == 0 {
		return Binaries{}, why
	}
	return slices.MaxFunc(all, func(a, b Binaries) int {
		_, x := numbers(a.Version)
		_, y := numbers(b.Version)
		return cmp.Or(cmp.Compare(a.Major, b.Major), cmp.Compare(x, y))
	}), ""
}

// inspect accepts a directory that holds initdb and postgres of one supported
// version. Asking both is what tells the server from a client package, and from
// a directory of wrappers whose programs are elsewhere.
func inspect(dir string) (Binaries, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Binaries{}, err
	}
	var versions [2]string
	for i, name := range []string{"postgres", "initdb"} {
		if versions[i], err = versionOf(filepath.Join(dir, name)); err != nil {
			return Binaries{}, err
		}
	}
	if versions[0] != versions[1] {
		return Binaries{}, fmt.Errorf("%s has postgres %s and initdb %s", dir, versions[0], versions[1])
	}
	major, _ := numbers(versions[0])
	if major < minMajor {
		return Binaries{}, fmt.Errorf("%s has version %s, older than %d", dir, versions[0], minMajor)
	}
	return Binaries{Dir: dir, Version: versions[0], Major: major}, nil
}

// versionOf asks a program for its version, which it answers as
//
//	postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
func versionOf(program string) (string, error) {
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("no %s in %s", filepath.Base(program), filepath.Dir(program))
	}
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", program, err)
	}
	_, rest, ok := strings.Cut(string(out), " (PostgreSQL) ")
	words := strings.Fields(rest)
	if !ok || len(words) == 0 {
		return "", fmt.Errorf("%s is not PostgreSQL's", program)
	}
	return words[0], nil
}

// numbers reads 15.18 as 15 and 18, and 19beta1 as 19 and 0.
func numbers(version string) (major, minor int) {
	lead := func(s string) int {
		n := 0
		for _, c := range s {
			if c < '0' || c > '9' {
				break
			}
			n = 10*n + int(c-'0')
		}
		return n
	}
	first, second, _ := strings.Cut(version, ".")
	return lead(first), lead(second)
}
