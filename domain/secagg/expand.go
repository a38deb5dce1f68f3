package secagg

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"sync"
	"unsafe"
)

// An Element is an element of the ring: sums wrap around.
type Element interface{ uint32 | uint64 }

const (
	maskKeyBytes = 16      // AES-128
	blockBytes   = 8 << 10 // expanded at a time: key stream and sum stay in the first cache
	batchStreams = 256     // expanded side by side
)

// A mask is a key stream that is added to a vector, or taken from it.
type mask struct {
	key      [maskKeyBytes]byte
	negative bool
}

// An Expander is a sum of masks that has not been expanded yet. It is secret.
type Expander struct {
	Workers int // goroutines of one Apply; below 2 there is none. No bit of the result depends on it.

	ring   Ring
	length int
	masks  []mask
}

// Streams returns how many masks there are.
func (x *Expander) Streams() int { return len(x.masks) }

// Erase overwrites the keys; the expander adds nothing from then on.
func (x *Expander) Erase() {
	clear(x.masks)
	x.masks = nil
}

// Apply adds the masks of elements offset, offset+1, ... of the vector to dst.
// A vector may be handed over in any pieces in any order, each element once.
// Memory is a few blocks for a worker, whatever the number of masks.
// Errors: [ErrVector] if dst is not of the ring or leaves the vector.
func Apply[E Element](x *Expander, dst []E, offset int) error {
	size := int(unsafe.Sizeof(E(0)))
	if size != x.ring.Bytes() || offset < 0 || offset > x.length || len(dst) > x.length-offset {
		return fmt.Errorf("%w: elements of %d bytes at %d, %d of them", ErrVector, size, offset, len(dst))
	}
	if x.Workers < 2 {
		return expand(x.masks, dst, offset)
	}
	per := (len(dst) + x.Workers - 1) / x.Workers
	var wg sync.WaitGroup
	errs := make([]error, x.Workers)
	for w := range x.Workers {
		part := dst[min(w*per, len(dst)):min((w+1)*per, len(dst))]
		wg.Go(func() { errs[w] = expand(x.masks, part, offset+w*per) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// expand walks block by block, and within a block mask by mask.
func expand[E Element](masks []mask, dst []E, offset int) error {
	size := int(unsafe.Sizeof(E(0)))
	memory := make([]E, 2*blockBytes/size)
	scratch, zeros := memory[:blockBytes/size], memory[blockBytes/size:]
	// A stream starts at a block of the cipher: what is before dst is skipped.
	skip := offset * size % aes.BlockSize / size
	start := uint64(offset-skip) * uint64(size)
	streams := make([]cipher.Stream, 0, min(batchStreams, len(masks)))
	for len(masks) > 0 {
		batch := masks[:min(batchStreams, len(masks))]
		masks = masks[len(batch):]
		streams = streams[:0]
		for i := range batch {
			s, err := keystream(batch[i].key[:], start)
			if err != nil {
				return err
			}
			streams = append(streams, s)
		}
		lead := skip
		for at := 0; at < len(dst); {
			n := min(blockBytes/size-lead, len(dst)-at)
			for i, s := range streams {
				s.XORKeyStream(raw(scratch[:lead+n]), raw(zeros[:lead+n]))
				if batch[i].negative {
					subtract(dst[at:at+n], scratch[lead:lead+n])
				} else {
					add(dst[at:at+n], scratch[lead:lead+n])
				}
			}
			at += n
			lead = 0
		}
	}
	clear(memory)
	return nil
}

// raw returns the memory of the elements. On a big-endian machine the bytes of
// an element are turned before it is used, see turn.
func raw[E Element](list []E) []byte {
	if len(list) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&list[0])), len(list)*int(unsafe.Sizeof(list[0])))
}
