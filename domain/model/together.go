package model

// block bounds the weights that a batch goes through at a time: 64 KiB of them
// stay in a core's cache while every row passes.
const block = 8 << 10

// Together answers a batch as [Network.Probabilities] does, to the bit, but
// passes all rows through a piece of a layer before it goes on to the next:
// weights that are larger than the cache are read once for the batch and not
// once for each row. The terms of a sum are added in the same order.
// Errors: as those of Probabilities.
func (n *Network) Together(rows [][]float64) ([][]float64, error) {
	acts := make([][]float64, len(rows))
	for r, row := range rows {
		x, err := n.standardise(row)
		if err != nil {
			return nil, &RowError{Row: r, Err: err}
		}
		acts[r] = x
	}
	for l, layer := range n.Layers {
		sums := make([]float64, len(rows)*layer.Out)
		for r := range rows {
			copy(sums[r*layer.Out:], layer.Bias)
		}
		step := max(1, block/layer.Out)
		for from := 0; from < layer.In; from += step {
			to := min(from+step, layer.In)
			for r := range rows {
				layer.add(sums[r*layer.Out:(r+1)*layer.Out], acts[r], from, to)
			}
		}
		for r := range rows {
			acts[r] = sums[r*layer.Out : (r+1)*layer.Out]
			if l < len(n.Layers)-1 {
				for o, v := range acts[r] {
					acts[r][o] = max(v, 0)
				}
			}
		}
	}
	out := make([][]float64, len(rows))
	for r := range rows {
		out[r] = make([]float64, n.Classes())
		Softmax(out[r], acts[r])
	}
	return out, nil
}

// add adds the products of the inputs from..to to y.
func (l *Layer) add(y, x []float64, from, to int) {
	for i := from; i < to; i++ {
		v := x[i]
		if v == 0 {
			continue
		}
		for o, w := range l.Weight[i*l.Out : (i+1)*l.Out] {
			y[o] += float64(v * w)
		}
	}
}
