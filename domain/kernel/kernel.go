// Package kernel holds the hot loops over many long vectors: weighted sums,
// medians by coordinate, distances.
//
// Invariant: the bits of a result depend on the vectors and their order alone.
// Every loop fixes the order of its additions and rounds each product before
// it is added, so the instructions chosen for the CPU, the number of
// goroutines and the size of a block change the time and nothing else.
package kernel

import (
	"encoding/binary"
	"math"
	"runtime"
	"sync"
)

// A Vector is one of the operands: [F32] or [F64] in memory, or [LE32] or
// [LE64], the same elements as the bytes of a safetensors file.
type Vector interface {
	// Len returns the number of elements.
	Len() int
	// Widen writes the elements from the at-th on to dst, exactly.
	Widen(dst []float64, at int)
	// cut returns the elements lo to hi.
	cut(lo, hi int) Vector
}

// The forms of a vector.
type (
	F32  []float32
	F64  []float64
	LE32 []byte // little-endian binary32, 4 bytes an element
	LE64 []byte // little-endian binary64, 8 bytes an element
)

func (v F32) Len() int  { return len(v) }
func (v F64) Len() int  { return len(v) }
func (v LE32) Len() int { return len(v) / 4 }
func (v LE64) Len() int { return len(v) / 8 }

func (v F32) cut(lo, hi int) Vector  { return v[lo:hi] }
func (v F64) cut(lo, hi int) Vector  { return v[lo:hi] }
func (v LE32) cut(lo, hi int) Vector { return v[4*lo : 4*hi] }
func (v LE64) cut(lo, hi int) Vector { return v[8*lo : 8*hi] }

func (v F32) Widen(dst []float64, at int) {
	for i, x := range v[at : at+len(dst)] {
		dst[i] = float64(x)
	}
}

func (v F64) Widen(dst []float64, at int) { copy(dst, v[at:at+len(dst)]) }

func (v LE32) Widen(dst []float64, at int) {
	src := v[4*at:][:4*len(dst)]
	for i := range dst {
		dst[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:])))
	}
}

func (v LE64) Widen(dst []float64, at int) {
	src := v[8*at:][:8*len(dst)]
	for i := range dst {
		dst[i] = math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:]))
	}
}

// PutLE64 writes src to dst as little-endian bytes, 8 bytes an element, and
// says whether all of them are finite.
func PutLE64(dst []byte, src []float64) bool {
	var most uint64 // of the magnitudes, whose bits are in their order
	for i, x := range src {
		bits := math.Float64bits(x)
		binary.LittleEndian.PutUint64(dst[8*i:8*i+8], bits)
		most = max(most, bits<<1)
	}
	return most < infinite64
}

// PutLE32 does the same with 4 bytes an element.
func PutLE32(dst []byte, src []float32) bool {
	var most uint32
	for i, x := range src {
		bits := math.Float32bits(x)
		binary.LittleEndian.PutUint32(dst[4*i:4*i+4], bits)
		most = max(most, bits<<1)
	}
	return most < infinite32
}

// A Set is the choice of instructions: plain Go, or wider vectors.
type Set struct {
	wide bool // AVX2
}

// Plain returns the loops that every CPU runs.
func Plain() Set { return Set{} }

// Best returns the fastest loops that this CPU runs. It asks the CPU each
// time, which takes microseconds: call it once for a pass over the vectors.
func Best() Set { return Set{wide: hasAVX2()} }

// Wide says whether the set has vector instructions.
func (s Set) Wide() bool { return s.wide }

// grain is the least number of elements that is worth a goroutine.
const grain = 1 << 16

// Split runs f over disjoint ranges of 0..n, each but the last a multiple of
// align long, on as many goroutines as there are processors. It returns when
// all are done. What f does to one element must not depend on its range.
func Split(n, align int, f func(lo, hi int)) {
	workers := min(runtime.GOMAXPROCS(0), (n+grain-1)/grain)
	if workers < 2 {
		f(0, n)
		return
	}
	step := (n/workers/align + 1) * align
	var wg sync.WaitGroup
	for lo := step; lo < n; lo += step {
		wg.Go(func() { f(lo, min(lo+step, n)) })
	}
	f(0, min(step, n))
	wg.Wait()
}

// Finite says whether no element is NaN or infinite. Those have every bit of
// the exponent set, and magnitudes are in the order of their bits.
func Finite(v Vector) bool {
	var narrow uint32
	var wide uint64
	switch v := v.(type) {
	case F32:
		for _, x := range v {
			narrow = max(narrow, math.Float32bits(x)<<1)
		}
	case LE32:
		for ; len(v) >= 4; v = v[4:] {
			narrow = max(narrow, binary.LittleEndian.Uint32(v)<<1)
		}
	case F64:
		for _, x := range v {
			wide = max(wide, math.Float64bits(x)<<1)
		}
	case LE64:
		for ; len(v) >= 8; v = v[8:] {
			wide = max(wide, binary.LittleEndian.Uint64(v)<<1)
		}
	}
	return narrow < infinite32 && wide < infinite64
}

// The bits of an infinity without its sign.
const (
	infinite32 = 0xff << 24
	infinite64 = 0x7ff << 53
)
