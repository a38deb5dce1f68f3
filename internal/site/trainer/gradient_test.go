package trainer

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/table"
)

// The analytic gradient is the derivative that central differences find:
// (L(w+h)-L(w-h)) / 2h, whose error is of order h².
func TestGradientAgainstFiniteDifferences(t *testing.T) {
	specs := []round.ModelSpec{
		{Trainer: round.TrainerLogistic, Inputs: 4, Classes: 3},
		{Trainer: round.TrainerMLP, Inputs: 4, Hidden: 5, Classes: 3},
	}
	draws := rand.New(rand.NewPCG(1, 2))
	rows := table.Table{Columns: make([]string, 4)}
	for range 7 {
		row := make([]float64, 4)
		for c := range row {
			row[c] = draws.NormFloat64()
		}
		rows.Rows = append(rows.Rows, row)
		rows.Labels = append(rows.Labels, draws.IntN(3))
	}
	batch := []int{0, 2, 3, 4, 6}
	for _, spec := range specs {
		t.Run(spec.Trainer, func(t *testing.T) {
			net, err := model.Load(spec, model.Initial(spec, 3))
			require.NoError(t, err)
			for l := range net.Layers { // away from zero, biases too
				for _, values := range [][]float64{net.Layers[l].Weight, net.Layers[l].Bias} {
					for i := range values {
						values[i] += 0.3 * draws.NormFloat64()
					}
				}
			}
			loss := func() float64 {
				var sum float64
				pass := net.NewPass()
				for _, at := range batch {
					logits, err := pass.Logits(rows.Rows[at])
					require.NoError(t, err)
					sum += model.CrossEntropy(logits, rows.Labels[at]) / float64(len(batch))
				}
				return sum
			}
			grad := newGradient(net)
			require.NoError(t, grad.of(rows, batch))
			const h = 1e-5
			checked := 0
			for l, layer := range net.Layers {
				for pair, values := range [][]float64{layer.Weight, layer.Bias} {
					for i, v := range values {
						values[i] = v + h
						above := loss()
						values[i] = v - h
						below := loss()
						values[i] = v
						got := [][]float64{grad.layers[l].Weight, grad.layers[l].Bias}[pair][i]
						require.InDelta(t, (above-below)/(2*h), got, 1e-8, "%s %d of pair %d", layer.Name, i, pair)
						checked++
					}
				}
			}
			require.Positive(t, checked)
		})
	}
}
