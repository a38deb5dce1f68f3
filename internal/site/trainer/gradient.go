package trainer

import (
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/internal/site/table"
)

// A gradient of the mean cross-entropy over a batch, and what it takes to
// compute it again and again without allocating.
type gradient struct {
	net    *model.Network
	pass   *model.Pass
	layers []model.Layer // of the same forms, holding derivatives
	back   [][]float64   // derivatives of the loss by each layer's output
}

func newGradient(net *model.Network) *gradient {
	g := &gradient{net: net, pass: net.NewPass(), layers: net.Clone().Layers}
	for _, layer := range net.Layers {
		g.back = append(g.back, make([]float64, layer.Out))
	}
	return g
}

// of computes the gradient over the rows at these places.
func (g *gradient) of(rows table.Table, batch []int) error {
	for _, layer := range g.layers {
		clear(layer.Weight)
		clear(layer.Bias)
	}
	share := 1 / float64(len(batch))
	for _, at := range batch {
		logits, err := g.pass.Logits(rows.Rows[at])
		if err != nil {
			return &model.RowError{Row: at, Err: err}
		}
		last := len(g.layers) - 1
		// d loss / d logits = softmax - one-hot, here already divided by the batch
		model.Softmax(g.back[last], logits)
		g.back[last][rows.Labels[at]]--
		for o := range g.back[last] {
			g.back[last][o] *= share
		}
		for l := last; l >= 0; l-- {
			g.layer(l)
		}
	}
	return nil
}

// layer adds a row's part to the derivatives of layer l and passes the rest to
// the layer below, through its ReLU.
func (g *gradient) layer(l int) {
	into, below, back := g.layers[l], g.pass.Acts[l], g.back[l]
	for o, d := range back {
		into.Bias[o] += d
	}
	for i, x := range below {
		if x == 0 {
			continue
		}
		row := into.Weight[i*into.Out : (i+1)*into.Out]
		for o, d := range back {
			row[o] += float64(x * d)
		}
	}
	if l == 0 {
		return
	}
	weight := g.net.Layers[l].Weight
	for i, x := range below {
		g.back[l-1][i] = 0
		if x <= 0 {
			continue // the unit is off: ReLU lets nothing back
		}
		for o, d := range back {
			g.back[l-1][i] += float64(weight[i*into.Out+o] * d)
		}
	}
}

// step moves the network against the gradient.
func (g *gradient) step(rate float64) {
	for l, layer := range g.layers {
		to := g.net.Layers[l]
		for i, d := range layer.Weight {
			to.Weight[i] -= float64(rate * d)
		}
		for o, d := range layer.Bias {
			to.Bias[o] -= float64(rate * d)
		}
	}
}
