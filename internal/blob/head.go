package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/minio/minio-go/v7"

	"github.com/atom-fabric/fabric/activities"

	"github.com/atom-fabric/fabric/internal/durable"
)

// maxHead bounds a head: it names content, it does not hold it.
const maxHead = 64 << 10

// ErrHead says that a text is no name of a head.
var ErrHead = errors.New("not the name of a head: lower-case words, digits, dots and dashes between slashes")

// headName is what a head may be called: it becomes a path and a key.
var headName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*){0,3}$`)

// A head is the one kind of object here that changes: a short text that says
// what is newest. It moves by compare-and-swap alone, so of two writers that
// have read the same head one is told that it is stale.

var (
	_ activities.Heads = (*Dir)(nil)
	_ activities.Heads = (*S3)(nil)
)

// Head returns a head and the tag that a swap of it must name.
// Errors: [activities.ErrNotFound]; [ErrHead].
func (s *S3) Head(ctx context.Context, name string) ([]byte, string, error) {
	if !headName.MatchString(name) {
		return nil, "", ErrHead
	}
	object, err := s.client.GetObject(ctx, s.bucket, path.Join(s.prefix, "heads", name), minio.GetObjectOptions{})
	if err != nil {
		return nil, "", fmt.Errorf("head %s: %w", name, err)
	}
	defer object.Close()
	info, err := object.Stat()
	if err != nil {
		if minio.ToErrorResponse(err).StatusCode == http.StatusNotFound {
			err = absent{}
		}
		return nil, "", fmt.Errorf("head %s: %w", name, err)
	}
	content, err := io.ReadAll(io.LimitReader(object, maxHead))
	if err != nil {
		return nil, "", fmt.Errorf("head %s: %w", name, err)
	}
	return content, info.ETag, nil
}

// Swap moves a head from the state that tag names; "" is no head at all.
// Errors: [activities.ErrStale] when it has moved meanwhile; [ErrHead].
func (s *S3) Swap(ctx context.Context, name, tag string, content []byte) error {
	if !headName.MatchString(name) || len(content) > maxHead {
		return ErrHead
	}
	opts := minio.PutObjectOptions{ContentType: "application/json"}
	if tag == "" {
		opts.SetMatchETagExcept("*")
	} else {
		opts.SetMatchETag(tag)
	}
	_, err := s.client.PutObject(ctx, s.bucket, path.Join(s.prefix, "heads", name), bytes.NewReader(content), int64(len(content)), opts)
	switch status := minio.ToErrorResponse(err).StatusCode; {
	case err == nil:
		return nil
	case status == http.StatusPreconditionFailed, status == http.StatusConflict, status == http.StatusNotFound && tag != "":
		return fmt.Errorf("head %s: %w", name, activities.ErrStale)
	}
	return fmt.Errorf("head %s: %w", name, err)
}

// Head returns a head and the tag that a swap of it must name.
// Errors: [activities.ErrNotFound]; [ErrHead].
func (d *Dir) Head(_ context.Context, name string) ([]byte, string, error) {
	if !headName.MatchString(name) {
		return nil, "", ErrHead
	}
	content, err := os.ReadFile(d.head(name))
	if errors.Is(err, fs.ErrNotExist) {
		err = absent{}
	}
	if err != nil {
		return nil, "", fmt.Errorf("head %s: %w", name, err)
	}
	return content, tagOf(content), nil
}

func (d *Dir) head(name string) string {
	return filepath.Join(d.root, "heads", filepath.FromSlash(name))
}

// Swap moves a head from the state that tag names; "" is no head at all.
// Processes that share the directory wait for each other. When it returns, the
// head survives a crash.
// Errors: [activities.ErrStale] when it has moved meanwhile; [ErrHead].
func (d *Dir) Swap(ctx context.Context, name, tag string, content []byte) (err error) {
	if !headName.MatchString(name) || len(content) > maxHead {
		return ErrHead
	}
	at := d.head(name)
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return fmt.Errorf("head %s: %w", name, err)
	}
	gate, err := os.OpenFile(filepath.Join(d.root, "heads", ".lock"), os.O_RDWR|os.O_CREATE, 0o600) // no head has that name
	if err != nil {
		return fmt.Errorf("head %s: %w", name, err)
	}
	defer gate.Close() // unlocks
	if err := flock(gate, syscall.LOCK_EX); err != nil {
		return fmt.Errorf("head %s: %w", name, err)
	}
	_, now, err := d.Head(ctx, name)
	if err != nil && !errors.Is(err, activities.ErrNotFound) {
		return err
	}
	if now != tag {
		return fmt.Errorf("head %s: %w", name, activities.ErrStale)
	}
	temp, err := os.CreateTemp(d.temp(), "head-*")
	if err != nil {
		return fmt.Errorf("head %s: %w", name, err)
	}
	defer os.Remove(temp.Name()) // after the rename there is nothing to remove
	_, err = temp.Write(content)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("head %s: %w", name, err)
	}
	if err := os.Rename(temp.Name(), at); err != nil {
		return fmt.Errorf("head %s: %w", name, err)
	}
	return durable.SyncDir(filepath.Dir(at))
}

func tagOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
