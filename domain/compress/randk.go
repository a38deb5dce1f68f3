package compress

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/ring"
)

const magicRandK = "FABRICR\n"

// Seed is what the coordinates of a round are drawn from, for [round.CodecRandK].
// It is public, in the signed manifest, and the same for every site: runs with
// equal parameters send the same coordinates.
func Seed(run uint64, number int) dp.Seed {
	return sha256.Sum256(fmt.Appendf(nil, "coordinates\n%d\n%d\n", run, number))
}

// encodeDrawn writes the drawn elements, of n, in F32. What is read back is n/k
// times them, and zero elsewhere, see [ring.Scatter].
//
// Bound: over the draw the mean of y is x, up to a rounding to F32, and
//
//	E‖x - y‖² = (n/k - 1)·‖x‖²
//
// Source: Konečný et al., 2016 (arXiv:1610.05492), section 3, random mask.
func (w Wire) encodeDrawn(dst io.Writer, v Values) error {
	if err := putHeader(dst, magicRandK, w.dim); err != nil {
		return err
	}
	k, n := w.Sent()
	chooser, err := ring.NewChooser(Seed(w.params.Seed, w.number), n, k)
	if err != nil {
		return err
	}
	factor := float64(n) / float64(k)
	var raw []byte
	return w.each(v, func(values []float32) error {
		raw = raw[:0]
		for _, x := range values {
			if chooser.Next() {
				if !finite(float32(float64(x) * factor)) {
					return ErrRange
				}
				raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
			}
		}
		_, err := dst.Write(raw)
		return err
	})
}

type drawn struct {
	src     io.Reader
	chooser *ring.Chooser
	factor  float64
	chosen  []int
	raw     []byte
}

func (w Wire) decodeDrawn(src io.Reader) (decoder, error) {
	k, n := w.Sent()
	chooser, err := ring.NewChooser(Seed(w.params.Seed, w.number), n, k)
	if err != nil {
		return nil, err
	}
	return &drawn{src: src, chooser: chooser, factor: float64(n) / float64(k)}, checkHeader(src, magicRandK, w.dim)
}

func (d *drawn) next(dst []float32) error {
	clear(dst)
	d.chosen = d.chosen[:0]
	for i := range dst {
		if d.chooser.Next() {
			d.chosen = append(d.chosen, i)
		}
	}
	if need := 4 * len(d.chosen); cap(d.raw) < need {
		d.raw = make([]byte, need)
	}
	raw := d.raw[:4*len(d.chosen)]
	if err := full(d.src, raw); err != nil {
		return err
	}
	for i, at := range d.chosen {
		x := math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		dst[at] = float32(float64(x) * d.factor)
	}
	return nil
}

func (d *drawn) end() error { return ended(d.src) }
