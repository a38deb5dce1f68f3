package chart

import (
	"math"
	"strconv"
)

// A scale maps values to places.
type scale struct {
	low, high, step float64
	from, to        float64 // places of low and high
}

// newScale widens [low, high] to whole steps of 1, 2 or 5 times a power of ten,
// about n of them.
func newScale(low, high float64, n int, from, to float64) scale {
	if !finite(low, high) || low > high {
		low, high = 0, 1
	}
	if high-low < 1e-12*max(1, math.Abs(high)) {
		high = low + max(1, math.Abs(low)*0.1)
	}
	raw := (high - low) / float64(n)
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	step := 10 * power
	for _, m := range []float64{5, 2, 1} {
		if m*power >= raw*(1-1e-9) {
			step = m * power
		}
	}
	return scale{math.Floor(low/step+1e-9) * step, math.Ceil(high/step-1e-9) * step, step, from, to}
}

// whole keeps steps from being parts of one, for what is counted.
func (s scale) whole() scale {
	if s.step >= 1 {
		return s
	}
	return scale{math.Floor(s.low), max(math.Ceil(s.high), math.Floor(s.low)+1), 1, s.from, s.to}
}

func (s scale) at(v float64) float64 {
	return s.from + (v-s.low)/(s.high-s.low)*(s.to-s.from)
}

func (s scale) ticks() []float64 {
	var out []float64
	for i := 0; i < 100; i++ {
		v := s.low + float64(i)*s.step
		if v > s.high+s.step/2 {
			break
		}
		out = append(out, v)
	}
	return out
}

// reach grows a stretch to hold values; what is no number is passed by.
type reach struct {
	low, high float64
	any       bool
}

func (r *reach) add(values ...float64) {
	for _, v := range values {
		if !finite(v) {
			continue
		}
		if !r.any {
			r.low, r.high, r.any = v, v, true
		}
		r.low, r.high = min(r.low, v), max(r.high, v)
	}
}

// Number shows a value as an axis does: short, without the noise of its last
// bits.
func Number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "no number"
	case math.IsInf(v, 0):
		return "beyond all numbers"
	}
	if math.Abs(v) >= 1e15 || v != 0 && math.Abs(v) < 1e-4 {
		return strconv.FormatFloat(v, 'e', 1, 64)
	}
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= unit.size {
			return strconv.FormatFloat(math.Round(v/unit.size*1000)/1000, 'f', -1, 64) + unit.name
		}
	}
	digits := 4.0
	if v != 0 {
		digits = max(0, 3-math.Floor(math.Log10(math.Abs(v)))) // four that count
	}
	p := math.Pow(10, digits)
	return strconv.FormatFloat(math.Round(v*p)/p+0, 'f', -1, 64)
}
