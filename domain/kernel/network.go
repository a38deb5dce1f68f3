package kernel

import "slices"

// A pair says that the values in two rows are put in order: the lesser into lo.
type pair struct{ lo, hi int32 }

// network returns the comparisons that put the places from to to-1 of n sorted
// values right, whatever the values are; the other places are left half done.
// It is Batcher's merge exchange for any n, and of it what the wanted places
// depend on. A network compares the same places whatever the values, so it
// runs over a block of coordinates at a time, without a branch.
// Source: Knuth, TAOCP vol. 3, 5.2.2, algorithm M.
func network(n, from, to int) []pair {
	var all []pair
	top := 1
	for top < n {
		top *= 2
	}
	for p := top / 2; p > 0; p /= 2 {
		for q, r, d := top/2, 0, p; ; d, q, r = q-p, q/2, p {
			for i := range n - d {
				if i&p == r {
					all = append(all, pair{int32(i), int32(i + d)})
				}
			}
			if q == p {
				break
			}
		}
	}
	needed := make([]bool, n)
	for i := from; i < to; i++ {
		needed[i] = true
	}
	kept := all[:0:0]
	for _, c := range slices.Backward(all) {
		if needed[c.lo] || needed[c.hi] {
			needed[c.lo], needed[c.hi] = true, true
			kept = append(kept, c)
		}
	}
	slices.Reverse(kept)
	return kept
}
