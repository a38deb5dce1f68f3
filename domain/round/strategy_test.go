package round_test

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

func TestStrategyDefaults(t *testing.T) {
	tests := []struct {
		name       string
		give, want round.Strategy
	}{
		{"nothing said is federated averaging", round.Strategy{},
			round.Strategy{Name: round.FedAvg, Rule: round.RuleMean, ServerRate: 1}},
		{"momentum", round.Strategy{Name: round.FedAvgM},
			round.Strategy{Name: round.FedAvgM, Rule: round.RuleMean, ServerRate: 1, Momentum: 0.9}},
		{"adam, as its authors", round.Strategy{Name: round.FedAdam},
			round.Strategy{Name: round.FedAdam, Rule: round.RuleMean, ServerRate: 0.1, Beta1: 0.9, Beta2: 0.99, Tau: 1e-3}},
		{"yogi, with a rate of its own", round.Strategy{Name: round.FedYogi, ServerRate: 0.02},
			round.Strategy{Name: round.FedYogi, Rule: round.RuleMean, ServerRate: 0.02, Beta1: 0.9, Beta2: 0.99, Tau: 1e-3}},
		{"adagrad has no momentum", round.Strategy{Name: round.FedAdagrad},
			round.Strategy{Name: round.FedAdagrad, Rule: round.RuleMean, ServerRate: 0.1, Tau: 1e-3}},
		{"a buffer", round.Strategy{Name: round.FedBuff},
			round.Strategy{Name: round.FedBuff, Rule: round.RuleMean, ServerRate: 1, Buffer: 10, MaxStaleness: 20}},
		{"a robust rule in buckets", round.Strategy{Rule: round.RuleTrimmedMean, BucketSites: 3, Byzantine: 1},
			round.Strategy{Name: round.FedAvg, Rule: round.RuleTrimmedMean, ServerRate: 1, Trim: 0.1, BucketSites: 3, Byzantine: 1}},
		{"a robust rule under an adaptive strategy", round.Strategy{Name: round.FedAdam, Rule: round.RuleNormBound},
			round.Strategy{Name: round.FedAdam, Rule: round.RuleNormBound, ServerRate: 0.1, Beta1: 0.9, Beta2: 0.99, Tau: 1e-3, MaxNorm: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.give.Validate()
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
			again, err := got.Validate()
			require.NoError(t, err)
			require.Equal(t, got, again, "what is complete stays as it is")
			text, err := json.Marshal(got)
			require.NoError(t, err)
			var back round.Strategy
			require.NoError(t, json.Unmarshal(text, &back))
			require.Equal(t, got, back)
		})
	}
}

func TestStrategyRefuses(t *testing.T) {
	nan := math.NaN()
	tests := []struct {
		param string
		give  round.Strategy
		want  error
	}{
		{"name", round.Strategy{Name: "sgd"}, round.ErrStrategy},
		{"rule", round.Strategy{Rule: "mode"}, round.ErrRule},
		{"rule", round.Strategy{Name: round.Scaffold, Rule: round.RuleMedian}, round.ErrCombination},
		{"rule", round.Strategy{Name: round.FedBuff, Rule: round.RuleKrum}, round.ErrCombination},
		{"serverRate", round.Strategy{ServerRate: -1}, round.ErrOutOfRange},
		{"serverRate", round.Strategy{ServerRate: nan}, round.ErrOutOfRange},
		{"serverRate", round.Strategy{ServerRate: math.Inf(1)}, round.ErrOutOfRange},
		{"momentum", round.Strategy{Momentum: 0.9}, round.ErrForeign},
		{"momentum", round.Strategy{Name: round.FedAvgM, Momentum: 1}, round.ErrOutOfRange},
		{"beta1", round.Strategy{Name: round.FedAvgM, Beta1: 0.5}, round.ErrForeign},
		{"beta1", round.Strategy{Name: round.FedAdam, Beta1: 1}, round.ErrOutOfRange},
		{"beta2", round.Strategy{Name: round.FedAdagrad, Beta2: 0.5}, round.ErrForeign},
		{"beta2", round.Strategy{Name: round.FedYogi, Beta2: -0.1}, round.ErrOutOfRange},
		{"tau", round.Strategy{Tau: 1}, round.ErrForeign},
		{"tau", round.Strategy{Name: round.FedAdam, Tau: 1e-12}, round.ErrOutOfRange},
		{"proximalMu", round.Strategy{ProximalMu: 0.1}, round.ErrForeign},
		{"proximalMu", round.Strategy{Name: round.FedProx, ProximalMu: -0.1}, round.ErrOutOfRange},
		{"trim", round.Strategy{Rule: round.RuleMedian, Trim: 0.1}, round.ErrForeign},
		{"trim", round.Strategy{Rule: round.RuleTrimmedMean, Trim: 0.5}, round.ErrOutOfRange},
		{"maxNorm", round.Strategy{MaxNorm: 1}, round.ErrForeign},
		{"maxNorm", round.Strategy{Rule: round.RuleNormBound, MaxNorm: -1}, round.ErrOutOfRange},
		{"byzantine", round.Strategy{Byzantine: 1}, round.ErrForeign},
		{"byzantine", round.Strategy{Rule: round.RuleKrum, Byzantine: -1}, round.ErrOutOfRange},
		{"keep", round.Strategy{Rule: round.RuleKrum, Keep: 2}, round.ErrForeign},
		{"bucketSites", round.Strategy{BucketSites: 3}, round.ErrForeign},
		{"bucketSites", round.Strategy{Rule: round.RuleMedian, BucketSites: 2}, round.ErrOutOfRange},
		{"buffer", round.Strategy{Buffer: 4}, round.ErrForeign},
		{"maxStaleness", round.Strategy{Name: round.FedBuff, MaxStaleness: -1}, round.ErrOutOfRange},
	}
	for _, tt := range tests {
		_, err := tt.give.Validate()
		require.ErrorIs(t, err, tt.want, "%+v", tt.give)
		var at *round.ParamError
		require.ErrorAs(t, err, &at)
		require.Equal(t, "strategy."+tt.param, at.Param)
	}
}

