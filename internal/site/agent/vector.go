package agent

import (
	"fmt"
	"io"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// A vector is the masked vector of a site. It is nowhere: whatever is read of
// it is encoded and masked again, from the update on disk and the round's
// secret, and is the same each time. It is used by one goroutine.
type vector struct {
	form    payload.Form
	encoder *payload.Encoder
	masks   *secagg.Expander
	piece   payload.Vector
	wire    []byte
	cut     int // coordinates that were cut to the range, in all that was read
}

// ReadAt implements io.ReaderAt.
func (v *vector) ReadAt(p []byte, off int64) (int, error) {
	element := v.form.Spec.Ring.Bytes()
	done := 0
	for done < len(p) {
		if off >= v.form.Spec.SizeBytes() {
			return done, io.EOF
		}
		first, within := int(off)/element, int(off)%element
		n := min((within+len(p)-done+element-1)/element, payload.PieceLen, v.form.Spec.Length-first)
		if v.piece.Len() < n {
			v.piece = v.form.Piece(n)
		}
		piece := v.piece.Slice(0, n)
		cut, err := v.encoder.At(piece, first)
		if err == nil {
			err = piece.Mask(v.masks, first)
		}
		if err != nil {
			return done, fmt.Errorf("update: %w", err)
		}
		v.cut += cut
		v.wire = piece.Append(v.wire[:0])
		copied := copy(p[done:], v.wire[within:])
		done, off = done+copied, off+int64(copied)
	}
	return done, nil
}

// content returns the vector as what is sent. A short one is in memory from
// then on.
func (v *vector) content() (*content, error) {
	size := v.form.Spec.SizeBytes()
	if size <= maxChunk {
		text, err := readAt(v, 0, size)
		if err != nil {
			return nil, err
		}
		return bytesOf(artifact.MediaTypeMasked, text), nil
	}
	digest, err := digestOf(v, size)
	return &content{Descriptor: artifact.Descriptor{Digest: digest, SizeBytes: size, MediaType: artifact.MediaTypeMasked}, ReaderAt: v}, err
}

// erase forgets what the vector was made of.
func (v *vector) erase() {
	v.encoder.Erase()
	v.masks.Erase()
	v.piece.Clear() // not masked where it failed
}
