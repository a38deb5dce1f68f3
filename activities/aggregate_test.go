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
	"github.com/atom-fabric/fabric/domain/round"
)

func aggregates(w *activitytest.World) *activities.Aggregate {
	return &activities.Aggregate{Blobs: w, Rounds: w.Rows()}
}

func TestARegionDropsWhatCannotBeAdded(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	tests := []struct {
		name string
		bad  func(*testing.T, *activitytest.World) activities.Submission
		says string
	}{
		{"a NaN", func(t *testing.T, w *activitytest.World) activities.Submission {
			return submission("north", "a", update(t, w, nan), 5)
		}, "NaN"},
		{"an infinity", func(t *testing.T, w *activitytest.World) activities.Submission {
			return submission("north", "a", update(t, w, inf), 5)
		}, "infinity"},
		{"another shape", func(t *testing.T, w *activitytest.World) activities.Submission {
			return submission("north", "a", tensors(t, w, artifact.Tensors{
				{Name: "linear.bias", DType: artifact.F32, Shape: []int{3}, F32: make([]float32, 3)},
				{Name: "linear.weight", DType: artifact.F32, Shape: []int{2, 2}, F32: make([]float32, 4)},
			}), 5)
		}, "not those of the round's model"},
		{"the statistics of another round", func(t *testing.T, w *activitytest.World) activities.Submission {
			return submission("north", "a", tensors(t, w, artifact.Tensors{
				{Name: "moments.mean", DType: artifact.F64, Shape: []int{2}, F64: make([]float64, 2)},
				{Name: "moments.mean_square", DType: artifact.F64, Shape: []int{2}, F64: make([]float64, 2)},
			}), 5)
		}, "not those of the round's model"},
		{"no tensors at all", func(_ *testing.T, w *activitytest.World) activities.Submission {
			return submission("north", "a", w.Keep(artifact.MediaTypeWeights, []byte("hello, world")), 5)
		}, "header"},
		{"no update", func(*testing.T, *activitytest.World) activities.Submission {
			return submission("north", "a", artifact.Descriptor{}, 5)
		}, "not those"},
		{"no examples", func(t *testing.T, w *activitytest.World) activities.Submission {
			return submission("north", "a", update(t, w, 1), 0)
		}, "examples"},
		{"counts that nobody can have counted", func(t *testing.T, w *activitytest.World) activities.Submission {
			s := submission("north", "a", update(t, w, 1), 5)
			s.Metrics.Correct = s.Metrics.Evaluated + 1
			return s
		}, "counts are not possible"},
		{"what was refused when it arrived", func(t *testing.T, w *activitytest.World) activities.Submission {
			s := submission("north", "a", update(t, w, 1), 5)
			s.Reason = "wrong signature"
			return s
		}, "wrong signature"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := world(t)
			begin(t, w, 1, round.Train)
			good := submission("clinic", "a", update(t, w, 2), 3)
			stage := w.StageOf(ref(1, round.Train, "eu"))
			stage.Submissions = []activities.Submission{good, tt.bad(t, w)}
			got, err := act(t, contract.AggregateRegion, aggregates(w).AggregateRegion, ref(1, round.Train, "eu"))
			require.NoError(t, err)
			require.True(t, stage.Closed)
			require.Empty(t, got.Cause)
			require.Equal(t, round.Counts{Selected: 2, Accepted: 1, Rejected: 1}, got.Counts)
			require.Len(t, got.Dropped, 1)
			require.Contains(t, got.Dropped[0], "north/a: ")
			require.Contains(t, got.Dropped[0], tt.says)
			require.Equal(t, good.Metrics, got.Metrics)
			sum, err := artifact.ParseTensors(w.Content[got.Partial.Digest])
			require.NoError(t, err)
			bias, ok := sum.Get("linear.bias")
			require.True(t, ok)
			require.Equal(t, []float64{6, 6}, bias.F64, "3 examples times 2, and nothing of the dropped site")
		})
	}
}

func TestARegionWhereNobodyCountsSaysSo(t *testing.T) {
	w := world(t)
	begin(t, w, 1, round.Train)
	bad := submission("north", "a", update(t, w, float32(math.NaN())), 5)
	w.StageOf(ref(1, round.Train, "eu")).Submissions = []activities.Submission{bad}
	got, err := act(t, contract.AggregateRegion, aggregates(w).AggregateRegion, ref(1, round.Train, "eu"))
	require.NoError(t, err)
	require.NotEmpty(t, got.Cause)
	require.Empty(t, got.Partial.Digest)
}