// 0.29 times 100 is 28.999999999999996.
func TestCutIsTheWholePart(t *testing.T) {
	for _, c := range []struct {
		trim float64
		n    int
		want int
	}{{0.29, 100, 29}, {0.1, 10, 1}, {0.1, 9, 0}, {0.25, 11, 2}, {0.499, 3, 1}, {0.1, 30, 3}} {
		require.Equal(t, c.want, round.Strategy{Trim: c.trim}.Cut(c.n), "%v", c)
	}
}

// What a strategy says its tensors are is what can be stored and is read back.
func TestStrategyTensors(t *testing.T) {
	for _, model := range []round.ModelSpec{{Trainer: round.TrainerLogistic, Inputs: 3, Classes: 2}, {Trainer: round.TrainerMLP, Inputs: 3, Hidden: 4, Classes: 2}} {
		for name, prefixes := range map[string][]string{
			round.FedAvg: nil, round.FedProx: nil, round.FedBuff: nil,
			round.FedAvgM: {"optimiser.m/"}, round.FedAdam: {"optimiser.m/", "optimiser.v/"}, round.Scaffold: {"control/"},
		} {
			s, err := round.Strategy{Name: name}.Validate()
			require.NoError(t, err)
			require.Equal(t, len(prefixes) > 0, s.Stateful())
			state := s.State(model)
			require.Len(t, state, len(prefixes)*len(model.Trainable()))
			if len(state) > 0 {
				content := stored(t, state)
				require.NoError(t, s.CheckState(model, bytes.NewReader(content)), name)
				require.Error(t, s.CheckState(model, bytes.NewReader(content[:len(content)-1])))
			}
			update := s.Update(model, round.Train)
			content := stored(t, update)
			require.NoError(t, s.CheckUpdate(model, round.Train, bytes.NewReader(content)), name)
			plain := round.CheckUpdate(model, round.Train, bytes.NewReader(content))
			if name == round.Scaffold {
				require.Len(t, update, 2*len(model.Trainable()))
				require.ErrorIs(t, plain, round.ErrTensors)
			} else {
				require.NoError(t, plain)
			}
			require.Equal(t, model.Update(round.Statistics), s.Update(model, round.Statistics))
		}
	}
}

// stored are zeros in these tensors, which Encode would sort if they were not.
func stored(t *testing.T, specs []round.TensorSpec) []byte {
	var infos []artifact.TensorInfo
	var size int64
	for _, s := range specs {
		n := s.DType.Size()
		for _, d := range s.Shape {
			n *= int64(d)
		}
		size += n
		infos = append(infos, artifact.TensorInfo{Name: s.Name, DType: s.DType, Shape: s.Shape})
	}
	var buf bytes.Buffer
	w, err := artifact.NewTensorWriter(&buf, infos)
	require.NoError(t, err)
	_, err = w.Write(make([]byte, size))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.Bytes()
}
