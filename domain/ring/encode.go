package ring

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"sync"

	"github.com/atom-fabric/fabric/domain/dp"
)

// A Source says where the random bits of rounding come from: coordinate i of a
// call takes those of coordinate First+i of the seed's stream, four bytes each.
// A vector may therefore be encoded in pieces, of any length, in any order.
type Source struct {
	Seed  dp.Seed
	First uint64
}

// Attempt is the source of the n-th try of a conditional rounding, counted from
// 0, for callers that encode tensor by tensor.
func (s Source) Attempt(n int) Source {
	if n == 0 {
		return s
	}
	return Source{dp.Derive(s.Seed, fmt.Sprintf("ring/attempt/%d", n)), s.First}
}

// MaxAttempts is after how many refused roundings a bound is given up: with the
// bound of [dp.Distribute] that is less likely than 1e-9.
const MaxAttempts = 64

const (
	piece = 1 << 14 // coordinates for which another thread is worth its start
	batch = 1 << 12 // coordinates whose random bits are made at a time
	bytes = 4       // of randomness for a coordinate
)

// Encode rounds weight·x to steps, up or down at random so that the mean is the
// value itself:
//
//	Pr[⌊y⌋+1] = y - ⌊y⌋,  y = weight·x/step
//
// with probabilities in multiples of 2^-32 (in Z64 as many bits as are left
// beside the levels, at least 16). It returns how many coordinates were
// saturated at ±Range, where the mean is not kept.
// Order: the result does not depend on the number of threads.
// Errors: [ErrShape], [ErrParameter], those of [Codec.Validate]; [*ValueError]
// for the first value that is not finite: dst is then not to be used.
func Encode[E Element, F Float](c Codec, dst []E, x []F, weight float64, s Source) (saturated int, err error) {
	if err := check[E](c, len(dst), len(x)); err != nil {
		return 0, err
	}
	if !(weight >= 0) || math.IsInf(weight, 0) {
		return 0, fmt.Errorf("%w: weight %v", ErrParameter, weight)
	}
	if len(x) <= piece {
		at, n := encode(c, dst, x, weight, s)
		return n, refuse(at)
	}
	threads := min(runtime.GOMAXPROCS(0), (len(x)+piece-1)/piece)
	each := (len(x)/threads + piece - 1) / piece * piece
	var wait sync.WaitGroup
	wrong, counts := make([]int, threads), make([]int, threads)
	for t := range threads {
		from, to := min(t*each, len(x)), min((t+1)*each, len(x))
		if t == threads-1 {
			to = len(x)
		}
		wait.Go(func() {
			part := Source{s.Seed, s.First + uint64(from)}
			wrong[t], counts[t] = encode(c, dst[from:to], x[from:to], weight, part)
			if wrong[t] >= 0 {
				wrong[t] += from
			}
		})
	}
	wait.Wait()
	for t := range threads {
		if wrong[t] >= 0 {
			return 0, refuse(wrong[t])
		}
		saturated += counts[t]
	}
	return saturated, nil
}

func refuse(at int) error {
	if at < 0 {
		return nil
	}
	return &ValueError{Index: at, Err: ErrNotFinite}
}

// encode is the loop of Encode on one thread. It returns the first value that
// is not finite, or -1. A product is taken once in float64; scaling it by a
// power of two is exact, so the only other rounding is the random one.
func encode[E Element, F Float](c Codec, dst []E, x []F, weight float64, s Source) (wrong, saturated int) {
	fraction := c.fraction()
	limit, scale := c.Range, math.Ldexp(1, fraction-c.StepExp)
	down, drop := uint(fraction)&63, uint(32-fraction)&31 // masked, so that a shift is one instruction
	stream := dp.NewStreamAt(s.Seed, 0, s.First*bytes)
	random := make([]byte, min(len(x), batch)*bytes)
	for from := 0; from < len(x); from += batch {
		values := x[from:min(from+batch, len(x))]
		out := dst[from:][:len(values)]
		bits := random[:len(values)*bytes]
		stream.Next(bits)
		for i, f := range values {
			v := weight * float64(f)
			if !(math.Abs(v) <= limit) {
				if math.IsNaN(v) || math.IsInf(v, 0) {
					return from + i, 0
				}
				v = math.Copysign(limit, v)
				saturated++
			}
			up := int64(binary.LittleEndian.Uint32(bits[i*bytes:]) >> (drop & 31))
			out[i] = E((int64(v*scale) + up) >> (down & 63))
		}
	}
	return -1, saturated
}

// EncodeWithin encodes with the bits of one attempt after the other until the
// L2 norm in steps is at most bound: the conditional rounding of Kairouz, Liu
// and Steinke, ICML 2021 (arXiv:2102.06387), algorithm 1. It returns the
// attempts that it took as well.
// Errors: as [Encode]; [ErrNorm] after [MaxAttempts], where the vector was not
// clipped to what the bound was made for.
func EncodeWithin[E Element, F Float](c Codec, dst []E, x []F, weight, bound float64, s Source) (saturated, attempts int, err error) {
	for n := range MaxAttempts {
		saturated, err = Encode(c, dst, x, weight, s.Attempt(n))
		if err != nil {
			return 0, n, err
		}
		if Norm2(dst) <= bound*bound {
			return saturated, n + 1, nil
		}
	}
	return 0, MaxAttempts, fmt.Errorf("%w of %v steps", ErrNorm, bound)
}
