package compress

import (
	"encoding/binary"
	"io"
	"math"

	"github.com/atom-fabric/fabric/domain/round"
)

const (
	magicTopK = "FABRICK\n"
	stretch   = 1 << 16 // elements whose places are counted from one beginning
)

// A rank says which elements of an update are among its largest: those above a
// magnitude, and of those that have just that the first ones.
type rank struct {
	bits uint32 // of the magnitude, as an F32: they are in the order of the magnitudes
	ties int    // how many of just that magnitude
}

// takes says whether the next element is among the largest.
func (r *rank) takes(x float32) bool {
	abs := math.Float32bits(x) &^ (1 << 31)
	if abs == r.bits && r.ties > 0 {
		r.ties--
		return true
	}
	return abs > r.bits
}

// rankOf finds the k largest, k ≥ 1, by counting the upper and then the lower
// bits of magnitudes: memory does not grow with the update.
func rankOf(k int, each func(f func(values []float32) error) error) (rank, error) {
	upper := make([]int, 1<<15)
	err := each(func(values []float32) error {
		for _, x := range values {
			upper[math.Float32bits(x)&^(1<<31)>>16]++
		}
		return nil
	})
	if err != nil {
		return rank{}, err
	}
	high := fall(upper, &k)
	lower := make([]int, 1<<16)
	err = each(func(values []float32) error {
		for _, x := range values {
			if abs := math.Float32bits(x) &^ (1 << 31); abs>>16 == uint32(high) {
				lower[abs&0xffff]++
			}
		}
		return nil
	})
	low := fall(lower, &k)
	return rank{uint32(high)<<16 | uint32(low), k}, err
}

// fall goes down the counts until k are passed, and leaves in k how many of the
// last one are among them.
func fall(counts []int, k *int) int {
	for i := len(counts) - 1; i > 0; i-- {
		if counts[i] >= *k {
			return i
		}
		*k -= counts[i]
	}
	return 0
}

// encodeTop writes, for each stretch of 65,536 elements, how many of them are
// sent (4 bytes), their places in it, ascending (2 bytes each), and their
// values (F32).
//
// Bound: what is sent is exact, and no element that is not is larger than one
// that is. Nothing is lost for good where the site adds [Wire.WriteRest] to its next
// update.
// Source: Stich, Cordonnier and Jaggi, NeurIPS 2018 (arXiv:1809.07599).
func (w Wire) encodeTop(dst io.Writer, v Values) error {
	k, _ := w.Sent()
	r, err := rankOf(k, func(f func([]float32) error) error { return w.each(v, f) })
	if err != nil {
		return err
	}
	if err := putHeader(dst, magicTopK, w.dim); err != nil {
		return err
	}
	var places, values []byte
	flush := func() error {
		raw := binary.LittleEndian.AppendUint32(nil, uint32(len(values)/4))
		for _, part := range [][]byte{raw, places, values} {
			if _, err := dst.Write(part); err != nil {
				return err
			}
		}
		places, values = places[:0], values[:0]
		return nil
	}
	at := 0
	err = w.each(v, func(chunk []float32) error {
		for _, x := range chunk {
			if r.takes(x) {
				places = binary.LittleEndian.AppendUint16(places, uint16(at%stretch))
				values = binary.LittleEndian.AppendUint32(values, math.Float32bits(x))
			}
			if at++; at%stretch == 0 {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil && at%stretch != 0 {
		err = flush()
	}
	return err
}

// WriteRest writes what [Wire.Encode] leaves out of v with [round.CodecTopK], as
// F32 with zeros where something is sent: the site adds it to its next update.
// Other codecs leave nothing to carry over.
// Source of error feedback: Stich and others, as above; Karimireddy et al.,
// ICML 2019 (arXiv:1901.09847).
// Errors: those of Encode.
func (w Wire) WriteRest(dst io.Writer, v Values) error {
	top := w.params.Compression.Codec == round.CodecTopK
	var r rank
	if top {
		k, _ := w.Sent()
		var err error
		if r, err = rankOf(k, func(f func([]float32) error) error { return w.each(v, f) }); err != nil {
			return err
		}
	}
	raw := make([]byte, 0, 4*Chunk)
	return w.each(v, func(values []float32) error {
		raw = raw[:0]
		for _, x := range values {
			if !top || r.takes(x) {
				x = 0
			}
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
		}
		_, err := dst.Write(raw)
		return err
	})
}

type top struct {
	src    io.Reader
	at     int // elements that were given
	dim    int
	left   int // entries that must come
	places []byte
	values []byte
}

func (w Wire) decodeTop(src io.Reader) (decoder, error) {
	k, _ := w.Sent()
	return &top{src: src, dim: w.dim, left: k}, checkHeader(src, magicTopK, w.dim)
}

// load reads a stretch. What it says is held to what it can be before memory is
// taken for it.
func (t *top) load() error {
	var raw [4]byte
	if err := full(t.src, raw[:]); err != nil {
		return err
	}
	length := min(stretch, t.dim-t.at)
	n := int(binary.LittleEndian.Uint32(raw[:]))
	if n > length || n > t.left {
		return ErrForm
	}
	t.places, t.values = make([]byte, 2*n), make([]byte, 4*n)
	if err := full(t.src, t.places); err != nil {
		return err
	}
	last := -1
	for i := range n {
		place := int(binary.LittleEndian.Uint16(t.places[2*i:]))
		if place <= last || place >= length {
			return ErrForm
		}
		last = place
	}
	t.left -= n
	return full(t.src, t.values)
}

func (t *top) next(dst []float32) error {
	for i := range dst {
		if t.at%stretch == 0 {
			if err := t.load(); err != nil {
				return err
			}
		}
		dst[i] = 0
		if len(t.places) > 0 && int(binary.LittleEndian.Uint16(t.places)) == t.at%stretch {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.values))
			t.places, t.values = t.places[2:], t.values[4:]
		}
		t.at++
	}
	return nil
}

func (t *top) end() error {
	if t.left != 0 {
		return ErrForm
	}
	return ended(t.src)
}
