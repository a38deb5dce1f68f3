// Package sqlfiles holds the migrations of the database, each once: the file
// that an operator may feed to psql is the file that the program runs.
//
// Invariant: a migration that was released never changes; checksums.golden
// lists them and only gains lines.
package sqlfiles

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
)

//go:embed i*.sql
var files embed.FS

// ErrName says that a migration is not called iN_name.sql, or that two have
// one number, or that a number is missing.
var ErrName = errors.New("migrations are not i1_name.sql, i2_name.sql, ...")

// fileName is iN_name.sql; goose wants the number first.
const fileName = `^i([1-9][0-9]{0,3})_([a-z0-9_]+)\.sql$`

// A Set is the migrations in the form that goose reads.
type Set struct {
	FS     fs.FS // 00001_name.sql, 00002_name.sql, ...
	Latest int64 // number of the last one
}

// Migrations returns all migrations.
func Migrations() (Set, error) { return collect(files) }

func collect(from fs.FS) (Set, error) {
	names, err := fs.Glob(from, "*.sql")
	if err != nil {
		return Set{}, err
	}
	form := regexp.MustCompile(fileName)
	set := renamed{from: from, names: map[string]string{}}
	numbers := map[int64]bool{}
	for _, name := range names {
		match := form.FindStringSubmatch(name)
		if match == nil {
			return Set{}, fmt.Errorf("%s: %w", name, ErrName)
		}
		n, err := strconv.ParseInt(match[1], 10, 64)
		if err != nil {
			return Set{}, fmt.Errorf("%s: %w", name, err)
		}
		body, err := fs.ReadFile(from, name)
		if err != nil {
			return Set{}, err
		}
		if bytes.Contains(body, []byte("+goose Down")) { // psql would run it
			return Set{}, fmt.Errorf("%s goes down: %w", name, ErrName)
		}
		set.names[fmt.Sprintf("%05d_%s.sql", n, match[2])] = name
		numbers[n] = true
	}
	for n := range int64(len(names)) {
		if !numbers[n+1] {
			return Set{}, fmt.Errorf("%d: %w", n+1, ErrName)
		}
	}
	return Set{FS: set, Latest: int64(len(names))}, nil
}

// renamed shows files under other names, all in one folder.
type renamed struct {
	from  fs.FS
	names map[string]string // shown name to the name in from
}

// Open opens a file by its shown name.
func (r renamed) Open(name string) (fs.File, error) {
	actual, ok := r.names[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return r.from.Open(actual)
}

// ReadDir lists the folder in the order of the shown names.
func (r renamed) ReadDir(name string) ([]fs.DirEntry, error) {
	if name != "." {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	var entries []fs.DirEntry
	for _, shown := range slices.Sorted(maps.Keys(r.names)) {
		info, err := fs.Stat(r.from, r.names[shown])
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{fs.FileInfoToDirEntry(info), shown})
	}
	return entries, nil
}

// entry is a directory entry under its shown name.
type entry struct {
	fs.DirEntry
	name string
}

func (e entry) Name() string { return e.name }
