package activities_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/measure"
	"github.com/atom-fabric/fabric/domain/round"
)

// measuring asks for two groups, two bins of scores and a column of two bins: 19
// counts.
func measuring(p *round.Params) {
	p.Measurement = round.Measurement{
		GroupColumn: "radius", Groups: []round.MeasuredGroup{{Name: "young", Value: 0}, {Name: "old", Value: 1}},
		ScoreBins: 2, Features: []round.MeasuredFeature{{Column: "texture", Low: 0, High: 1, Bins: 2}},
	}
}

// tenRows is what site i counts of its ten rows.
func tenRows(i int) []int64 {
	n := int64(i)
	return []int64{
		3, 1, 1, 0, // young
		1, 0, 4 - n, n, // old
		6, 1, 1_000_000 + n, 500_000, 4, 3, 3_500_000, 100_000 + n, // scores
		7, 3 - n/2, n / 2, // texture
	}
}

// fiveSites is the sum of tenRows over sites 0 to 4, by hand.
var fiveSites = []int64{15, 5, 5, 0, 5, 0, 10, 10, 30, 5, 5_000_010, 2_500_000, 20, 15, 17_500_000, 500_010, 35, 11, 4}

func measured(t *testing.T, w *activitytest.World, digest artifact.Digest) []int64 {
	t.Helper()
	tensors, err := artifact.ParseTensors(w.Content[digest])
	require.NoError(t, err)
	counts, err := measure.FromTensors(tensors, len(fiveSites))
	require.NoError(t, err)
	return counts
}

// combined adds what regions counted, and is asked twice.
func combined(t *testing.T, w *activitytest.World, regions ...contract.RegionResult) contract.Combined {
	t.Helper()
	in := contract.CombineInput{Subject: subject(), Run: "run-1", Number: 1, Kind: round.Evaluate, Params: params(), Regions: regions}
	measuring(&in.Params)
	first, err := act(t, contract.CombineRegions, aggregates(w).CombineRegions, in)
	require.NoError(t, err)
	again, err := act(t, contract.CombineRegions, aggregates(w).CombineRegions, in)
	require.NoError(t, err)
	require.Equal(t, first, again)
	return first
}

// Counts ride in the masked vector of the evaluation: of what single sites said
// only the sum is ever seen. A site that is gone is in none of the sums.
func TestMaskedCountsAddUp(t *testing.T) {
	for _, ring := range []int{32, 64} {
		f := newFleet(t, round.Evaluate, func(p *round.Params) {
			measuring(p)
			p.Secure.Ring = ring
		})
		got, cause := f.play(2)
		require.Empty(t, cause)
		require.Equal(t, round.Metrics{Examples: 15, Evaluated: 50, Correct: 35, LossMicros: 1000}, got.Metrics)
		require.Equal(t, fiveSites, measured(t, f.w, got.Partial.Digest))
		out := combined(t, f.w, got)
		require.Equal(t, fiveSites, measured(t, f.w, out.Metrics.Measured))
		require.EqualValues(t, 50, out.Metrics.Evaluated)
		f.requireOneStory()
	}
	f := newFleet(t, round.Evaluate, measuring)
	f.players[4].gone = round.StageMask
	got, cause := f.play(1)
	require.Empty(t, cause)
	four := measured(t, f.w, got.Partial.Digest)
	for i, n := range tenRows(4) {
		require.Equal(t, fiveSites[i]-n, four[i])
	}
}

// opened is a plain evaluation of two regions.
func opened(t *testing.T) *activitytest.World {
	t.Helper()
	w := world(t)
	manifest := round.Manifest{Run: "run-1", Number: 1, Kind: round.Evaluate, Params: params(), Cohort: []round.Cohort{{Region: "eu", Sites: 3}, {Region: "us", Sites: 2}}}
	measuring(&manifest.Params)
	encoded, err := artifact.Canonical(manifest)
	require.NoError(t, err)
	w.Rounds["run-1/1"] = activitytest.Begun{Manifest: w.Keep(artifact.MediaTypeManifest, encoded), Cohort: manifest.Cohort}
	return w
}

func counting(t *testing.T, w *activitytest.World, site string, counts []int64) activities.Submission {
	t.Helper()
	return submission("clinic", site, tensors(t, w, measure.ToTensors(counts)), 0)
}

// A plain evaluation gives the same sums.
func TestPlainCountsAddUp(t *testing.T) {
	w := opened(t)
	for region, sites := range map[string][]int{"eu": {0, 1, 2}, "us": {3, 4}} {
		var sent []activities.Submission
		for _, i := range sites {
			sent = append(sent, counting(t, w, string(rune('a'+i)), tenRows(i)))
		}
		w.StageOf(ref(1, round.Evaluate, region)).Submissions = sent
	}
	var regions []contract.RegionResult
	for _, region := range []string{"eu", "us"} {
		got, err := act(t, contract.AggregateRegion, aggregates(w).AggregateRegion, ref(1, round.Evaluate, region))
		require.NoError(t, err)
		require.Empty(t, got.Dropped)
		regions = append(regions, got)
	}
	out := combined(t, w, regions...)
	require.Equal(t, fiveSites, measured(t, w, out.Metrics.Measured))
	require.EqualValues(t, 50, out.Metrics.Evaluated)
}

func TestCountsThatNoSiteCanHaveAreDropped(t *testing.T) {
	w := opened(t)
	more := tenRows(0)
	more[0] = 11 // of ten rows
	half := measure.ToTensors(tenRows(0))
	half[0].F64[3] = 0.5
	none := measure.ToTensors(tenRows(0))
	none[0].F64[3] = math.NaN()
	tests := map[string]activities.Submission{
		"more rows than were evaluated": counting(t, w, "b", more),
		"another measurement":           counting(t, w, "b", tenRows(0)[1:]),
		"half a row":                    submission("clinic", "b", tensors(t, w, half), 0),
		"not a number":                  submission("clinic", "b", tensors(t, w, none), 0),
		"an update":                     submission("clinic", "b", update(t, w, 1), 0),
		"nothing":                       submission("clinic", "b", artifact.Descriptor{}, 0),
		"no tensors":                    submission("clinic", "b", w.Keep(artifact.MediaTypeWeights, []byte("hello, world")), 0),
	}
	good := counting(t, w, "a", tenRows(1))
	for name, bad := range tests {
		t.Run(name, func(t *testing.T) {
			stage := w.StageOf(ref(1, round.Evaluate, "eu"))
			stage.Submissions = []activities.Submission{good, bad}
			got, err := act(t, contract.AggregateRegion, aggregates(w).AggregateRegion, ref(1, round.Evaluate, "eu"))
			require.NoError(t, err)
			require.Len(t, got.Dropped, 1)
			require.Contains(t, got.Dropped[0], "clinic/b: ")
			require.Equal(t, good.Metrics, got.Metrics)
			require.Equal(t, tenRows(1), measured(t, w, got.Partial.Digest))
		})
	}
}
