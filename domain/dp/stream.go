package dp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"io"
)

// A Seed is the secret that noise or rounding is made from. It is used for one
// purpose once: equal seeds give equal noise, which subtracts.
type Seed [32]byte

// Derive returns the seed of a purpose: HKDF-SHA256 expanded with the label.
func Derive(seed Seed, label string) Seed {
	key, err := hkdf.Expand(sha256.New, seed[:], "fabric/dp/v1/"+label, len(Seed{}))
	if err != nil {
		panic(err) // only for a length above 8,160 bytes
	}
	return Seed(key)
}

// NewStream returns the AES-256-CTR key stream of the seed, from its start. It
// never ends and never fails.
func NewStream(seed Seed) io.Reader { return NewStreamAt(seed, 0, 0) }

// NewStreamAt returns a lane of the seed's key stream from a byte offset on: the
// counter block is lane and the offset's block, 64 bits each, so that lanes do
// not meet and any place in one can be read without what is before it.
func NewStreamAt(seed Seed, lane, offset uint64) *Stream {
	block, err := aes.NewCipher(seed[:])
	if err != nil {
		panic(err) // only for a key that is not 16, 24 or 32 bytes
	}
	var iv [aes.BlockSize]byte
	binary.BigEndian.PutUint64(iv[:8], lane)
	binary.BigEndian.PutUint64(iv[8:], offset/aes.BlockSize)
	s := &Stream{ctr: cipher.NewCTR(block, iv[:])}
	if skip := offset % aes.BlockSize; skip > 0 {
		var head [aes.BlockSize]byte
		s.ctr.XORKeyStream(head[:skip], head[:skip])
	}
	return s
}

// A Stream is a key stream as a reader.
type Stream struct{ ctr cipher.Stream }

// Read fills p. It never fails.
func (s *Stream) Read(p []byte) (int, error) {
	s.Next(p)
	return len(p), nil
}

// Next fills p with the next bytes of the stream.
func (s *Stream) Next(p []byte) {
	clear(p)
	s.ctr.XORKeyStream(p, p)
}
