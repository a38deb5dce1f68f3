package payload

import (
	"github.com/atom-fabric/fabric/domain/compress"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/ring"
	"github.com/atom-fabric/fabric/domain/round"
)

// sparse says whether only drawn coordinates are sent.
func (f Form) sparse() bool {
	return f.kind == round.Train && f.params.Compression.Codec == round.CodecRandK
}

// sent is how many coordinates of an update are sent.
func (f Form) sent() int {
	if f.sparse() {
		return f.params.Compression.Sent(f.elements())
	}
	return f.elements()
}

// chunk is how many coordinates are worked on at a time: whole elements, whole
// blocks of noise, and about [PieceLen].
func (f Form) chunk() int {
	p := f.Codec.PerElement()
	return dp.Block * p * (PieceLen / (dp.Block * p))
}

// chosen returns the coordinates of the vector: of all values those that are
// sent, what fills the last element, and where the norm adapts this site's part
// of the count. Of drawn coordinates it remembers which, four bytes for each.
func (f Form) chosen(all Values, within bool) (Values, error) {
	c := &chosen{all: all, dim: f.elements(), sent: f.sent(), count: -1}
	if f.adapts() {
		c.count = f.Codec.PerElement() * (f.Layout.Dim - 1)
		if c.half = float32(f.half()); !within {
			c.half = -c.half
		}
	}
	if !f.sparse() {
		return c, nil
	}
	var err error
	c.of, err = ring.Subset(compress.Seed(f.params.Seed, f.number), f.elements(), c.sent)
	return c, err
}

type chosen struct {
	all       Values
	dim, sent int
	of        []uint32 // the coordinates that are sent; nil for all
	count     int      // index of the coordinate that counts; -1 when the norm does not adapt
	half      float32
	window    []float32
}

// At implements [Values].
func (c *chosen) At(dst []float32, first int) error {
	for i := range dst[max(0, min(len(dst), c.sent-first)):] {
		at := max(first, c.sent) + i
		dst[at-first] = 0
		if at == c.count {
			dst[at-first] = c.half
		}
	}
	if first >= c.sent {
		return nil
	}
	dst = dst[:min(len(dst), c.sent-first)]
	if c.of == nil {
		return c.all.At(dst, first)
	}
	// What is wanted is ascending: a window moves over all values once.
	for i := 0; i < len(dst); {
		from := int(c.of[first+i])
		n := min(windowLen, c.dim-from)
		if c.window == nil {
			c.window = make([]float32, windowLen)
		}
		if err := c.all.At(c.window[:n], from); err != nil {
			return err
		}
		for ; i < len(dst) && int(c.of[first+i]) < from+n; i++ {
			dst[i] = c.window[int(c.of[first+i])-from]
		}
	}
	return nil
}

// windowLen is how many values are looked through at a time.
const windowLen = 1 << 14

// spread returns what fills a stretch of the whole update, one after the other,
// from what was sent. Drawn coordinates count dim/sent times, so that over the
// draw the mean is the whole update, see [ring.Scatter]; the factor comes after
// the sum and its noise, which are of what the sites sent.
func (f Form) spread(sent func(dst []float64) error) (func(dst []float64) error, error) {
	if !f.sparse() {
		return sent, nil
	}
	chooser, err := ring.NewChooser(compress.Seed(f.params.Seed, f.number), f.elements(), f.sent())
	if err != nil {
		return nil, err
	}
	factor := float64(f.elements()) / float64(f.sent())
	one := make([]float64, 1)
	return func(dst []float64) error {
		for i := range dst {
			dst[i] = 0
			if !chooser.Next() {
				continue
			}
			if err := sent(one); err != nil {
				return err
			}
			dst[i] = one[0] * factor
		}
		return nil
	}, nil
}
