package drift

import (
	"math"
	"slices"
)

// Settings of an [ADWIN].
const (
	ADWINDelta = 0.002 // confidence
	adwinRow   = 5     // most buckets of one size
	adwinClock = 32    // items between two looks
	adwinGrace = 10    // width that is not looked at
	adwinLeast = 5     // items in either half
)

// An ADWIN keeps the longest window of a stream that is consistent with one
// mean, in memory logarithmic in its width. Its zero value is ready.
//
// Row i holds buckets of 2^i items, at most five, the oldest first; a sixth
// makes the two oldest one bucket of the next row.
type ADWIN struct {
	rows     [][]bucket
	width    float64
	total    float64
	variance float64 // sum of squared deviations
	tick     int
	alarm    bool
}

type bucket struct {
	total, variance float64
}

// Width is how many items the window holds, and Mean is their mean.
func (d *ADWIN) Width() int { return int(d.width) }

// Mean returns the mean of the window, 0 for an empty one.
func (d *ADWIN) Mean() float64 {
	if d.width == 0 {
		return 0
	}
	return d.total / d.width
}

// Add takes the next value and says whether the window had to be cut. After an
// alarm the detector begins anew with the next value. A value that is not
// finite is left out.
//
// Two halves of the window, cut at any edge of a bucket, differ when
//
//	|μ0 - μ1| > sqrt(2·m·σ²·δ') + 2/3·δ'·m,  δ' = ln(2·ln W/δ),  m = 1/(n0-4) + 1/(n1-4)
//
// Every bucket edge is tried; releases of river before 2023 skip one of each
// row and so see some changes later.
// Source: Bifet and Gavaldà, SIAM SDM 2007; the variance of buckets after
// Babcock et al., PODS 2003; constants as in MOA and river.
func (d *ADWIN) Add(x float64) (drift bool) {
	if !finite(x) {
		return false
	}
	if d.alarm {
		*d = ADWIN{}
	}
	d.insert(x)
	d.tick++
	if d.tick%adwinClock != 0 || d.width <= adwinGrace {
		return false
	}
	for d.cut() {
		d.alarm = true
		d.drop()
	}
	return d.alarm
}

func (d *ADWIN) insert(x float64) {
	if d.width > 0 {
		off := x - d.total/d.width
		d.variance += d.width * off * off / (d.width + 1)
	}
	d.width++
	d.total += x
	if len(d.rows) == 0 {
		d.rows = [][]bucket{nil}
	}
	d.rows[0] = append(d.rows[0], bucket{total: x})
	for i := 0; len(d.rows[i]) > adwinRow; i++ {
		if i+1 == len(d.rows) {
			d.rows = append(d.rows, nil)
		}
		n, a, b := size(i), d.rows[i][0], d.rows[i][1]
		gap := a.total/n - b.total/n
		d.rows[i+1] = append(d.rows[i+1], bucket{a.total + b.total, a.variance + b.variance + n*n*gap*gap/(2*n)})
		d.rows[i] = slices.Delete(d.rows[i], 0, 2)
	}
}

func size(row int) float64 { return float64(int64(1) << row) }

// cut says whether any edge parts two halves that differ.
func (d *ADWIN) cut() bool {
	sigma := max(0, d.variance) / d.width
	confidence := math.Log(2 * math.Log(d.width) / ADWINDelta)
	n0, u0 := 0.0, 0.0
	for i := len(d.rows) - 1; i >= 0; i-- {
		for _, b := range d.rows[i] {
			n0, u0 = n0+size(i), u0+b.total
			n1, u1 := d.width-n0, d.total-u0
			if n0 < adwinLeast {
				continue
			}
			if n1 < adwinLeast {
				return false
			}
			m := 1/(n0-adwinLeast+1) + 1/(n1-adwinLeast+1)
			if math.Abs(u0/n0-u1/n1) > math.Sqrt(2*m*sigma*confidence)+2./3*confidence*m {
				return true
			}
		}
	}
	return false
}

// drop forgets the oldest bucket.
func (d *ADWIN) drop() {
	last := len(d.rows) - 1
	n, b := size(last), d.rows[last][0]
	d.width -= n
	d.total -= b.total
	gap := b.total/n - d.total/d.width
	d.variance -= b.variance + n*d.width*gap*gap/(n+d.width)
	if d.rows[last] = slices.Delete(d.rows[last], 0, 1); len(d.rows[last]) == 0 {
		d.rows = d.rows[:last]
	}
}
