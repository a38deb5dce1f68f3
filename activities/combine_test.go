package activities_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
)

// filled is tensors with these names and shapes; element j of all is at(j).
func filled(specs []round.TensorSpec, dtype artifact.DType, at func(j int) float64) artifact.Tensors {
	var out artifact.Tensors
	j := 0
	for _, s := range specs {
		n := 1
		for _, d := range s.Shape {
			n *= d
		}
		tensor := artifact.Tensor{Name: s.Name, DType: dtype, Shape: s.Shape}
		for range n {
			if dtype == artifact.F32 {
				tensor.F32 = append(tensor.F32, float32(at(j)))
			} else {
				tensor.F64 = append(tensor.F64, at(j))
			}
			j++
		}
		out = append(out, tensor)
	}
	return out
}

func constant(v float64) func(int) float64 { return func(int) float64 { return v } }

// combineInput is a train round of a group for each sum.
func combineInput(t *testing.T, w *activitytest.World, s round.Strategy, number int, base, state artifact.Descriptor, groups ...contract.RegionResult) contract.CombineInput {
	t.Helper()
	p := params()
	var err error
	p.Strategy, err = s.Validate()
	require.NoError(t, err)
	if base.Digest == "" {
		base = tensors(t, w, model.Initial(p.Model, 1))
	}
	return contract.CombineInput{
		Subject: subject(), Run: "run-1", Number: number, Kind: round.Train, Params: p, Base: base, State: state, Regions: groups,
	}
}

func group(name string, sites int, weight int64, partial artifact.Descriptor) contract.RegionResult {
	return contract.RegionResult{
		Region: name, Counts: round.Counts{Selected: sites, Accepted: sites}, Partial: partial, Weight: weight,
		Metrics: round.Metrics{Examples: 10 * int64(sites), Evaluated: 10, Correct: 9},
	}
}

// Every strategy takes two rounds through the activity, which reads and writes
// in stretches, and through the equations in memory. Weights and state are the
// same to the bit, and so they are when an activity runs again.
func TestEveryStrategyCarriesItsStateFromRoundToRound(t *testing.T) {
	names := []string{
		round.FedAvg, round.FedProx, round.FedAvgM, round.FedAdagrad, round.FedAdam, round.FedYogi, round.Scaffold,
	}
	seen := map[artifact.Digest]string{}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			w := world(t)
			begin(t, w, 1, round.Train)
			begin(t, w, 2, round.Train)
			s, err := round.Strategy{Name: name}.Validate()
			require.NoError(t, err)
			want := s.Update(params().Model, round.Train)

			weights := model.Initial(params().Model, 1)
			var state artifact.Tensors
			var base, carried artifact.Descriptor
			for number := 1; number <= 2; number++ {
				eu := filled(want, artifact.F64, func(j int) float64 { return math.Sin(float64(7*j + number)) })
				us := filled(want, artifact.F64, func(j int) float64 { return math.Cos(float64(3*j + number)) })
				in := combineInput(t, w, s, number, base, carried,
					group("us", 1, 10_000, tensors(t, w, us)), group("eu", 1, 0, tensors(t, w, eu))) // 0 is 1000 an example
				got, err := act(t, contract.CombineRegions, aggregates(w).CombineRegions, in)
				require.NoError(t, err)
				again, err := act(t, contract.CombineRegions, aggregates(w).CombineRegions, in)
				require.NoError(t, err)
				require.Equal(t, got, again)

				mean, err := aggregate.MeanOf(want, []aggregate.Partial{{Region: "eu", Examples: 10, Sum: eu}, {Region: "us", Examples: 10, Sum: us}})
				require.NoError(t, err)
				weights, state, err = aggregate.Step(params().Model, s, aggregate.StepInput{Base: weights, Mean: mean, State: state, Answered: 2, All: 3})
				require.NoError(t, err)
				require.Equal(t, tensors(t, w, weights).Digest, got.Weights.Digest, "round %d", number)
				if !s.Stateful() {
					require.Empty(t, got.State.Digest)
				} else {
					require.Equal(t, tensors(t, w, state).Digest, got.State.Digest, "round %d", number)
				}
				base, carried = got.Weights, got.State
			}
			if name != round.FedProx && name != round.Scaffold { // whose servers move as that of fedavg
				require.Empty(t, seen[base.Digest], "another strategy, other weights")
				seen[base.Digest] = name
			}
		})
	}
}

