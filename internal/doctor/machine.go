package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// How much room there must be. A system of five sites writes a few hundred
// megabytes; PostgreSQL stops where it cannot write.
const (
	scarce = 2 << 30
	full   = 256 << 20
)

// A Room is what is left of a disk.
type Room struct {
	Free, Size  uint64 // bytes, for who is not root
	Inodes, All uint64 // 0 of 0 where the file system counts none
}

// RoomOf asks the file system that holds a path, or will hold it.
func RoomOf(path string) (Room, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(existing(path), &s); err != nil {
		return Room{}, err
	}
	block := uint64(s.Bsize) //nolint:gosec // the system says it
	return Room{Free: s.Bavail * block, Size: s.Blocks * block, Inodes: s.Ffree, All: s.Files}, nil
}

// existing is the path itself, or the nearest folder above it that there is.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// Disk judges what is left of the disk below a folder.
func Disk(folder string, r Room) Finding {
	free := fmt.Sprintf("%.1f of %.1f GB free below %s", float64(r.Free)/1e9, float64(r.Size)/1e9, folder)
	fix := "make room, or choose another disk with FABRIC_STATE_DIR; du -sh " + filepath.Join(folder, "*") + " shows what takes it"
	switch {
	case r.All > 0 && r.Inodes < 1000:
		return Failed(fix, "%d of %d files may still be made below %s", r.Inodes, r.All, folder)
	case r.Free < full:
		return Failed(fix, "%s", free)
	case r.Free < scarce:
		return Warned(fix, "%s", free)
	}
	return Well("%s", free)
}

// manyFiles is what the router and PostgreSQL want to have open at once under
// load.
const manyFiles = 4096

// Files judges how many files a process may open.
func Files(soft uint64) Finding {
	if soft < manyFiles {
		return Warned(fmt.Sprintf("ulimit -n %d, or LimitNOFILE in the unit", manyFiles), "a process may open %d files; the router wants %d under load", soft, manyFiles)
	}
	return Well("a process may open %d files", soft)
}

// OpenFiles is how many files this process may open.
func OpenFiles() (uint64, error) {
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	return limit.Cur, err
}

// Private judges files that only their owner may read. Those that are not there
// are left out.
func Private(paths ...string) Finding {
	var exposed []string
	seen := 0
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return Failed("ls -l "+path, "%v", err)
		}
		seen++
		if info.Mode().Perm()&0o077 != 0 {
			exposed = append(exposed, path)
		}
	}
	switch {
	case len(exposed) > 0:
		return Failed("chmod 600 "+strings.Join(exposed, " "), "others may read %s", strings.Join(exposed, ", "))
	case seen == 0:
		return Skipped("there are no files with secrets yet")
	}
	return Well("%d files with secrets are their owner's alone", seen)
}

// Folder judges whether files can be made in a folder.
func Folder(path, setting string) Finding {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		above := existing(path)
		if syscall.Access(above, 2) != nil {
			return Failed("mkdir -p "+path+" as who may, or choose another with "+setting, "%s does not exist, and cannot be made in %s", path, above)
		}
		return Well("%s is made at the first start", path)
	}
	if err != nil {
		return Failed("choose another with "+setting, "%v", err)
	}
	if !info.IsDir() {
		return Failed("choose another with "+setting, "%s is no folder", path)
	}
	file, err := os.CreateTemp(path, ".doctor-*")
	if err != nil {
		return Failed("chown it to who runs the fabric, or choose another with "+setting, "nothing can be written to %s: %v", path, errors.Unwrap(err))
	}
	if err := errors.Join(file.Close(), os.Remove(file.Name())); err != nil {
		return Failed("choose another with "+setting, "%v", err)
	}
	return Well("%s can be written", path)
}

// How far apart clocks may be. Tokens and votes bear with 30 seconds; replicas
// and grants are compared in milliseconds.
const (
	skewed = time.Second
	apart  = 20 * time.Second
)

// Skew judges how far another server's clock is before this machine's.
func Skew(who string, ahead time.Duration) Finding {
	fix := "synchronise both clocks: timedatectl set-ntp true, or chronyc makestep"
	said := fmt.Sprintf("the clock of %s is %s before this machine's", who, ahead.Round(time.Millisecond))
	if ahead < 0 {
		said = fmt.Sprintf("the clock of %s is %s behind this machine's", who, (-ahead).Round(time.Millisecond))
	}
	switch abs := ahead.Abs(); {
	case abs >= apart:
		return Failed(fix, "%s: tokens and votes are refused", said)
	case abs >= skewed:
		return Warned(fix, "%s", said)
	}
	return Well("%s", said)
}

// soon is when people should begin to renew what expires.
const soon = 30 * 24 * time.Hour

// Expiry judges when something stops to hold. A zero end never comes.
func Expiry(what string, end, now time.Time, fix string) Finding {
	left := end.Sub(now)
	switch {
	case end.IsZero():
		return Well("%s does not expire", what)
	case left <= 0:
		return Failed(fix, "%s expired on %s", what, end.UTC().Format(time.DateOnly))
	case left < soon:
		return Warned(fix, "%s expires on %s, in %d days", what, end.UTC().Format(time.DateOnly), int(left.Hours()/24))
	}
	return Well("%s holds until %s", what, end.UTC().Format(time.DateOnly))
}
