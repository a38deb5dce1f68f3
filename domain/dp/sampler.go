package dp

import (
	"fmt"
	"io"
	"math"
	"math/big"
	"runtime"
	"sync"
)

// Block is how many coordinates share one lane of a seed's key stream.
const Block = 4096

// A shape is a probability mass on the integers, up to a factor, that falls off
// from its mode at least as fast as a discrete Laplace does:
//
//	mass(mode ± y) ∝ e^-weight(±y),  weight(±y) ≥ ⌊y/scale⌋ - ceiling
type shape interface {
	// weight approximates the exponent to 2^-40; it is +Inf off the support.
	weight(y uint64, negative bool) float64
	// exact returns the same as a rational r and a factor f that may be nil:
	// e^-weight = e^-r·f. r is nil off the support.
	exact(y uint64, negative bool) (*big.Rat, func(prec uint) *big.Float)
}

// A sampler draws from a shape by rejection from the discrete Laplace
// distribution, with every decision exact. With y = u + scale·v, u uniform
// below scale and v geometric of e^-1, a proposal has mass ∝ e^-v; it is
// accepted with probability
//
//	e^-(weight(±y) - v + ceiling) ≤ 1
//
// which is algorithm 3 of Canonne, Kamath and Steinke, NeurIPS 2020
// (arXiv:2004.00010), with its two rejections taken as one.
//
// The time it takes depends on what it draws; where a neighbour can time the
// site's processor to the nanosecond, that is a channel of its own.
type sampler struct {
	shape   shape
	scale   uint64
	ceiling float64
	steps   geometric
}

func newSampler(s shape, scale uint64, ceiling float64) sampler {
	return sampler{shape: s, scale: scale, ceiling: ceiling, steps: newGeometric(slack)}
}

// draw returns the distance from the mode.
func (s *sampler) draw(c *coin) int64 {
	for {
		u := uint64(0)
		if s.scale > 1 {
			u = c.below(s.scale)
		}
		v := s.steps.draw(c)
		y := u + s.scale*v
		negative := c.flip()
		if negative && y == 0 {
			continue // zero would come twice
		}
		x := s.shape.weight(y, negative) - float64(v) + s.ceiling
		if s.accept(c, x, y, v, negative) || c.err != nil {
			if negative {
				return -int64(y)
			}
			return int64(y)
		}
	}
}

// accept decides with probability e^-x, of which the float64 is near.
func (s *sampler) accept(c *coin, x float64, y, v uint64, negative bool) bool {
	yes, sure, u := c.tell(math.Exp(-x))
	if sure {
		return yes
	}
	r, factor := s.shape.exact(y, negative)
	if r == nil {
		return false // off the support
	}
	r = new(big.Rat).Sub(r, new(big.Rat).SetUint64(v))
	return c.lazy(u).less(r.Add(r, rational(s.ceiling)), factor)
}

// fill fills dst with the difference of two draws if twice, else with one.
func (s *sampler) fill(dst []int64, c *coin, twice bool) error {
	for i := range dst {
		dst[i] = s.draw(c)
		if twice {
			dst[i] -= s.draw(c)
		}
		if c.err != nil {
			return fmt.Errorf("noise: %w", c.err)
		}
	}
	return nil
}

// read fills dst from src.
func (s *sampler) read(dst []int64, src io.Reader, twice bool) error {
	return s.fill(dst, newCoin(src), twice)
}

// fillAt gives each block of coordinates a lane of its own, so that threads and
// cuts change nothing. Lane 0 is left to others.
func (s *sampler) fillAt(dst []int64, seed Seed, first uint64, twice bool) error {
	if first%Block != 0 {
		return &ParameterError{Name: "first", Value: float64(first), Err: ErrParameter}
	}
	blocks := (len(dst) + Block - 1) / Block
	threads := max(1, min(runtime.GOMAXPROCS(0), blocks))
	errs := make([]error, threads)
	var wait sync.WaitGroup
	for t := range threads {
		wait.Go(func() {
			for b := t; b < blocks && errs[t] == nil; b += threads {
				part := dst[b*Block : min((b+1)*Block, len(dst))]
				errs[t] = s.fill(part, newCoin(NewStreamAt(seed, 1+first/Block+uint64(b), 0)), twice)
			}
		})
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
