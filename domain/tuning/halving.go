package tuning

import "slices"

// Halving ends trials early. A trial that reaches a rung, First·Factor^k
// rounds, goes on only if its loss there is among the best 1/Factor of all the
// losses known at that rung; until Factor of them are known everybody goes on.
//
// Source: asynchronous successive halving with the stopping rule, Li et al.,
// A System for Massively Parallel Hyperparameter Tuning, MLSys 2020, §3.
type Halving struct {
	First  int `json:"first"`  // rounds up to the first rung
	Factor int `json:"factor"` // of rounds from rung to rung, and of survivors
}

// Rung returns the rung that so many rounds reach exactly, and false between.
func (h Halving) Rung(rounds int) (rung int, is bool) {
	for at := h.First; at <= rounds; rung, at = rung+1, at*h.Factor {
		if at == rounds {
			return rung, true
		}
		if at > rounds/h.Factor {
			break
		}
	}
	return 0, false
}

// Stops says whether a trial ends at a rung where it came to loss. others are
// the losses of the trials that reached the rung before, in millionths.
func (h Halving) Stops(loss int64, others []int64) bool {
	all := append(slices.Clone(others), loss)
	if len(all) < h.Factor {
		return false
	}
	slices.Sort(all)
	return loss > all[len(all)/h.Factor-1]
}
