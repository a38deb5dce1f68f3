package blob

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/durable"
)

// Limits bound what a [Spool] holds.
type Limits struct {
	Uploads int           // that are not whole; 0 means 256
	Own     int           // of one owner, whole ones too; 0 means 4
	Bytes   int64         // of all that are not whole, counted as if they were; 0 means 64 GiB
	Age     time.Duration // since the last piece; 0 means 24 h
}

func (l Limits) or() Limits {
	return Limits{
		Uploads: cmp.Or(l.Uploads, 256), Own: cmp.Or(l.Own, 4), Bytes: cmp.Or(l.Bytes, 64<<30), Age: cmp.Or(l.Age, abandoned),
	}
}

// A waiting upload is one of which nobody is known to send now.
type waiting struct {
	path   string // of its ticket
	since  time.Time
	stored bool
}

// A census is what a spool holds.
type census struct {
	uploads int
	bytes   int64
	own     []waiting // of one owner, those first that are missed least
}

// gated runs f while no other process lets an upload in.
func (s *Spool) gated(f func() error) error {
	gate, err := os.OpenFile(filepath.Join(s.dir, "gate"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return full(err)
	}
	defer gate.Close() // unlocks
	if err := flock(gate, syscall.LOCK_EX); err != nil {
		return err
	}
	return f()
}

// admit makes the ticket of a new upload. All the bytes that it will have are
// counted from the start: what is let in can come to its end. An owner with too
// many loses the one that waited longest; of others nothing is taken before
// its age.
// Errors: [api.ErrFull]; [artifact.ErrTooLarge] for what there is never room for.
func (s *Spool) admit(u api.Upload) (*ticket, error) {
	if u.SizeBytes > s.limits.Bytes {
		return nil, artifact.ErrTooLarge
	}
	path := s.path(u) + ".state"
	if _, err := os.Stat(path); err == nil {
		return take(path, 0) // another was faster
	}
	held, err := s.survey(ownerHex(u.Owner))
	if err != nil {
		return nil, err
	}
	for len(held.own) >= s.limits.Own {
		if held, err = s.yield(held, ownerHex(u.Owner)); err != nil {
			return nil, err
		}
	}
	if held.uploads >= s.limits.Uploads || held.bytes+u.SizeBytes > s.limits.Bytes {
		return nil, fmt.Errorf("%d uploads of %d bytes are under way: %w", held.uploads, held.bytes, api.ErrFull)
	}
	t, err := take(path, os.O_CREATE)
	if err != nil {
		return nil, full(err)
	}
	if err := errors.Join(t.write(record{Total: u.SizeBytes}), durable.SyncDir(s.dir)); err != nil {
		return nil, errors.Join(full(err), t.Close())
	}
	return t, nil
}

// yield removes one of an owner's uploads on which nobody writes.
func (s *Spool) yield(held census, owner string) (census, error) {
	for _, w := range held.own {
		removed, err := s.remove(w.path)
		if err != nil {
			return held, err
		}
		if removed {
			return s.survey(owner)
		}
	}
	return held, fmt.Errorf("%d uploads of this owner are under way: %w", len(held.own), api.ErrFull)
}

// survey removes what is too old and counts the rest.
func (s *Spool) survey(owner string) (census, error) {
	var held census
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return held, err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // its upload has just ended
		}
		if err != nil {
			return held, err
		}
		path := filepath.Join(s.dir, entry.Name())
		name, isTicket := strings.CutSuffix(path, ".state")
		if !isTicket {
			if err := s.orphaned(path, info.ModTime()); err != nil {
				return held, err
			}
			continue
		}
		if time.Since(info.ModTime()) > s.limits.Age {
			removed, err := s.remove(path)
			if err != nil {
				return held, err
			}
			if removed {
				continue
			}
		}
		r, err := peek(path)
		if err != nil {
			return held, err
		}
		if !r.Stored {
			held.uploads++
			held.bytes += r.Total
		}
		if owner != "" && strings.HasPrefix(filepath.Base(name), owner+"-") {
			held.own = append(held.own, waiting{path: path, since: info.ModTime(), stored: r.Stored})
		}
	}
	slices.SortFunc(held.own, func(a, b waiting) int {
		if a.stored != b.stored {
			if a.stored {
				return -1
			}
			return 1
		}
		return a.since.Compare(b.since)
	})
	return held, nil
}

// orphaned removes data without a ticket, which only a lost directory entry
// can leave.
func (s *Spool) orphaned(path string, since time.Time) error {
	name, isData := strings.CutSuffix(path, ".data")
	if !isData || time.Since(since) <= s.limits.Age {
		return nil
	}
	if _, err := os.Stat(name + ".state"); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return gone(path)
}

// peek reads a record that another may be writing: one of its copies is whole.
func peek(path string) (record, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return record{}, err
	}
	defer file.Close()
	return readRecord(file)
}

// remove discards an upload unless somebody writes on it.
func (s *Spool) remove(path string) (bool, error) {
	t, err := take(path, 0)
	switch {
	case errors.Is(err, api.ErrUploading):
		return false, nil
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	}
	defer t.Close()
	return true, s.discard(t)
}
