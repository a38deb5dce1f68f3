package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	sqliteschema "go.temporal.io/server/schema/sqlite"
)

// database is the SQLite store of one server.
type database struct {
	config *config.SQL
	lock   *os.File // nil in memory
}

// openDatabase makes the file with its schema when there is none, and keeps
// every other process of this program out of it: two servers on one file would
// both believe that they own its shard.
func openDatabase(file string, pragmas map[string]string) (database, error) {
	if file == "" {
		return database{config: sqlConfig(fmt.Sprintf("fabric-dev-%d", os.Getpid()), map[string]string{
			"mode": "memory", "cache": "shared",
		})}, nil
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return database{}, err
	}
	lock, err := acquire(file + ".lock")
	if err != nil {
		return database{}, err
	}
	if err := ensureSchema(file); err != nil {
		return database{}, errors.Join(err, lock.Close())
	}
	attrs := map[string]string{"mode": "rw"}
	maps.Copy(attrs, pragmas)
	return database{config: sqlConfig(file, attrs), lock: lock}, nil
}

func (d database) close() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Close()
}

// acquire locks a file of its own, since SQLite has its uses for locks on the
// database. The kernel releases it with the process, however that ends.
func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("database %s: %w", strings.TrimSuffix(path, ".lock"), errInUse)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// ensureSchema makes a new file under another name first: killed on any line of
// it, the next start finds no database, never half of one. Payloads can hold
// anything, so the file is its owner's alone, and SQLite gives its log files
// the same mode.
func ensureSchema(file string) error {
	if _, err := os.Stat(file); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fresh := file + ".new"
	for _, left := range []string{fresh, fresh + "-journal"} {
		if err := os.Remove(left); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := os.OpenFile(fresh, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	// Each statement would be synced by itself; the sync below is enough.
	if err := sqliteschema.SetupSchema(sqlConfig(fresh, map[string]string{
		"mode": "rw", "synchronous": "off",
	})); err != nil {
		return fmt.Errorf("schema of %s: %w", file, err)
	}
	return publish(fresh, file)
}

// publish renames a complete file into place, durably.
func publish(fresh, file string) error {
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer dir.Close()
	f, err := os.Open(fresh)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(fresh, file); err != nil {
		return err
	}
	return dir.Sync()
}

// sqlConfig names the database as the path of an SQLite URI, in which ? and #
// would end it.
func sqlConfig(name string, attrs map[string]string) *config.SQL {
	return &config.SQL{
		PluginName:        sqlite.PluginName,
		DatabaseName:      (&url.URL{Path: name}).EscapedPath(),
		ConnectAttributes: attrs,
	}
}
