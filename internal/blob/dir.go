// Package blob keeps content by its digest, in a directory or in a bucket.
//
// Invariant: what has a name is whole and is what the name says; it was made
// durable before it got the name. A crash, a failing reader or a full disk
// leaves a nameless temporary file at the most.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/durable"
)

// abandoned is the age from which a temporary file is nobody's any more: no
// upload takes that long.
const abandoned = 24 * time.Hour

// A Dir keeps blobs as files sha256/<two digits>/<all digits>. Several
// processes may share one. It is an [activities.Blobs].
type Dir struct{ root string }

var _ activities.Blobs = (*Dir)(nil)

// NewDir opens the directory, makes it if it is missing, and removes what
// crashed uploads have left in it.
func NewDir(root string) (*Dir, error) {
	d := &Dir{root: root}
	for _, dir := range []string{d.temp(), filepath.Join(root, "sha256")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("blob directory: %w", err)
		}
	}
	left, err := os.ReadDir(d.temp())
	if err != nil {
		return nil, fmt.Errorf("blob directory: %w", err)
	}
	for _, entry := range left {
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // its upload has just ended
		}
		if err != nil {
			return nil, fmt.Errorf("blob directory: %w", err)
		}
		if time.Since(info.ModTime()) > abandoned {
			if err := os.Remove(filepath.Join(d.temp(), entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("blob directory: %w", err)
			}
		}
	}
	return d, nil
}

func (d *Dir) temp() string { return filepath.Join(d.root, "tmp") }

func (d *Dir) path(digest artifact.Digest) string {
	return filepath.Join(d.root, "sha256", digest.Hex()[:2], digest.Hex())
}

// Put stores the content and returns its descriptor once it survives a crash.
// When content fails to be read nothing is stored, so that [artifact.Limit]
// and [artifact.Expect] around it decide what is kept. The same content twice
// is written again, which also repairs a file that has rotted.
func (d *Dir) Put(ctx context.Context, mediaType string, content io.Reader) (artifact.Descriptor, error) {
	temp, err := os.CreateTemp(d.temp(), "put-*")
	if err != nil {
		return artifact.Descriptor{}, fmt.Errorf("put blob: %w", err)
	}
	defer os.Remove(temp.Name()) // after the rename there is nothing to remove
	defer temp.Close()
	out, err := copied(ctx, &steady{file: temp}, mediaType, content)
	if err != nil {
		return artifact.Descriptor{}, fmt.Errorf("put blob: %w", err)
	}
	if err := d.name(temp, out.Digest); err != nil {
		return artifact.Descriptor{}, fmt.Errorf("put blob %s: %w", out.Digest.Short(), err)
	}
	return out, nil
}

// syncEvery is after how many bytes what was written goes to the disk. Left to
// the end, the one sync of a large file takes longer than an activity may be
// silent, and fills the memory of the machine until then.
const syncEvery = 256 << 20

// A steady file goes to the disk while it is written.
type steady struct {
	file  *os.File
	since int64
}

func (s *steady) Write(p []byte) (int, error) {
	n, err := s.file.Write(p)
	if s.since += int64(n); err == nil && s.since >= syncEvery {
		s.since, err = 0, s.file.Sync()
	}
	return n, err
}

// name makes a finished file durable and then visible. Folders are synced from
// the new name upwards: a name that is lost in a crash is not one that was
// promised.
func (d *Dir) name(temp *os.File, digest artifact.Digest) error {
	if err := temp.Sync(); err != nil {
		return err
	}
	return d.placed(digest, func(path string) error { return os.Rename(temp.Name(), path) })
}

// placed makes the name that place gives survive a crash.
func (d *Dir) placed(digest artifact.Digest, place func(path string) error) error {
	path := d.path(digest)
	made := os.Mkdir(filepath.Dir(path), 0o700)
	if made != nil && !errors.Is(made, fs.ErrExist) {
		return made
	}
	if err := place(path); err != nil {
		return err
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(filepath.Dir(path))) // also when another Put made the folder and has not come here yet
}

// Link gives a blob its name in another directory of blobs as well, which must
// be there, on the same file system. Nothing is copied, and the name survives a
// crash.
// Errors: [activities.ErrNotFound] when the blob or the directory is missing;
// an error of the operating system when there is no second name to be had.
func (d *Dir) Link(digest artifact.Digest, root string) error {
	if _, err := artifact.ParseDigest(string(digest)); err != nil { // it becomes a path
		return fmt.Errorf("link blob: %w", err)
	}
	in := &Dir{root: root}
	err := in.placed(digest, func(path string) error {
		err := os.Link(d.path(digest), path)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = absent{}
	}
	if err != nil {
		return fmt.Errorf("link blob %s: %w", digest.Short(), err)
	}
	return nil
}

// Open returns the content. Its last Read fails with [artifact.ErrContent]
// when the file is not what its name says, unless it was read from elsewhere
// than its start, as an io.Seeker.
// Errors: [activities.ErrNotFound].
func (d *Dir) Open(_ context.Context, digest artifact.Digest) (io.ReadCloser, error) {
	file, _, err := d.File(digest)
	if err != nil {
		return nil, err
	}
	return check(file, digest), nil
}

// File returns the file of a blob and its size, for readers that seek and
// compare by themselves.
// Errors: [activities.ErrNotFound].
func (d *Dir) File(digest artifact.Digest) (*os.File, int64, error) {
	if _, err := artifact.ParseDigest(string(digest)); err != nil { // it becomes a path
		return nil, 0, fmt.Errorf("open blob: %w", err)
	}
	file, err := os.Open(d.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("open blob %s: %w", digest.Short(), absent{})
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open blob %s: %w", digest.Short(), err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("open blob %s: %w", digest.Short(), err), file.Close())
	}
	return file, info.Size(), nil
}

// An absent is what both the activities and the API call not found.
type absent struct{}

func (absent) Error() string { return activities.ErrNotFound.Error() }

// Is implements the interface of errors.Is.
func (absent) Is(target error) bool {
	return target == activities.ErrNotFound || target == api.ErrNotFound
}