func TestAStoreThatLosesAnUpdateIsNoFaultOfTheSite(t *testing.T) {
	w := world(t)
	begin(t, w, 1, round.Train)
	lost := submission("north", "a", update(t, w, 1), 5)
	altered := append([]byte(nil), w.Content[lost.Update.Digest]...)
	altered[len(altered)-1] ^= 1
	w.Content[lost.Update.Digest] = altered
	w.StageOf(ref(1, round.Train, "eu")).Submissions = []activities.Submission{lost}
	_, err := act(t, contract.AggregateRegion, aggregates(w).AggregateRegion, ref(1, round.Train, "eu"))
	require.Error(t, err)
	require.Empty(t, kind(err), "retried, not dropped")
}

// The mean of a round is Σ n·Δ / Σ n: (3·1 + 1·5 + 4·(-1)) / 8 = 0.5 for every
// parameter, worked out by hand.
func TestARoundAddsTheWeightedMean(t *testing.T) {
	w := world(t)
	begin(t, w, 1, round.Train)
	w.StageOf(ref(1, round.Train, "eu")).Submissions = []activities.Submission{
		submission("clinic", "a", update(t, w, 1), 3), submission("north", "a", update(t, w, 5), 1),
	}
	w.StageOf(ref(1, round.Train, "us")).Submissions = []activities.Submission{submission("clinic", "b", update(t, w, -1), 4)}
	var regions []contract.RegionResult
	for _, region := range []string{"eu", "us"} {
		got, err := act(t, contract.AggregateRegion, aggregates(w).AggregateRegion, ref(1, round.Train, region))
		require.NoError(t, err)
		regions = append(regions, got)
	}
	plan, err := (&activities.Round{Blobs: w, Rounds: w.Rows()}).PlanRound(t.Context(), roundInput(1, round.Train))
	require.NoError(t, err)
	in := contract.CombineInput{Subject: subject(), Run: "run-1", Number: 1, Kind: round.Train, Params: params(), Base: plan.Base, Regions: regions}
	combined, err := act(t, contract.CombineRegions, aggregates(w).CombineRegions, in)
	require.NoError(t, err)
	weights, err := artifact.ParseTensors(w.Content[combined.Weights.Digest])
	require.NoError(t, err)
	for _, name := range []string{"linear.bias", "linear.weight"} {
		got, ok := weights.Get(name)
		require.True(t, ok)
		for _, v := range got.F32 {
			require.Equal(t, float32(.5), v)
		}
	}
	scale, ok := weights.Get(round.TensorScale)
	require.True(t, ok)
	require.Equal(t, []float32{1, 1}, scale.F32, "what is not trained stays")
	require.Equal(t, round.Metrics{Examples: 8, Evaluated: 30, Correct: 27, LossMicros: 300}, combined.Metrics)

	slices.Reverse(in.Regions)
	again, err := act(t, contract.CombineRegions, aggregates(w).CombineRegions, in)
	require.NoError(t, err)
	require.Equal(t, combined.Weights, again.Weights, "the order of the regions changes no bit")
}

func TestCombineRefusesWhatCannotBeDivided(t *testing.T) {
	w := world(t)
	begin(t, w, 1, round.Train)
	plan, err := (&activities.Round{Blobs: w, Rounds: w.Rows()}).PlanRound(t.Context(), roundInput(1, round.Train))
	require.NoError(t, err)
	huge := tensors(t, w, artifact.Tensors{
		{Name: "linear.bias", DType: artifact.F64, Shape: []int{2}, F64: []float64{1e300, 0}},
		{Name: "linear.weight", DType: artifact.F64, Shape: []int{2, 2}, F64: make([]float64, 4)},
	})
	metrics := round.Metrics{Examples: 2}
	tests := []struct {
		name    string
		kind    round.Kind
		regions []contract.RegionResult
		fails   string
	}{
		{"no region", round.Train, nil, contract.BadUpdate},
		{"only regions with a cause", round.Train, []contract.RegionResult{{Region: "eu", Cause: "away"}}, contract.BadUpdate},
		{"a region without a sum", round.Train, []contract.RegionResult{{Region: "eu", Metrics: metrics}}, contract.BadUpdate},
		{"a result that fits no weight", round.Train, []contract.RegionResult{{Region: "eu", Metrics: metrics, Partial: huge}}, contract.BadUpdate},
		{"the same region twice", round.Train, []contract.RegionResult{{Region: "eu", Metrics: metrics, Partial: huge}, {Region: "eu", Metrics: metrics, Partial: huge}}, contract.BadUpdate},
		{"an evaluation, which leaves the weights", round.Evaluate, []contract.RegionResult{{Region: "eu", Metrics: metrics}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := act(t, contract.CombineRegions, aggregates(w).CombineRegions, contract.CombineInput{
				Subject: subject(), Run: "run-1", Number: 1, Kind: tt.kind, Params: params(), Base: plan.Base, Regions: tt.regions,
			})
			require.Equal(t, tt.fails, kind(err))
			if tt.fails == "" {
				require.NoError(t, err)
				require.Equal(t, plan.Base, got.Weights)
				require.Equal(t, metrics, got.Metrics)
			}
		})
	}
}

