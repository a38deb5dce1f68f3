package pgtest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	memory = "/dev/shm" // where Linux keeps files in memory
	room   = 1 << 30    // what a test binary may come to need there
	young  = 10 * time.Minute
)

// home is where servers live: in memory when there is room, since copying a
// template's 300 files takes 10 ms there and can take 300 ms on a disk, else
// where temporary files are. TMPDIR decides when it is set.
func home() string {
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") == "" && syscall.Statfs(memory, &fs) == nil && fs.Bavail*uint64(fs.Bsize) >= room {
		return memory
	}
	return os.TempDir()
}

// sweep removes what test binaries have left that were killed; a lock tells
// those that still run, and age those that are about to take it.
func sweep(home string) error {
	dirs, err := filepath.Glob(filepath.Join(home, "pgtest[0-9]*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < young ||
			int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
			continue
		}
		lock, err := os.Open(filepath.Join(dir, "lock"))
		if err != nil {
			continue
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			err = os.RemoveAll(dir)
		}
		if err := errors.Join(err, lock.Close()); err != nil {
			return err
		}
	}
	return nil
}
