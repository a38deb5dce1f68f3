package secagg

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// A sum is a SHA-256 sum.
type sum [sha256.Size]byte

// digest returns the sum as messages carry it.
func (s sum) digest() artifact.Digest {
	return artifact.Digest("sha256:" + hex.EncodeToString(s[:]))
}

// A transcript hashes fields so that no two lists of fields have one encoding:
// texts go in with their length, numbers as 8 bytes, and the purpose first.
type transcript struct{ h hash.Hash }

func newHash(purpose string) transcript {
	t := transcript{sha256.New()}
	t.text(Protocol)
	t.text(purpose)
	return t
}

func (t transcript) text(s string) { t.number(len(s)); t.h.Write([]byte(s)) }

func (t transcript) bytes(b []byte) { t.number(len(b)); t.h.Write(b) }

func (t transcript) number(n int) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	t.h.Write(b[:])
}

func (t transcript) numbers(list []int) {
	t.number(len(list))
	for _, n := range list {
		t.number(n)
	}
}

func (t transcript) sum() (s sum) {
	t.h.Sum(s[:0])
	return s
}

// derive returns size bytes of HKDF-SHA256 over the secret, for one purpose of
// one context, and for a direction where that matters (0 elsewhere). The
// context is a hash of the spec, or of spec and roster.
func derive(secret []byte, purpose string, context sum, from, to, size int) ([]byte, error) {
	info := make([]byte, 0, 128)
	info = append(info, Protocol...)
	info = append(info, 0)
	info = append(info, purpose...)
	info = append(info, 0)
	info = append(info, context[:]...)
	info = binary.BigEndian.AppendUint64(info, uint64(from))
	info = binary.BigEndian.AppendUint64(info, uint64(to))
	key, err := hkdf.Key(sha256.New, secret, nil, string(info), size)
	if err != nil {
		return nil, fmt.Errorf("derive %s: %w", purpose, err)
	}
	return key, nil
}

// keystream returns the AES-CTR stream of a key from a byte offset that is a
// multiple of the block size. The counter starts at 0, big-endian.
func keystream(key []byte, offset uint64) (cipher.Stream, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	var iv [aes.BlockSize]byte
	binary.BigEndian.PutUint64(iv[8:], offset/aes.BlockSize)
	return cipher.NewCTR(block, iv[:]), nil
}