// Up to 64 updates are read side by side, more are added one after the other:
// both give the bytes of a sum in memory.
func TestManyUpdatesAddToTheSameBytes(t *testing.T) {
	sum := func(sites int) []byte {
		w := world(t)
		begin(t, w, 1, round.Train)
		stage := w.StageOf(ref(1, round.Train, "eu"))
		for i := range sites {
			stage.Submissions = append(stage.Submissions, submission("clinic", fmt.Sprintf("s%02d", i), update(t, w, 1/float32(i+3)), int64(i+1)))
		}
		got, err := act(t, contract.AggregateRegion, aggregates(w).AggregateRegion, ref(1, round.Train, "eu"))
		require.NoError(t, err)
		require.Equal(t, sites, got.Counts.Accepted)
		return w.Content[got.Partial.Digest]
	}
	few, many := sum(64), sum(65)
	require.NotEqual(t, few, many)
	reference := aggregate.SumOf(params().Model.Update(round.Train))
	for i := range 65 {
		v := 1 / float32(i+3)
		require.NoError(t, reference.Add(aggregate.Update{Tenant: "clinic", Site: fmt.Sprintf("s%02d", i), Examples: int64(i + 1), Tensors: artifact.Tensors{
			{Name: "linear.bias", DType: artifact.F32, Shape: []int{2}, F32: []float32{v, v}},
			{Name: "linear.weight", DType: artifact.F32, Shape: []int{2, 2}, F32: []float32{v, v, v, v}},
		}}))
		if i == 63 {
			require.Equal(t, encoded(t, reference), few)
		}
	}
	require.Equal(t, encoded(t, reference), many)
}

func encoded(t *testing.T, sum *aggregate.Sum) []byte {
	t.Helper()
	partial, err := sum.Partial("eu")
	require.NoError(t, err)
	content, err := partial.Sum.Encode()
	require.NoError(t, err)
	return content
}

// A robust rule looks at each update, so an open round lists those that count.
func TestARobustRegionListsItsUpdates(t *testing.T) {
	w := world(t)
	in := roundInput(1, round.Train)
	in.Params.Strategy = round.Strategy{Name: round.FedAvg, Rule: round.RuleMedian, ServerRate: 1}
	manifest, err := artifact.Canonical(round.Manifest{Run: "run-1", Number: 1, Kind: round.Train, Tenant: "clinic", Params: in.Params, Cohort: []round.Cohort{{Region: "eu", Sites: 3}}})
	require.NoError(t, err)
	w.Rounds["run-1/1"] = activitytest.Begun{Manifest: w.Keep(artifact.MediaTypeManifest, manifest)}
	one, two := update(t, w, 1), update(t, w, 2)
	w.StageOf(ref(1, round.Train, "eu")).Submissions = []activities.Submission{
		submission("clinic", "a", one, 3), submission("clinic", "b", update(t, w, float32(math.NaN())), 3), submission("north", "a", two, 1),
	}
	got, err := act(t, contract.AggregateRegion, aggregates(w).AggregateRegion, ref(1, round.Train, "eu"))
	require.NoError(t, err)
	require.Empty(t, got.Partial)
	require.Equal(t, round.Counts{Selected: 3, Accepted: 2, Rejected: 1}, got.Counts)
	var list []struct {
		Tenant string              `json:"tenant"`
		Site   string              `json:"site"`
		Update artifact.Descriptor `json:"update"`
	}
	require.NoError(t, artifact.DecodeStrict(w.Content[got.Updates.Digest], &list))
	require.Len(t, list, 2)
	require.Equal(t, one, list[0].Update)
	require.Equal(t, "north/a", list[1].Tenant+"/"+list[1].Site)
	require.Equal(t, two, list[1].Update)
}
