package blob

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/atom-fabric/fabric/api"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// slotSize is the room of one copy of a record.
const slotSize = 512

// A record is what is durable of an upload.
type record struct {
	Seq    uint64 `json:"seq"`
	Total  int64  `json:"total"`            // bytes that the whole has
	Kept   int64  `json:"kept"`             // bytes from its start that survive a crash
	Hash   []byte `json:"hash,omitempty"`   // SHA-256 over those, as crypto/sha256 writes its state
	Stored bool   `json:"stored,omitempty"` // the whole has its name; there is no more to do
}

// A ticket is the file of a record, and the lock on its upload. It has two
// slots that are written in turn, each with a digest of its own: a crash in the
// middle of a write leaves the other one, which is the record before it.
type ticket struct {
	record
	file *os.File
}

// take opens a ticket and locks it, so that one writer at a time is on an
// upload, whichever process it is in.
// Errors: [api.ErrUploading] when another has it; fs.ErrNotExist.
func take(path string, flag int) (*ticket, error) {
	for {
		file, err := os.OpenFile(path, os.O_RDWR|flag, 0o600)
		if err != nil {
			return nil, err
		}
		err = flock(file, syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = api.ErrUploading
		}
		if err != nil {
			return nil, errors.Join(err, file.Close())
		}
		// The one who had it may have removed it: what is locked now has no
		// name any more.
		same, err := named(file, path)
		if err == nil && same {
			t := &ticket{file: file}
			if t.record, err = readRecord(file); err == nil {
				return t, nil
			}
		}
		if closed := file.Close(); err != nil || closed != nil {
			return nil, errors.Join(err, closed)
		}
	}
}

func flock(file *os.File, how int) error {
	for {
		if err := syscall.Flock(int(file.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func named(file *os.File, path string) (bool, error) {
	open, err := file.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(open, there), err
}

// readRecord returns the newer one of the two copies that are whole; the zero
// record when none is, as after a crash before the first was written.
func readRecord(file io.ReaderAt) (record, error) {
	var newest record
	for i := range int64(2) {
		slot := make([]byte, slotSize)
		n, err := file.ReadAt(slot, i*slotSize)
		if err != nil && !errors.Is(err, io.EOF) {
			return record{}, err
		}
		sum, text, ok := bytes.Cut(bytes.TrimRight(slot[:n], " \n\x00"), []byte(" "))
		var r record
		if ok && string(sum) == artifact.DigestOf(text).Hex() && json.Unmarshal(text, &r) == nil && r.Seq > newest.Seq {
			newest = r
		}
	}
	return newest, nil
}

// write makes a record durable. What it counts as kept must be durable before.
func (t *ticket) write(r record) error {
	r.Seq = t.Seq + 1
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	slot := append([]byte(artifact.DigestOf(text).Hex()+" "), text...)
	if len(slot) >= slotSize {
		return fmt.Errorf("a record of %d bytes is longer than its slot", len(slot))
	}
	slot = append(slot, bytes.Repeat([]byte("\n"), slotSize-len(slot))...)
	if _, err := t.file.WriteAt(slot, int64(r.Seq%2)*slotSize); err != nil {
		return err
	}
	if err := t.file.Sync(); err != nil {
		return err
	}
	t.record = r
	return nil
}

// Close lets the next one have the upload.
func (t *ticket) Close() error { return t.file.Close() }

// ownerHex keeps names of sites out of names of files.
func ownerHex(owner string) string {
	return artifact.DigestOf([]byte(owner)).Hex()[:32]
}
