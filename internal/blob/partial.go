package blob

import (
	"context"
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/internal/durable"
)

// A Spool keeps blobs that come in pieces until they are whole, one upload for
// each owner and digest: a pair of files, the bytes that came (.data) and the
// record of how many of them count (.state). Nobody finds a blob by its digest
// before all of it is there and is what the digest says. Several processes may
// share one. It is an [api.Uploads].
type Spool struct {
	dir    string
	store  activities.Blobs
	adopt  func(whole *os.File, digest artifact.Digest) error // gives the file its name; nil: it is copied
	limits Limits
}

var _ api.Uploads = (*Spool)(nil)

// Uploads returns the spool beside the blobs: a whole upload is renamed, not
// copied.
func (d *Dir) Uploads(limits Limits) (*Spool, error) {
	return newSpool(filepath.Join(d.root, "partial"), d, d.name, limits)
}

// Uploads returns a spool in a local directory, from where a whole upload goes
// to the bucket in one piece. The bucket's own multipart uploads would outlive
// the process as well, but their parts cannot be compared with the digest
// before they become the object. Processes that do not share the directory do
// not know each other's pieces: a site that comes to another one starts again.
func (s *S3) Uploads(dir string, limits Limits) (*Spool, error) {
	return newSpool(dir, s, nil, limits)
}

func newSpool(dir string, store activities.Blobs, adopt func(*os.File, artifact.Digest) error, limits Limits) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("upload directory: %w", err)
	}
	s := &Spool{dir: dir, store: store, adopt: adopt, limits: limits.or()}
	if err := s.gated(func() error { _, err := s.survey(""); return err }); err != nil {
		return nil, fmt.Errorf("upload directory: %w", err)
	}
	return s, nil
}

// path is that of an upload's files, without their suffix.
func (s *Spool) path(u api.Upload) string {
	return filepath.Join(s.dir, ownerHex(u.Owner)+"-"+u.Digest.Hex())
}

// Resume implements [api.Uploads].
func (s *Spool) Resume(ctx context.Context, u api.Upload) (int64, error) {
	if err := valid(u); err != nil {
		return 0, err
	}
	t, err := take(s.path(u)+".state", 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, about(u, err)
	}
	defer t.Close()
	kept, err := s.stand(ctx, u, t)
	if err == nil && kept == u.SizeBytes && !t.Stored {
		kept, err = s.finish(ctx, u, t)
	}
	return kept, about(u, err)
}

// Append implements [api.Uploads]. A piece that breaks off, or a process that
// dies in the middle of one, leaves what the record says; the bytes after it
// are overwritten by the next one.
func (s *Spool) Append(ctx context.Context, u api.Upload, first int64, content io.Reader) (int64, error) {
	if err := valid(u); err != nil {
		return 0, err
	}
	t, err := s.claim(u)
	if err != nil {
		return 0, about(u, err)
	}
	defer t.Close()
	kept, err := s.stand(ctx, u, t)
	switch {
	case err != nil:
		return 0, about(u, err)
	case t.Stored:
		return kept, nil // the answer to its last piece was lost
	case first != kept:
		return kept, about(u, api.ErrOffset)
	}
	if err := s.write(ctx, u, t, content); err != nil {
		return t.Kept, about(u, err)
	}
	if t.Kept < t.Total {
		return t.Kept, nil
	}
	kept, err = s.finish(ctx, u, t)
	return kept, about(u, err)
}

// claim takes the ticket of an upload, or makes one where there is room.
func (s *Spool) claim(u api.Upload) (*ticket, error) {
	t, err := take(s.path(u)+".state", 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	err = s.gated(func() error {
		t, err = s.admit(u)
		return err
	})
	return t, err
}

// stand returns how much of an upload is there to go on from, which is nothing
// when its files are not what its record says.
func (s *Spool) stand(ctx context.Context, u api.Upload, t *ticket) (int64, error) {
	if t.Total == 0 { // a crash before the first record
		return 0, t.write(record{Total: u.SizeBytes})
	}
	if t.Total != u.SizeBytes {
		return 0, fmt.Errorf("said to have %d bytes, and %d before: %w", u.SizeBytes, t.Total, api.ErrConflict)
	}
	info, err := os.Stat(s.path(u) + ".data")
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return 0, err
	case err == nil && info.Size() >= t.Kept && !t.Stored, t.Kept == 0:
		return t.Kept, nil
	case t.Kept == t.Total:
		// It was whole once. If we crashed between giving it its name and
		// writing that down, the store has it.
		there, err := s.there(ctx, u.Digest)
		if err != nil {
			return 0, err
		}
		if there {
			return t.Total, s.stored(u, t)
		}
	}
	return 0, t.write(record{Total: u.SizeBytes}) // lost: again from the start
}

