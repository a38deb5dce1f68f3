package pgserver

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// account is the user that the server runs as.
type account struct {
	name     string
	uid, gid int
	drop     bool // this process is root and gives its rights away
}

// accountFor chooses the account for a cluster, which may not exist yet.
func accountFor(data string) (account, error) {
	if os.Geteuid() != 0 {
		return account{name: strconv.Itoa(os.Geteuid()), uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	if info, err := os.Stat(data); err == nil {
		if uid := int(info.Sys().(*syscall.Stat_t).Uid); uid != 0 {
			return lookup(user.LookupId(strconv.Itoa(uid)))
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return account{}, &DirError{Dir: data, Err: err}
	}
	if a, err := lookup(user.Lookup("postgres")); err == nil {
		return a, nil
	}
	a, err := lookup(user.Lookup("nobody"))
	if err != nil {
		return account{}, fmt.Errorf("postgres does not run as root, and there is neither a user postgres nor nobody: %w", err)
	}
	return a, nil
}

func lookup(u *user.User, err error) (account, error) {
	if err != nil {
		return account{}, err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return account{}, err
	}
	gid, err := strconv.Atoi(u.Gid)
	return account{name: u.Username, uid: uid, gid: gid, drop: true}, err
}

// attributes of a child that runs as this account. It has a process group of
// its own, so that Ctrl-C reaches it through us only, in our order.
func (a account) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a.drop {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attr
}

// mkdir makes a directory that is the account's alone, if it is missing.
func (a account) mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if a.drop {
		if err := os.Chown(dir, a.uid, a.gid); err != nil {
			return err
		}
	}
	return os.Chmod(dir, 0o700)
}

// blocked is the first directory on the way to dir, dir included, that the
// account may not pass, or empty. It reads mode bits; access control lists are
// not looked at.
func (a account) blocked(dir string) string {
	if !a.drop {
		return ""
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return dir
	}
	var chain []string
	for d := real; ; d = filepath.Dir(d) {
		chain = append(chain, d)
		if d == filepath.Dir(d) {
			break
		}
	}
	for _, d := range slices.Backward(chain) {
		info, err := os.Stat(d)
		if err != nil || !a.passes(info) {
			return d
		}
	}
	return ""
}

func (a account) passes(info fs.FileInfo) bool {
	st := info.Sys().(*syscall.Stat_t)
	bit := fs.FileMode(0o001)
	switch {
	case int(st.Uid) == a.uid:
		bit = 0o100
	case int(st.Gid) == a.gid:
		bit = 0o010
	}
	return info.Mode()&bit != 0
}

// Place is the directory that Start can use in the place of preferred. That is
// preferred itself, unless this process is root and the server's user cannot
// get there, as below root's own home: then it is a directory of its own below
// /var/lib/fabric, always the same one for the same preferred.
func Place(preferred string) (string, error) {
	dir, err := filepath.Abs(preferred)
	if err != nil {
		return "", err
	}
	who, err := accountFor(filepath.Join(dir, "data"))
	if err != nil {
		return "", err
	}
	existing := dir
	for {
		if _, err := os.Stat(existing); err == nil || existing == filepath.Dir(existing) {
			break
		}
		existing = filepath.Dir(existing)
	}
	if who.blocked(existing) == "" {
		return dir, nil
	}
	return filepath.Join("/var/lib/fabric", digest(dir)), nil
}

// digest is a short name for a path.
func digest(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:6])
}
