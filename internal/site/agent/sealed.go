package agent

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/atom-fabric/fabric/internal/durable"
)

// A sealed file is encrypted block by block, so that any place of it can be
// read without what is before: the file's own random name, then each block of
// [sealedBlock] bytes with its nonce and its tag. Authenticated with a block
// are the file's name and kind, its random name, the block's number and
// whether it is the last: blocks cannot be moved, left out or taken from an
// older file.
const (
	sealedBlock = 64 << 10
	sealedID    = 16
	sealedOver  = 12 + 16 // nonce and tag
)

// seal encrypts content into a file; when it returns nil, the disk has it.
func (r *records) seal(name, end string, content io.Reader) error {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	return durable.Stream(filepath.Join(r.dir, name+end), 0o600, func(dst io.Writer) error {
		id := make([]byte, sealedID)
		if _, err := rand.Read(id); err != nil {
			return err
		}
		if _, err := dst.Write(id); err != nil {
			return err
		}
		// One block ahead: only then it is known which is the last.
		block, next := make([]byte, sealedBlock), make([]byte, sealedBlock)
		defer clear(block)
		defer clear(next)
		n, err := fillBlock(content, block)
		if err != nil {
			return err
		}
		for at := int64(0); ; at++ {
			more, err := fillBlock(content, next)
			if err != nil {
				return err
			}
			if _, err := dst.Write(r.aead.Seal(nil, nil, block[:n], sealedAs(name+end, id, at, more == 0))); err != nil {
				return err
			}
			if more == 0 {
				return nil
			}
			block, next, n = next, block, more
		}
	})
}

// fillBlock reads a whole block, or what is left.
func fillBlock(src io.Reader, block []byte) (int, error) {
	n, err := io.ReadFull(src, block)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}

// sealedAs is what is authenticated with a block.
func sealedAs(name string, id []byte, at int64, last bool) []byte {
	out := append([]byte(name), id...)
	out = binary.BigEndian.AppendUint64(out, uint64(at))
	if last {
		return append(out, 1)
	}
	return append(out, 0)
}

// A sealedFile is read in any places. It is used by one goroutine.
type sealedFile struct {
	file  *os.File
	aead  cipher.AEAD
	name  string
	id    []byte
	size  int64 // of the content
	last  int64 // block
	held  int64 // block that is in plain, -1 for none
	plain []byte
	raw   []byte
}

// unseal opens a sealed file. Errors: [fs.ErrNotExist], [ErrRecord].
func (r *records) unseal(name, end string) (*sealedFile, error) {
	file, err := os.Open(filepath.Join(r.dir, name+end))
	if err != nil {
		return nil, err
	}
	f := &sealedFile{file: file, aead: r.aead, name: name + end, id: make([]byte, sealedID), held: -1, raw: make([]byte, sealedBlock+sealedOver)}
	info, err := file.Stat()
	if err == nil {
		_, err = io.ReadFull(file, f.id)
	}
	if err == nil {
		blocks := info.Size() - sealedID
		f.last = (blocks - 1) / (sealedBlock + sealedOver)
		if f.size = blocks - (f.last+1)*sealedOver; f.size < 0 {
			err = io.ErrUnexpectedEOF
		} else {
			_, err = f.block(f.last) // a file that was cut short has no last block
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s", ErrRecord, f.name), file.Close())
	}
	return f, nil
}

// block returns the content of a block, valid until the next call.
func (f *sealedFile) block(at int64) ([]byte, error) {
	if f.held == at {
		return f.plain, nil
	}
	f.held = -1
	n, err := f.file.ReadAt(f.raw, sealedID+at*(sealedBlock+sealedOver))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	plain, err := f.aead.Open(f.plain[:0], nil, f.raw[:n], sealedAs(f.name, f.id, at, at == f.last))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrRecord, f.name)
	}
	f.plain, f.held = plain, at
	return plain, nil
}

// ReadAt implements io.ReaderAt. Errors: [ErrRecord], a failing disk's.
func (f *sealedFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%w: %s", ErrRecord, f.name)
	}
	done := 0
	for done < len(p) {
		if off >= f.size {
			return done, io.EOF
		}
		plain, err := f.block(off / sealedBlock)
		if err != nil {
			return done, err
		}
		n := copy(p[done:], plain[off%sealedBlock:])
		done, off = done+n, off+int64(n)
	}
	return done, nil
}

// Size returns the length of the content.
func (f *sealedFile) Size() int64 { return f.size }

// Close forgets what was read. It may be called on no file at all.
func (f *sealedFile) Close() error {
	if f == nil {
		return nil
	}
	clear(f.plain)
	return f.file.Close()
}
