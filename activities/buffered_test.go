package activities_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/site"
)

func fedbuff(p *round.Params, buffer int) {
	p.Strategy = round.Strategy{Name: round.FedBuff, Rule: round.RuleMean, ServerRate: 1, Buffer: buffer, MaxStaleness: 1}
	p.Quorum = min(p.Quorum, buffer)
}

func bufferedInput(number int, base artifact.Descriptor) contract.RoundInput {
	in := roundInput(number, round.Train)
	in.Base = base
	fedbuff(&in.Params, 2)
	return in
}

// late is a submission that started from an older round.
func late(s activities.Submission, from int) activities.Submission {
	s.From = from
	return s
}

// A run of three open rounds with a buffer of two and a site, north/slow, that
// needs more than a round. By hand, whatever the rows:
//
//	round 1: (1 + 2)/2 = 1.5
//	round 2: (1 + 0.707·4)/2 = 1.914, with what the slow one learnt from round 1
//	round 3: 3/1 = 3; what the slow one learnt from round 1 is too old and is
//	refused by its name
//
// Every activity runs twice, as one whose result was lost.
func TestABufferedRunInTheOpen(t *testing.T) {
	w := world(t)
	w.Sites = []site.Site{
		{Tenant: "clinic", ID: "a", Region: "eu"}, {Tenant: "clinic", ID: "b", Region: "eu"}, {Tenant: "north", ID: "slow", Region: "eu"},
	}
	rounds := []struct {
		submissions []activities.Submission
		starts      []int
		moved       float64
		counts      round.Counts
		dropped     []string
	}{
		{[]activities.Submission{submission("clinic", "a", update(t, w, 1), 5), submission("clinic", "b", update(t, w, 2), 500)}, nil, 1.5,
			round.Counts{Selected: 3, Accepted: 2}, nil},
		{[]activities.Submission{submission("clinic", "a", update(t, w, 1), 5), late(submission("north", "slow", update(t, w, 4), 50), 1)}, []int{1}, 1.914,
			round.Counts{Selected: 3, Accepted: 2}, nil},
		{[]activities.Submission{submission("clinic", "b", update(t, w, 3), 5), late(submission("north", "slow", update(t, w, 4), 50), 1)}, []int{2}, 3,
			round.Counts{Selected: 3, Accepted: 1, Rejected: 1}, []string{"north/slow: " + aggregate.ErrStale.Error()}},
	}
	var base artifact.Descriptor
	bases := map[int]artifact.Digest{}
	for i, r := range rounds {
		n := i + 1
		plan := twice(t, contract.PlanRound, (&activities.Round{Blobs: w, Rounds: w.Rows()}).PlanRound, bufferedInput(n, base))
		bases[n] = plan.Base.Digest
		var manifest round.Manifest
		require.NoError(t, artifact.DecodeStrict(w.Content[plan.Manifest.Digest], &manifest))
		var want []round.Start
		for _, from := range r.starts {
			want = append(want, round.Start{Number: from, Base: bases[from]})
		}
		require.Equal(t, want, manifest.Starts, "round %d", n)

		ref := ref(n, round.Train, "eu")
		w.StageOf(ref).Submissions = r.submissions
		result := twice(t, contract.AggregateRegion, aggregates(w).AggregateRegion, ref)
		require.Equal(t, r.counts, result.Counts, "round %d", n)
		require.Equal(t, r.dropped, result.Dropped)
		in := bufferedInput(n, base)
		combined := twice(t, contract.CombineRegions, aggregates(w).CombineRegions, contract.CombineInput{
			Subject: subject(), Run: "run-1", Number: n, Kind: round.Train, Params: in.Params, Base: plan.Base, Regions: []contract.RegionResult{result},
		})
		requireMoved(t, w, plan.Base, combined.Weights, r.moved, 1e-6)
		base = combined.Weights
	}
}

// twice runs an activity as one that was done and not reported.
func twice[In, Out any](t *testing.T, h contract.Activity[In, Out], fn func(ctx context.Context, in In) (Out, error), in In) Out {
	t.Helper()
	first, err := act(t, h, fn, in)
	require.NoError(t, err)
	again, err := act(t, h, fn, in)
	require.NoError(t, err)
	require.Equal(t, first, again, "%s", h.Name)
	return first
}

// requireMoved compares each trained weight before and after a step.
func requireMoved(t *testing.T, w *activitytest.World, before, after artifact.Descriptor, want, within float64) {
	t.Helper()
	old, err := artifact.ParseTensors(w.Content[before.Digest])
	require.NoError(t, err)
	moved, err := artifact.ParseTensors(w.Content[after.Digest])
	require.NoError(t, err)
	for _, name := range []string{"linear.bias", "linear.weight"} {
		from, ok := old.Get(name)
		require.True(t, ok)
		to, _ := moved.Get(name)
		for j := range from.F32 {
			require.InDelta(t, want, float64(to.F32[j])-float64(from.F32[j]), within, "%s[%d]", name, j)
		}
	}
}

// Behind masks: three of five sites fill the buffer, one of them a step late,
// and two are at work still. Their biases are 1/8, 2/8 and 3/8; by hand
// (0.125 + 0.25 + 0.707·0.375)/3 = 0.213375, divided by three updates and not
// by the 2.707 that they weigh.
func TestABufferedRoundBehindMasks(t *testing.T) {
	f := newFleet(t, round.Train, func(p *round.Params) { fedbuff(p, 3) })
	in := contribution(round.Train, f.manifest.Params.Model.Inputs, 2)
	in.Staleness = 1
	var err error
	f.players[2].vector, _, err = f.form.Encode(in)
	require.NoError(t, err)
	f.players[3].gone, f.players[4].gone = round.StageAdvertise, round.StageAdvertise
	require.Equal(t, 3, f.manifest.Params.Suffice(round.Train, f.manifest.Cohort, "eu"))

	result, cause := f.play(2)
	require.Empty(t, cause)
	f.requireSum(result, 0, 1, 2)
	require.EqualValues(t, 2707, result.Weight)
	f.requireOneStory()

	base := artifact.Tensors{}
	for _, spec := range f.manifest.Params.Model.Tensors() {
		base = append(base, filled([]round.TensorSpec{spec}, artifact.F32, constant(1))...)
	}
	weights := tensors(t, f.w, base)
	combined, err := act(t, contract.CombineRegions, aggregates(f.w).CombineRegions, contract.CombineInput{
		Subject: subject(), Run: "run-1", Number: 1, Kind: round.Train, Params: f.manifest.Params, Base: weights, Regions: []contract.RegionResult{result},
	})
	require.NoError(t, err)
	after, err := artifact.ParseTensors(f.w.Content[combined.Weights.Digest])
	require.NoError(t, err)
	bias, ok := after.Get("linear.bias")
	require.True(t, ok)
	require.InDelta(t, 1+0.213375, bias.F32[0], 1e-6)
	require.InDelta(t, 1-0.213375, bias.F32[1], 1e-6)
}

// A run that goes on from somebody's checkpoint has no round before its first.
func TestAFirstBufferedRoundHasNoStarts(t *testing.T) {
	for _, number := range []int{1, 7} {
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			w := world(t)
			plan, err := act(t, contract.PlanRound, (&activities.Round{Blobs: w, Rounds: w.Rows()}).PlanRound, bufferedInput(number, artifact.Descriptor{}))
			require.NoError(t, err)
			var manifest round.Manifest
			require.NoError(t, artifact.DecodeStrict(w.Content[plan.Manifest.Digest], &manifest))
			require.Empty(t, manifest.Starts)
		})
	}
}
