package ring

// minField is the least number of bits of a coordinate: a sign, and something
// to count with.
const minField = 4

// PerElement is how many coordinates one element holds.
func (c Codec) PerElement() int {
	if c.Field == 0 {
		return 1
	}
	return int(c.Bits) / c.Field
}

// Elements is how many elements hold so many coordinates.
func (c Codec) Elements(coordinates int) int {
	return (coordinates + c.PerElement() - 1) / c.PerElement()
}

// Pack puts encoded coordinates into elements, the first into the lowest bits:
//
//	dst[j] = Σ_i src[j·p+i] · 2^(i·Field),  p = PerElement
//
// in the ring. It is linear: the sum of packed vectors is the packed sum, under
// masks too, and a coordinate never reaches into its neighbour as long as the
// sum stays within what the codec has room for. A vector may be packed in
// pieces that begin at multiples of p.
// Errors: [ErrShape], those of [Codec.Validate].
func Pack[E Element](c Codec, dst, src []E) error {
	if err := check[E](c, len(dst), c.Elements(len(src))); err != nil {
		return err
	}
	p, field := c.PerElement(), uint(c.Field)
	for j := range dst {
		var v E
		for i, q := range src[j*p : min((j+1)*p, len(src))] {
			v += q << (uint(i) * field)
		}
		dst[j] = v
	}
	return nil
}

// Unpack takes the coordinates of a sum out of its elements, for [Decode].
// Errors: as [Pack].
func Unpack[E Element](c Codec, dst, sum []E) error {
	if err := check[E](c, c.Elements(len(dst)), len(sum)); err != nil {
		return err
	}
	if c.Field == 0 {
		copy(dst, sum)
		return nil
	}
	p, field := c.PerElement(), uint(c.Field)
	// Every coordinate is lifted by half of its range, so that none borrows from
	// the next, and what is read is a sum without signs.
	half, mask := E(1)<<(field-1), E(1)<<field-1
	var lift E
	for i := range p {
		lift += half << (uint(i) * field)
	}
	for i := range dst {
		dst[i] = (sum[i/p]+lift)>>(uint(i%p)*field)&mask - half
	}
	return nil
}