func (s *Spool) there(ctx context.Context, digest artifact.Digest) (bool, error) {
	content, err := s.store.Open(ctx, digest)
	if errors.Is(err, activities.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, content.Close()
}

// write adds content to the data, and then to what counts. What came of a piece
// that broke off counts too.
func (s *Spool) write(ctx context.Context, u api.Upload, t *ticket, content io.Reader) error {
	sum, err := resumed(t.Hash)
	if err != nil {
		return errors.Join(api.ErrOffset, t.write(record{Total: t.Total})) // of another release: again from the start
	}
	data, err := os.OpenFile(s.path(u)+".data", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return full(err)
	}
	defer data.Close()
	if _, err := data.Seek(t.Kept, io.SeekStart); err != nil {
		return err
	}
	from := &source{Reader: io.LimitReader(stopWith(ctx, content), t.Total-t.Kept)}
	n, err := io.CopyBuffer(io.MultiWriter(data, sum), from, make([]byte, copyBuffer))
	if err != nil && from.err == nil {
		return full(err) // ours: the hash does not say what the file holds
	}
	if n == 0 {
		return from.err
	}
	next := record{Total: t.Total, Kept: t.Kept + n}
	if next.Hash, err = sum.(encoding.BinaryMarshaler).MarshalBinary(); err != nil {
		return err
	}
	if err := data.Sync(); err != nil {
		return full(err)
	}
	if t.Kept == 0 {
		if err := durable.SyncDir(s.dir); err != nil { // the file's name, once
			return err
		}
	}
	if err := t.write(next); err != nil {
		return full(err)
	}
	return from.err
}

// finish gives an upload that is whole its name, if it is what the name says;
// else nothing of it stays.
func (s *Spool) finish(ctx context.Context, u api.Upload, t *ticket) (int64, error) {
	sum, err := resumed(t.Hash)
	if err != nil {
		return 0, t.write(record{Total: t.Total})
	}
	if got := artifact.Summed(sum); got != u.Digest {
		return 0, errors.Join(fmt.Errorf("%s came: %w", got.Short(), artifact.ErrContent), s.discard(t))
	}
	data, err := os.OpenFile(s.path(u)+".data", os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer data.Close()
	if err := data.Truncate(t.Total); err != nil {
		return 0, err
	}
	if s.adopt != nil {
		err = s.adopt(data, u.Digest)
	} else {
		_, err = s.store.Put(ctx, u.MediaType, artifact.Expect(data, u.Digest))
	}
	if err != nil {
		return t.Kept, full(err)
	}
	return t.Total, s.stored(u, t)
}

// stored writes down that an upload has its name: a sender that did not hear so
// is told, without sending it again.
func (s *Spool) stored(u api.Upload, t *ticket) error {
	if !t.Stored {
		if err := t.write(record{Total: t.Total, Kept: t.Total, Stored: true}); err != nil {
			return err
		}
	}
	return gone(s.path(u) + ".data")
}

// discard removes an upload whose ticket is held.
func (s *Spool) discard(t *ticket) error {
	return errors.Join(gone(strings.TrimSuffix(t.file.Name(), ".state")+".data"), gone(t.file.Name()))
}

// gone removes a file, if it is there.
func gone(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// resumed returns the hash as it was after the bytes that are kept.
func resumed(state []byte) (hash.Hash, error) {
	sum := sha256.New()
	if len(state) == 0 {
		return sum, nil
	}
	return sum, sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(state)
}

// A source remembers that it was the sender who failed.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// full says of a disk without room what the sender can do about it.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w: %w", api.ErrFull, err)
	}
	return err
}

func valid(u api.Upload) error {
	if _, err := artifact.ParseDigest(string(u.Digest)); err != nil { // it becomes a path
		return fmt.Errorf("upload: %w", err)
	}
	if u.SizeBytes < 1 {
		return about(u, fmt.Errorf("%d bytes: %w", u.SizeBytes, api.ErrConflict))
	}
	return nil
}

func about(u api.Upload, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("upload of %s: %w", u.Digest.Short(), err)
}