// By hand: two rounds of mean change 1 under momentum 0.9 move by 1 and by
// 1 + 0.9; without the state of the first, the second would move by 1.
func TestMomentumIsTheStateOfTheLastRound(t *testing.T) {
	w := world(t)
	s := round.Strategy{Name: round.FedAvgM}
	sum := tensors(t, w, filled(params().Model.Trainable(), artifact.F64, constant(10)))
	first, err := act(t, contract.CombineRegions, aggregates(w).CombineRegions, combineInput(t, w, s, 1, artifact.Descriptor{}, artifact.Descriptor{}, group("eu", 1, 0, sum)))
	require.NoError(t, err)
	second, err := act(t, contract.CombineRegions, aggregates(w).CombineRegions, combineInput(t, w, s, 2, first.Weights, first.State, group("eu", 1, 0, sum)))
	require.NoError(t, err)
	require.Equal(t, []float32{2.9, 2.9}, biases(t, w, second.Weights))

	evaluation := combineInput(t, w, s, 3, second.Weights, second.State, group("eu", 1, 0, artifact.Descriptor{}))
	evaluation.Kind = round.Evaluate
	kept, err := act(t, contract.CombineRegions, aggregates(w).CombineRegions, evaluation)
	require.NoError(t, err)
	require.Equal(t, second.Weights, kept.Weights)
	require.Equal(t, second.State, kept.State, "an evaluation moves nothing")

	foreign := combineInput(t, w, round.Strategy{Name: round.FedAdam}, 2, first.Weights, first.State, group("eu", 1, 0, sum))
	_, err = act(t, contract.CombineRegions, aggregates(w).CombineRegions, foreign)
	require.Equal(t, contract.BadUpdate, kind(err), "momentum is not the state of adam")
}

func biases(t *testing.T, w *activitytest.World, weights artifact.Descriptor) []float32 {
	t.Helper()
	all, err := artifact.ParseTensors(w.Content[weights.Digest])
	require.NoError(t, err)
	bias, ok := all.Get("linear.bias")
	require.True(t, ok)
	return bias.F32
}

// By hand: 6 of weight 3 and 1 of weight 1 are 7/4; 6 of weight 1.5 and 1 of
// weight 0.5 on top of 1 are 7/3.
func TestASumIsDividedByWhatWasCounted(t *testing.T) {
	w := world(t)
	six := tensors(t, w, filled(params().Model.Trainable(), artifact.F64, constant(6)))
	one := tensors(t, w, filled(params().Model.Trainable(), artifact.F64, constant(1)))
	for _, tt := range []struct {
		eu, us int64
		want   float32
	}{{3000, 1000, 1.75}, {1500, 1500, 7.0 / 3}, {1999, 1001, 7.0 / 3}} {
		in := combineInput(t, w, round.Strategy{}, 1, artifact.Descriptor{}, artifact.Descriptor{}, group("eu", 4, tt.eu, six), group("us", 4, tt.us, one))
		got, err := act(t, contract.CombineRegions, aggregates(w).CombineRegions, in)
		require.NoError(t, err)
		require.Equal(t, []float32{tt.want, tt.want}, biases(t, w, got.Weights))
	}
}

