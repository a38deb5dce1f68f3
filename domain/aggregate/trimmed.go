package aggregate

// trimmed averages, for each coordinate, what is left without the cut least
// and the cut greatest values:
//
//	out[j] = Σ_{i=cut}^{n-cut-1} x(i)[j] / (n-2cut), x(0)[j] <= x(1)[j] <= ...
//
// Source: Yin et al., ICML 2018, definition 2 (arXiv:1803.01498).
func trimmed(cut int) plan { return plan{cut: cut} }

// median takes the middle value of each coordinate, of an even number the mean
// of the two in the middle: nothing but these is left.
// Source: the same, definition 1.
func median(n int) plan { return trimmed((n - 1) / 2) }
