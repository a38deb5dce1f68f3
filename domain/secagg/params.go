package secagg

import (
	"fmt"
	"math"
)

// Statistical parameters of the sparse graph, in bits: an attack succeeds, and
// an honest run fails, with a probability below 2 to the minus these.
const (
	securityBits    = 40
	correctnessBits = 20
)

// minCorruptBP is the least share of conspiring sites that a sparse graph is
// laid out for: without any, two neighbours a site would do.
const minCorruptBP = 500

// Parameters returns the degree k of the graph and the threshold t of the
// shares for n sites of which at most corruptBP conspire and droppedBP drop
// out, both in 1/10000. It is the smallest even k for which, with b = corrupt +
// dropped sites and HG the hypergeometric distribution,
//
//	n(n-k-1)/2 · C(b,k)/C(n,k) < 2^-41         honest survivors stay connected
//	t1 = min{t : Pr[HG(n, corrupt, k) > t] ≤ 2^-41/n}
//	t2 = min{t : Pr[HG(n, n-dropped, k) ≤ t] ≥ 2^-20/n}
//	t1 ← ⌈(t1+k-1.25)/2⌉                         if the server is semi-malicious
//	t2 > t1, and then t = max(t1+1, 2)
//
// Semi-malicious means that more than half of a site's honest neighbours are
// needed for either kind of share, so that a lying server cannot have both.
// Errors: [ErrInfeasible].
// Source: Bell et al., CCS 2020 (eprint 2020/704), as computed by
// graph_parameter_finder.cc of google-parfait/federated-compute.
func Parameters(n, corruptBP, droppedBP int, semiMalicious bool) (degree, threshold int, err error) {
	if n < 1 || n > 1_000_000 || corruptBP < 0 || corruptBP >= 10_000 || droppedBP < 0 || droppedBP >= 10_000 {
		return 0, 0, fmt.Errorf("%w: %d sites, rates %d and %d in 1/10000", ErrInfeasible, n, corruptBP, droppedBP)
	}
	load := corruptBP + droppedBP
	if semiMalicious {
		load += droppedBP
	}
	corrupt, dropped := n*corruptBP/10_000, n*droppedBP/10_000
	for k := 2; load <= 9_000 && k < n-1; k += 2 {
		if logDisconnected(n, corrupt+dropped, k) >= -(securityBits+1)*math.Ln2 {
			continue
		}
		// Pr[more than t1 of k are corrupt] = Pr[fewer than k-t1 of k are not].
		rare := math.Exp2(-(securityBits + 1)) / float64(n)
		t1 := k - 1 - lowest(n, n-corrupt, k, rare, false)
		t2 := lowest(n, n-dropped, k, math.Exp2(-correctnessBits)/float64(n), true)
		if semiMalicious {
			t1 = int(math.Ceil((float64(t1+k) - 1.25) / 2))
		}
		if t2 > t1 {
			return k, max(t1+1, 2), nil
		}
	}
	return 0, 0, fmt.Errorf("%w: %d sites, rates %d and %d in 1/10000", ErrInfeasible, n, corruptBP, droppedBP)
}

// logDisconnected bounds the logarithm of the probability that removing bad of
// n nodes cuts a random ring with k neighbours: two gaps of k/2 in a row.
func logDisconnected(n, bad, k int) float64 {
	if k > bad {
		return math.Inf(-1)
	}
	pairs := math.Log(float64(n)) + math.Log(float64(n-k-1)) - math.Ln2
	return pairs + logChoose(bad, k) - logChoose(n, k)
}

// lowest returns the least t with Pr[HG(n, marked, k) ≤ t] ≥ p if reached, and
// the greatest t with Pr[HG ≤ t] ≤ p, or -1, if not.
func lowest(n, marked, k int, p float64, reached bool) int {
	least, most := max(0, k-(n-marked)), min(k, marked)
	total := 0.0
	for t := least; t <= most; t++ {
		total += math.Exp(logChoose(marked, t) + logChoose(n-marked, k-t) - logChoose(n, k))
		if reached && total >= p {
			return t
		}
		if !reached && total > p {
			return t - 1
		}
	}
	return most
}

func logChoose(n, k int) float64 { return logFactorial(n) - logFactorial(k) - logFactorial(n-k) }

func logFactorial(n int) float64 {
	v, _ := math.Lgamma(float64(n) + 1)
	return v
}
