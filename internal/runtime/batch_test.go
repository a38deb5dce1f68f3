package runtime

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
)

func network(t testing.TB, inputs int) *model.Network {
	t.Helper()
	spec := round.ModelSpec{Trainer: round.TrainerMLP, Inputs: inputs, Hidden: 2 * inputs, Classes: 10}
	net, err := model.Load(spec, model.Initial(spec, 1))
	require.NoError(t, err)
	return net
}

// Each request gets its own rows' answers, to the bit, however many go together.
func TestRequestsThatAreAnsweredTogetherKeepTheirAnswers(t *testing.T) {
	net := network(t, 256)
	b := newBatcher(net)
	var group sync.WaitGroup
	for worker := range 16 {
		group.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 1))
			for range 30 {
				rows := make([][]float64, 1+random.IntN(5))
				if random.IntN(20) == 0 {
					rows = make([][]float64, batchRows) // fills a batch by itself
				}
				for i := range rows {
					rows[i] = make([]float64, 256)
					rows[i][random.IntN(256)] = random.NormFloat64()
				}
				want, err := net.Probabilities(rows[:1])
				if err != nil {
					t.Error(err)
				}
				got, err := b.probabilities(rows)
				if err != nil || len(got) != len(rows) || fmt.Sprint(got[0]) != fmt.Sprint(want[0]) {
					t.Error("another request's answer", err)
				}
			}
		})
	}
	group.Wait()
	require.False(t, b.working)
	require.Empty(t, b.next)
}

func BenchmarkRequests(b *testing.B) {
	for _, inputs := range []int{64, 1024} {
		net := network(b, inputs)
		together := newBatcher(net)
		rows := [][]float64{make([]float64, inputs)}
		for i := range rows[0] {
			rows[0][i] = float64(i)
		}
		for name, answer := range map[string]func([][]float64) ([][]float64, error){"each alone": net.Probabilities, "together": together.probabilities} {
			b.Run(fmt.Sprintf("%d inputs, 16 callers, %s", inputs, name), func(b *testing.B) {
				b.SetParallelism(8)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := answer(rows); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}
