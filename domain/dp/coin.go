package dp

import (
	"encoding/binary"
	"io"
	"math"
	"math/big"
	"math/bits"
)

// slack is how far, relatively, the float64 approximation of a probability may
// be from the truth. The approximations of this package are better than 2^-40.
const slack = 0x1p-30

// A coin makes decisions of exact probability out of random bits. A uniform
// real U is drawn 64 bits at a time, and only as far as the question "is U < p"
// needs; p is looked at in float64 first, and in higher precision in the about
// one case in 2^30 in which float64 cannot tell. The answer therefore is exact,
// and the same on every machine.
type coin struct {
	src   io.Reader
	slack float64
	buf   [4096]byte
	left  int
	flips uint64
	have  int
	err   error // of src; then all bits are zero
}

func newCoin(src io.Reader) *coin { return &coin{src: src, slack: slack} }

// word returns 64 bits.
func (c *coin) word() uint64 {
	if c.left == 0 {
		if _, err := io.ReadFull(c.src, c.buf[:]); err != nil {
			c.err = err
			clear(c.buf[:])
		}
		c.left = len(c.buf)
	}
	w := binary.LittleEndian.Uint64(c.buf[len(c.buf)-c.left:])
	c.left -= 8
	return w
}

// flip returns one bit.
func (c *coin) flip() bool {
	if c.have == 0 {
		c.flips, c.have = c.word(), 64
	}
	b := c.flips&1 == 1
	c.flips >>= 1
	c.have--
	return b
}

// below returns an integer below n ≥ 1, all alike.
// Source: Lemire, TOMACS 29 (2019), 3.
func (c *coin) below(n uint64) uint64 {
	hi, lo := bits.Mul64(c.word(), n)
	if lo < n {
		for least := -n % n; lo < least && c.err == nil; {
			hi, lo = bits.Mul64(c.word(), n)
		}
	}
	return hi
}

// tell compares one U with a p that approx is near. Where it is not sure, the
// 64 bits that it drew are to be compared with p itself.
func (c *coin) tell(approx float64) (yes, sure bool, u uint64) {
	u = c.word()
	p := approx * 0x1p64
	margin := p*c.slack + 4096 // float64(u) is off by 2^10 at most
	f := float64(u)
	return f < p-margin, f < p-margin || f > p+margin, u
}

// A lazy real in [0, 1) of which digits/2^n is known.
type lazy struct {
	coin   *coin
	digits *big.Int
	n      uint
}

func (c *coin) lazy(u uint64) *lazy {
	return &lazy{coin: c, digits: new(big.Int).SetUint64(u), n: 64}
}

// less says whether the real is below e^-x·factor; factor may be nil for 1. Its
// relative error is at most 2^-prec.
func (l *lazy) less(x *big.Rat, factor func(prec uint) *big.Float) bool {
	for prec := l.n + 64; ; prec += 64 {
		p := expNeg(x, prec+2)
		if factor != nil {
			p.Mul(p, factor(prec+2))
		}
		// p is within a relative 2^-prec: low ≤ truth ≤ high.
		err := new(big.Float).SetPrec(p.Prec()).SetMantExp(p, -int(prec))
		low := new(big.Float).SetPrec(p.Prec()).Sub(p, err)
		high := new(big.Float).SetPrec(p.Prec()).Add(p, err)
		floor := new(big.Float).SetPrec(l.n+1).SetMantExp(new(big.Float).SetPrec(l.n+1).SetInt(l.digits), -int(l.n))
		top := new(big.Int).Add(l.digits, big.NewInt(1))
		ceil := new(big.Float).SetPrec(l.n+1).SetMantExp(new(big.Float).SetPrec(l.n+1).SetInt(top), -int(l.n))
		switch {
		case ceil.Cmp(low) <= 0:
			return true
		case floor.Cmp(high) >= 0:
			return false
		}
		if l.coin.err != nil {
			return false // no bits are left; the caller reports it
		}
		next := new(big.Int).SetUint64(l.coin.word())
		l.digits.Lsh(l.digits, 64).Or(l.digits, next)
		l.n += 64
	}
}

// expNeg returns e^-x with a relative error of at most 2^-prec, for |x| < 2^20:
// the series of e^y for y = |x|/2^s < 1/2, whose terms are all positive, squared
// s times.
func expNeg(x *big.Rat, prec uint) *big.Float {
	work := prec + 64
	y := new(big.Float).SetPrec(work).SetRat(new(big.Rat).Abs(x))
	s := max(0, y.MantExp(nil)+1)
	if y.Sign() == 0 {
		s = 0
	}
	y.SetMantExp(y, -s)
	sum := new(big.Float).SetPrec(work).SetInt64(1)
	term := new(big.Float).SetPrec(work).SetInt64(1)
	for n := int64(1); term.Sign() != 0 && term.MantExp(nil) > -int(work); n++ {
		term.Mul(term, y)
		term.Quo(term, new(big.Float).SetPrec(work).SetInt64(n))
		sum.Add(sum, term)
	}
	for range s {
		sum.Mul(sum, sum)
	}
	if x.Sign() < 0 {
		return sum
	}
	return sum.Quo(new(big.Float).SetPrec(work).SetInt64(1), sum)
}

// rational returns a finite float64 as the fraction that it is.
func rational(x float64) *big.Rat { return new(big.Rat).SetFloat64(x) }

// A geometric is the sampler of V ≥ 0 with Pr[V ≥ k] = e^-k.
type geometric struct{ low, high [41]uint64 }

func newGeometric(slack float64) (g geometric) {
	for k := range g.low {
		p := math.Exp(-float64(k)) * 0x1p64
		margin := p*slack + 4096
		g.low[k] = uint64(max(0, min(p-margin, 0x1p63*1.9999)))
		g.high[k] = uint64(min(p+margin, 0x1p63*1.9999))
	}
	return g
}

// draw counts for how many k ≥ 1 one U is below e^-k.
func (g *geometric) draw(c *coin) uint64 {
	u := c.word()
	v := 0
	for v+1 < len(g.low) && u < g.low[v+1] {
		v++
	}
	if v+1 < len(g.high) && u >= g.high[v+1] {
		return uint64(v)
	}
	l := c.lazy(u)
	for l.less(big.NewRat(int64(v+1), 1), nil) {
		v++
	}
	return uint64(v)
}
