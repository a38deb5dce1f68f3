package simulate

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

func TestWait(t *testing.T) {
	tests := []struct {
		name     string
		wait     wait
		arrivals []arrival
		in       []int
		seconds  float64
		step     round.Step
	}{
		{"ends with the last answer", wait{state: round.State{Need: 1}, deadline: 10}, []arrival{{1, 3}, {0, 7}}, []int{0, 1}, 7, round.Proceed},
		{"leaves late ones out at the deadline", wait{state: round.State{Need: 1}, deadline: 10}, []arrival{{0, 3}, {1, 11}}, []int{0}, 10, round.Proceed},
		{"ends when enough have answered", wait{state: round.State{Need: 1}, deadline: 10, enough: 2}, []arrival{{2, 5}, {1, 9}, {0, 4}}, []int{0, 2}, 5, round.Proceed},
		{"is extended below the need", wait{state: round.State{Need: 2, Extensions: 2}, deadline: 10}, []arrival{{0, 3}, {1, 25}}, []int{0, 1}, 25, round.Proceed},
		{"aborts when no extension is left", wait{state: round.State{Need: 2, Extensions: 1}, deadline: 10}, []arrival{{0, 3}, {1, 25}}, []int{0}, 20, round.Abort},
		{"aborts when all have left", wait{state: round.State{Need: 1}, deadline: 10}, []arrival{{0, never()}}, nil, 10, round.Abort},
		{"settles a tie by place", wait{state: round.State{Need: 1}, deadline: 10, enough: 1}, []arrival{{1, 3}, {0, 3}}, []int{0}, 3, round.Proceed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in, seconds, step := tt.wait.until(tt.arrivals)
			require.Equal(t, tt.in, in)
			require.Equal(t, tt.seconds, seconds)
			require.Equal(t, tt.step, step)
		})
	}
}

func TestDealing(t *testing.T) {
	data, err := Load("digits", 1)
	require.NoError(t, err)
	require.Equal(t, 359, data.Test.Len())
	for _, partition := range []string{IID, Shards} {
		for _, sites := range []int{1, 20, 143, 144, 1000} {
			s := Settings{Data: data, Partition: partition, Sites: sites}
			parts, _ := s.deal()
			require.Len(t, parts, sites)
			total := 0
			for _, p := range parts {
				require.GreaterOrEqual(t, p.Len(), leastRows-1)
				require.LessOrEqual(t, p.Len(), s.rowsPerSite())
				total += p.Len()
			}
			if data.Train.Len() >= leastRows*sites {
				require.Equal(t, data.Train.Len(), total)
			}
		}
	}
}

func tensorsOf(values []float32) artifact.Tensors {
	return artifact.Tensors{{Name: "x", DType: artifact.F32, Shape: []int{len(values)}, F32: append([]float32(nil), values...)}}
}
