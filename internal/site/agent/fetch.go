package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// ErrContent says that what was downloaded is not what its digest names.
var ErrContent = errors.New("the content is not what its digest names")

// fetch downloads content into memory and compares it with its digest.
func (a *Agent) fetch(ctx context.Context, d artifact.Descriptor, limit int64) (text []byte, err error) {
	if err := a.fetchable(d, limit); err != nil {
		return nil, err
	}
	err = a.retry(ctx, func() error {
		body, err := a.fabric.Blob(ctx, a.id.token(), d.Digest, 0)
		if err != nil {
			return err
		}
		defer body.Close()
		text, err = io.ReadAll(io.LimitReader(body, limit+1))
		if err == nil && artifact.DigestOf(text) != d.Digest {
			err = ErrContent // cut short, or not ours: another download may do
		}
		return err
	})
	return text, err
}

// fetchable refuses what is not to be downloaded at all. Errors: [ErrNotAllowed].
func (a *Agent) fetchable(d artifact.Descriptor, limit int64) error {
	if _, err := artifact.ParseDigest(string(d.Digest)); err != nil {
		return err
	}
	if d.SizeBytes > limit {
		return fmt.Errorf("%w: %d bytes, more than %d", ErrNotAllowed, d.SizeBytes, limit)
	}
	return nil
}

// partial ends the name of a download that is not whole.
const partial = ".part"

// save downloads content into a file and compares it with its digest. It goes
// on where an earlier download was cut, also by a kill of the agent.
func (a *Agent) save(ctx context.Context, d artifact.Descriptor, limit int64) (path string, err error) {
	if err := a.fetchable(d, limit); err != nil {
		return "", err
	}
	if err := os.MkdirAll(a.downloads(), 0o700); err != nil {
		return "", err
	}
	whole := filepath.Join(a.downloads(), d.Digest.Hex())
	path = whole + partial
	// What an earlier call has left whole is looked at again.
	if err := os.Rename(whole, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	kept, err := io.CopyBuffer(struct{ io.Writer }{hash}, struct{ io.Reader }{file}, make([]byte, copied))
	if err != nil {
		return "", err
	}
	again := func() error {
		hash.Reset()
		kept = 0
		_, err := file.Seek(0, io.SeekStart)
		return errors.Join(err, file.Truncate(0))
	}
	buffer := make([]byte, copied)
	err = a.retry(ctx, func() error {
		for kept < d.SizeBytes {
			n, err := a.more(ctx, d, kept, io.MultiWriter(file, hash), buffer)
			kept += n
			if err != nil && (n == 0 || ctx.Err() != nil || final(err)) {
				return err
			}
		}
		if kept == d.SizeBytes && artifact.Summed(hash) == d.Digest {
			return nil
		}
		return errors.Join(ErrContent, again())
	})
	if err != nil {
		return "", err
	}
	// Not synced: after a power cut it is compared with its digest again.
	return whole, os.Rename(path, whole)
}

// more appends what comes after the bytes that are kept, and returns how much
// that was, also when it broke off.
func (a *Agent) more(ctx context.Context, d artifact.Descriptor, kept int64, dst io.Writer, buffer []byte) (int64, error) {
	body, err := a.fabric.Blob(ctx, a.id.token(), d.Digest, kept)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	n, err := io.CopyBuffer(dst, struct{ io.Reader }{io.LimitReader(body, d.SizeBytes-kept)}, buffer)
	if err == nil && kept+n < d.SizeBytes {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// downloads is where weights are that are too large for memory.
func (a *Agent) downloads() string { return filepath.Join(a.opts.StateDir, "downloads") }

// tidyDownloads removes weights that nobody asked for in a day.
func (a *Agent) tidyDownloads(now time.Time) error {
	entries, err := os.ReadDir(a.downloads())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var failed error
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && now.Sub(info.ModTime()) > 24*time.Hour {
			err = os.Remove(filepath.Join(a.downloads(), entry.Name()))
		}
		failed = errors.Join(failed, err)
	}
	return failed
}