// Five buckets of three sites each, one of them with a liar: the middle of the
// means 1, 2, 3, 4 and -1000 is 2. The mean would be -198.
func TestARobustRuleChoosesAmongBuckets(t *testing.T) {
	w := world(t)
	var groups []contract.RegionResult
	for b, mean := range []float64{1, 2, 3, 4, -1000} {
		weight := int64(3 + b) // means do not weigh by what the sites say they count
		sum := tensors(t, w, filled(params().Model.Trainable(), artifact.F64, constant(mean*float64(weight))))
		groups = append(groups, group(fmt.Sprintf("eu.%d", b), 3, 1000*weight, sum))
	}
	rules := []struct {
		rule round.Strategy
		want float32
	}{
		{round.Strategy{Rule: round.RuleMedian}, 2},
		{round.Strategy{Rule: round.RuleTrimmedMean, Trim: .2}, 2},
		{round.Strategy{Rule: round.RuleMultiKrum, Byzantine: 1, Keep: 2}, 2.5}, // scores: 2 and 3 are nearest to their two nearest
		{round.Strategy{Rule: round.RuleMedian, Name: round.FedAvgM}, 2},
	}
	for _, tt := range rules {
		t.Run(tt.rule.Rule+tt.rule.Name, func(t *testing.T) {
			in := combineInput(t, w, tt.rule, 1, artifact.Descriptor{}, artifact.Descriptor{}, groups...)
			got, err := act(t, contract.CombineRegions, aggregates(w).CombineRegions, in)
			require.NoError(t, err)
			require.Equal(t, []float32{tt.want, tt.want}, biases(t, w, got.Weights))
			require.Equal(t, tt.rule.Name != "", got.State.Digest != "")
			in.Regions = slices.Clone(groups)
			slices.Reverse(in.Regions)
			again, err := act(t, contract.CombineRegions, aggregates(w).CombineRegions, in)
			require.NoError(t, err)
			require.Equal(t, got, again)
		})
	}
	few := combineInput(t, w, round.Strategy{Rule: round.RuleKrum, Byzantine: 1}, 1, artifact.Descriptor{}, artifact.Descriptor{}, groups[:4]...)
	_, err := act(t, contract.CombineRegions, aggregates(w).CombineRegions, few)
	require.Equal(t, contract.BadUpdate, kind(err), "four are too few against one liar")
}

// In the open the rule sees each update, over the regions' borders: of 1, 3
// and 1000 the middle is 3.
func TestARobustRuleChoosesAmongUpdatesOfAnOpenRound(t *testing.T) {
	w := world(t)
	in := roundInput(1, round.Train)
	in.Params.Strategy.Rule = round.RuleMedian
	rounds := &activities.Round{Blobs: w, Rounds: w.Rows()}
	plan, err := act(t, contract.PlanRound, rounds.PlanRound, in)
	require.NoError(t, err)
	require.False(t, plan.Secured)
	stage := func(region string) *activitytest.Stage { return w.StageOf(ref(1, round.Train, region)) }
	stage("eu").Submissions = []activities.Submission{submission("clinic", "a", update(t, w, 1000), 1_000_000), submission("north", "a", update(t, w, 3), 1)}
	stage("us").Submissions = []activities.Submission{submission("clinic", "b", update(t, w, 1), 5)}
	var regions []contract.RegionResult
	for _, region := range []string{"eu", "us"} {
		got, err := act(t, contract.AggregateRegion, aggregates(w).AggregateRegion, ref(1, round.Train, region))
		require.NoError(t, err)
		require.NotEmpty(t, got.Updates.Digest)
		regions = append(regions, got)
	}
	got, err := act(t, contract.CombineRegions, aggregates(w).CombineRegions,
		combineInput(t, w, in.Params.Strategy, 1, plan.Base, artifact.Descriptor{}, regions...))
	require.NoError(t, err)
	require.Equal(t, []float32{3, 3}, biases(t, w, got.Weights))
}

// A store that is away is not the fault of what is in it.
func TestCombineIsRetriedWhenABlobIsNotThereYet(t *testing.T) {
	w := world(t)
	lost := artifact.Describe(artifact.MediaTypeWeights, []byte("not replicated yet"))
	_, err := act(t, contract.CombineRegions, aggregates(w).CombineRegions,
		combineInput(t, w, round.Strategy{}, 1, artifact.Descriptor{}, artifact.Descriptor{}, group("eu", 1, 0, lost)))
	require.Error(t, err)
	require.Empty(t, kind(err))
}
