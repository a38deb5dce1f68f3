// Package blob keeps content by its digest, in a directory or in a bucket.
//
// Invariant: what has a name is whole and is what the name says; it was made
// durable before it got the name. A crash, a failing reader or a full disk
// leaves a nameless temporary file at the most.
package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	hash := sha256.New()
	size, err := io.Copy(io.MultiWriter(temp, hash), stopWith(ctx, content))
	if err != nil {
		return artifact.Descriptor{}, fmt.Errorf("put blob: %w", err)
	}
	out := artifact.Descriptor{
		Digest:    artifact.Digest("sha256:" + hex.EncodeToString(hash.Sum(nil))),
		SizeBytes: size,
		MediaType: mediaType,
	}
	if err := d.name(temp, out.Digest); err != nil {
		return artifact.Descriptor{}, fmt.Errorf("put blob %s: %w", out.Digest.Short(), err)
	}
	return out, nil
}

// name makes a finished file durable and then visible. Folders are synced from
// the new name upwards: a name that is lost in a crash is not one that was
// promised.
func (d *Dir) name(temp *os.File, digest artifact.Digest) error {
	if err := temp.Sync(); err != nil {
		return err
	}
	path := d.path(digest)
	made := os.Mkdir(filepath.Dir(path), 0o700)
	if made != nil && !errors.Is(made, fs.ErrExist) {
		return made
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(filepath.Dir(path))) // also when another Put made the folder and has not come here yet
}

// Open returns the content. Its last Read fails with [artifact.ErrContent]
// when the file is not what its name says.
// Errors: [activities.ErrNotFound].
func (d *Dir) Open(_ context.Context, digest artifact.Digest) (io.ReadCloser, error) {
	file, _, err := d.File(digest)
	if err != nil {
		return nil, err
	}
	return checked{Reader: artifact.Expect(file, digest), Closer: file}, nil
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

// A checked reads content that is compared with its digest.
type checked struct {
	io.Reader
	io.Closer
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// stopWith ends a copy when the context does.
func stopWith(ctx context.Context, r io.Reader) io.Reader { return interrupted{ctx: ctx, r: r} }

type interrupted struct {
	ctx context.Context
	r   io.Reader
}

func (i interrupted) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}
