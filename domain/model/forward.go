package model

import "math"

// A Pass is the working memory of forward passes through one network: one
// goroutine, no allocation a row.
type Pass struct {
	net *Network
	// Acts[0] is the standardised row, Acts[l] the output of layer l-1 after its
	// ReLU, and the last one the logits.
	Acts [][]float64
}

// NewPass returns a pass through n.
func (n *Network) NewPass() *Pass {
	p := &Pass{net: n, Acts: [][]float64{make([]float64, n.Inputs())}}
	for _, layer := range n.Layers {
		p.Acts = append(p.Acts, make([]float64, layer.Out))
	}
	return p
}

// Logits standardises the row, x' = (x - mean) / scale, and returns the logits
// of the classes, valid until the next call. The row is in the units of the
// site's file. Errors: [ErrRowLength], [ErrRowValue].
func (p *Pass) Logits(row []float64) ([]float64, error) {
	if err := p.net.standardiseInto(p.Acts[0], row); err != nil {
		return nil, err
	}
	last := len(p.net.Layers) - 1
	for l, layer := range p.net.Layers {
		y := p.Acts[l+1]
		copy(y, layer.Bias)
		for i, v := range p.Acts[l] {
			if v == 0 {
				continue // half of a ReLU layer, usually
			}
			for o, w := range layer.Weight[i*layer.Out : (i+1)*layer.Out] {
				y[o] += float64(v * w)
			}
		}
		if l < last {
			for o, v := range y {
				y[o] = max(v, 0)
			}
		}
	}
	return p.Acts[last+1], nil
}

// standardise returns (row - mean) / scale.
func (n *Network) standardise(row []float64) ([]float64, error) {
	x := make([]float64, n.Inputs())
	return x, n.standardiseInto(x, row)
}

func (n *Network) standardiseInto(x, row []float64) error {
	if len(row) != n.Inputs() {
		return ErrRowLength
	}
	for i, v := range row {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return ErrRowValue
		}
		x[i] = (v - n.Mean[i]) / n.Scale[i]
	}
	return nil
}

// Probabilities answers a batch: rows [rows][inputs] in the units of the sites'
// files, answers [rows][classes], each summing to 1.
// Errors: [*RowError] with [ErrRowLength] or [ErrRowValue].
func (n *Network) Probabilities(rows [][]float64) ([][]float64, error) {
	pass := n.NewPass()
	out := make([][]float64, len(rows))
	for r, row := range rows {
		logits, err := pass.Logits(row)
		if err != nil {
			return nil, &RowError{Row: r, Err: err}
		}
		out[r] = make([]float64, len(logits))
		Softmax(out[r], logits)
	}
	return out, nil
}

// Softmax writes exp(z[c]) / Σ exp(z) into dst. The largest logit is taken off
// first, so that no exponential overflows.
func Softmax(dst, logits []float64) {
	top := logits[Argmax(logits)]
	var sum float64
	for c, z := range logits {
		dst[c] = math.Exp(z - top)
		sum += dst[c]
	}
	for c := range dst {
		dst[c] /= sum
	}
}

// CrossEntropy returns -log softmax(logits)[label], in nats.
func CrossEntropy(logits []float64, label int) float64 {
	top := logits[Argmax(logits)]
	var sum float64
	for _, z := range logits {
		sum += math.Exp(z - top)
	}
	return math.Log(sum) - (logits[label] - top)
}

// Argmax returns the index of the largest value, the first of equal ones.
func Argmax(values []float64) int {
	best := 0
	for i, v := range values {
		if v > values[best] {
			best = i
		}
	}
	return best
}
