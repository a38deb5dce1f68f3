package activities_test

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"github.com/atom-fabric/fabric/activities"
	"github.com/atom-fabric/fabric/activities/activitytest"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// Five sites, each activity run twice: the sum behind the masks has the bits of
// the sum without them, whoever leaves before which stage.
func TestASecuredSumIsThePlainSum(t *testing.T) {
	wide := func(p *round.Params) { p.Secure.Ring = 64 }
	tests := []struct {
		name   string
		kind   round.Kind
		change func(*round.Params)
		gone   round.Stage // of the third site
		summed []int
	}{
		{"everybody stays", round.Train, nil, "", []int{0, 1, 2, 3, 4}},
		{"in the wide ring", round.Train, wide, "", []int{0, 1, 2, 3, 4}},
		{"vectors of several pieces", round.Train, func(p *round.Params) { p.Model.Inputs = 140_000 }, round.StageMask, []int{0, 1, 3, 4}},
		{"a round that only counts", round.Evaluate, nil, "", []int{0, 1, 2, 3, 4}},
		{"one never advertises", round.Train, nil, round.StageAdvertise, []int{0, 1, 3, 4}},
		{"one advertises and is gone", round.Train, nil, round.StageShare, []int{0, 1, 3, 4}},
		{"one shares and is gone", round.Train, nil, round.StageMask, []int{0, 1, 3, 4}},
		{"one masks and is gone", round.Train, nil, round.StageCheck, []int{0, 1, 2, 3, 4}},
		{"one checks and is gone", round.Train, wide, round.StageUnmask, []int{0, 1, 2, 3, 4}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet(t, tt.kind, tt.change)
			f.players[2].gone = tt.gone
			got, cause := f.play(2)
			require.Empty(t, cause)
			f.requireSum(got, tt.summed...)
			f.requireOneStory()
		})
	}
}

// Worked out by hand: Σ (i+1)·(i+1)/8 over i = 0..4 is 55/8, with a weight of
// 15 examples. A step of the codec is the most that a site's rounding adds.
func TestASecuredSumIsTheWeightedSum(t *testing.T) {
	f := newFleet(t, round.Train, nil)
	got, _ := f.play(1)
	require.EqualValues(t, 15_000, got.Weight)
	require.Equal(t, round.Metrics{Examples: 15, Evaluated: 50, Correct: 35, LossMicros: 1000}, got.Metrics)
	sum, err := artifact.ParseTensors(f.w.Content[got.Partial.Digest])
	require.NoError(t, err)
	bias, ok := sum.Get("linear.bias")
	require.True(t, ok)
	require.InDeltaSlice(t, []float64{55. / 8, -55. / 8}, bias.F64, 5*f.form.Codec.Step())
}

// With five sites the threshold is four: two that are gone end the round, with
// a cause that names the stage, whenever that is.
func TestASecuredGroupBelowItsThresholdSaysSo(t *testing.T) {
	tests := []struct {
		gone  round.Stage
		sites []int
		cause string
	}{
		{round.StageAdvertise, []int{0, 1, 2}, "stage advertise: 2 of 5 sites answered, 0 were refused: fewer sites than the threshold"},
		{round.StageShare, []int{0, 1}, "stage share: 3 of 5 sites answered, 0 were refused: fewer sites than the threshold"},
		{round.StageMask, []int{0, 1}, "stage mask: 3 of 5 sites answered, 0 were refused: fewer sites than the threshold"},
		{round.StageCheck, []int{0, 1}, "stage check: 3 of 5 sites answered, 0 were refused: fewer sites than the threshold"},
		{round.StageUnmask, []int{0, 1}, "stage unmask: 3 of 5 sites answered, 0 were refused"},
	}
	for _, tt := range tests {
		t.Run(string(tt.gone), func(t *testing.T) {
			f := newFleet(t, round.Train, nil)
			for _, i := range tt.sites {
				f.players[i].gone = tt.gone
			}
			got, cause := f.play(2)
			require.Contains(t, cause, tt.cause)
			require.Empty(t, got.Partial)
			f.requireOneStory()
			next, ok := tt.gone.Following()
			if ok && tt.gone != round.StageMask {
				require.Empty(t, f.w.StageOf(f.ref(next)).Members, "nobody is asked anything after that")
			}
		})
	}
}

// A message that is none is its sender's loss alone: refused, named, counted.
func TestASecuredGroupNamesWhoLies(t *testing.T) {
	for _, stage := range stages {
		t.Run(string(stage), func(t *testing.T) {
			f := newFleet(t, round.Train, nil)
			f.players[3].lies = stage
			f.answer(round.StageAdvertise, f.w.StageOf(f.ref(round.StageAdvertise)))
			summed := []int{0, 1, 2, 4}
			if slices.Index(stages, stage) > slices.Index(stages, round.StageMask) {
				summed = []int{0, 1, 2, 3, 4}
			}
			var dropped []string
			refused := 0
			var bundle artifact.Descriptor
			for _, closes := range stages[:4] {
				if closes == round.StageMask {
					s := f.commit(2)
					dropped, refused = append(dropped, s.Dropped...), refused+s.Refused
					bundle = f.sign(s.Set)
				}
				next := f.advance(2, closes, bundle)
				require.Empty(t, next.Cause)
				dropped, refused = append(dropped, next.Dropped...), refused+next.Refused
			}
			got := f.aggregate(2)
			f.requireSum(got, summed...)
			dropped = append(dropped, got.Dropped...)
			require.Equal(t, []string{"north/s3: " + activities.ErrImpostor.Error()}, dropped)
			if stage != round.StageUnmask {
				require.Equal(t, 1, refused)
			}
		})
	}
}

// Shares carry no signature of their own: a site that speaks in another's name
// must not cost the other its place.
func TestNobodySpeaksForAnother(t *testing.T) {
	f := newFleet(t, round.Train, nil)
	f.until(round.StageAdvertise)
	stage := f.w.StageOf(f.ref(round.StageShare))
	play := stage.Arrives
	stage.Arrives = func(s *activitytest.Stage) {
		play(s)
		stolen := slices.IndexFunc(s.Submissions, func(o activities.Submission) bool { return o.Site == "s0" })
		forged := slices.IndexFunc(s.Submissions, func(o activities.Submission) bool { return o.Site == "s4" })
		s.Submissions[forged].Message = s.Submissions[stolen].Message
	}
	f.advance(1, round.StageAdvertise, artifact.Descriptor{})
	next := f.advance(2, round.StageShare, artifact.Descriptor{})
	require.Equal(t, []string{"south/s4: " + activities.ErrImpostor.Error()}, next.Dropped)
	require.Equal(t, 4, next.Sites)
}

// A site that was revoked while it trained, or that advertises with another
// key than it enrolled with, is not in the roster.
func TestOnlyEnrolledSitesAreInTheRoster(t *testing.T) {
	f := newFleet(t, round.Train, nil)
	f.w.Sites[1].PublicKey = f.w.Sites[0].PublicKey
	f.w.Sites = slices.Delete(f.w.Sites, 4, 5)
	f.answer(round.StageAdvertise, f.w.StageOf(f.ref(round.StageAdvertise)))
	next := f.advance(2, round.StageAdvertise, artifact.Descriptor{})
	require.Equal(t, 3, next.Sites)
	require.Equal(t, 2, next.Refused)
	require.Equal(t, []string{
		"north/s1: " + secagg.ErrIdentity.Error(), "south/s4: " + secagg.ErrUnknown.Error(),
	}, next.Dropped)
}

// What is in the survivor set is in the sum, so a vector that is not whole is
// out before the set is written.
func TestOnlyWholeVectorsSurvive(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*fleet, *activities.Submission)
		says  error
	}{
		{"the blob is lost", func(f *fleet, s *activities.Submission) { delete(f.w.Content, s.Update.Digest) }, activities.ErrVectorGone},
		{"another blob was submitted", func(f *fleet, s *activities.Submission) {
			s.Update = f.w.Keep("application/octet-stream", make([]byte, s.Update.SizeBytes))
		}, activities.ErrVectorSize},
		{"another size was submitted", func(_ *fleet, s *activities.Submission) { s.Update.SizeBytes++ }, activities.ErrVectorSize},
		{"no message came with it", func(_ *fleet, s *activities.Submission) { s.Message = artifact.Descriptor{} }, activities.ErrMessageGone},
		{"it was refused when it arrived", func(_ *fleet, s *activities.Submission) { s.Reason = activities.ErrRefused.Error() }, activities.ErrRefused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet(t, round.Train, nil)
			f.until(round.StageMask)
			s := f.w.StageOf(f.ref(round.StageMask))
			tt.spoil(f, &s.Submissions[0])
			got := f.commit(2)
			require.Empty(t, got.Cause)
			require.Equal(t, 4, got.Sites)
			require.Equal(t, 1, got.Refused)
			require.Equal(t, []string{"clinic/s0: " + tt.says.Error()}, got.Dropped)
		})
	}
}

// The trap that makes a retry an attack: a vector comes late, a step is done
// again, and the site that was dead is alive. The set that was written stays.
func TestALateVectorChangesNothing(t *testing.T) {
	f := newFleet(t, round.Train, nil)
	late := f.players[2]
	late.gone = round.StageMask
	f.until(round.StageMask)
	first := f.commit(1)
	require.Equal(t, 4, first.Sites)

	mask := f.w.StageOf(f.ref(round.StageMask))
	arrive := func() { // and the store forgets that the stage was closed
		mask.Closed = false
		late.gone = ""
		f.answer(round.StageMask, mask)
	}
	arrive()
	require.Len(t, mask.Submissions, 5)
	again := f.commit(1)
	require.Equal(t, first.Set, again.Set)
	require.Equal(t, 4, again.Sites)

	bundle := f.sign(first.Set)
	f.advance(2, round.StageMask, bundle)
	require.Equal(t, first.Set, f.commit(1).Set)
	f.advance(2, round.StageCheck, artifact.Descriptor{})
	f.advance(1, round.StageMask, bundle)
	f.requireSum(f.aggregate(2), 0, 1, 3, 4)
	f.requireOneStory()

}

// blind sees no set that another run writes at the same time.
type blind struct{ *activitytest.Rounds }

func (blind) Survivors(context.Context, contract.StageRef) (set artifact.Descriptor, ok bool, err error) {
	return set, false, nil
}

// Two runs at once both find no set, and form two. The store's first is what
// both of them return.
func TestOfTwoSetsAtOnceTheFirstCounts(t *testing.T) {
	f := newFleet(t, round.Train, nil)
	f.players[2].gone = round.StageMask
	f.until(round.StageMask)
	first := f.commit(1)
	mask := f.w.StageOf(f.ref(round.StageMask))
	mask.Closed, f.players[2].gone = false, ""
	f.answer(round.StageMask, mask)
	other := f.secure()
	other.Rounds = blind{f.w.Rows()}
	second, err := act(t, contract.CommitSurvivors, other.CommitSurvivors, f.ref(round.StageMask))
	require.NoError(t, err)
	require.Equal(t, first.Set, second.Set)
	require.Equal(t, 4, second.Sites)
}

// A site that is fast and lies must not be what the sum hangs on: one answer
// more than the threshold is waited for, and the lie is told from the truth.
func TestAFastLieAboutAShareCostsNothing(t *testing.T) {
	f := newFleet(t, round.Train, nil)
	stage := f.w.StageOf(f.ref(round.StageUnmask))
	stage.Arrives = func(s *activitytest.Stage) {
		p := f.players[len(s.Submissions)]
		inbox, _ := f.inbox(round.StageUnmask, s, p)
		sub := f.message(round.StageUnmask, p, inbox)
		if len(s.Submissions) == 0 {
			m := read[secagg.Unmasking](f, sub.Message.Digest)
			m.Seeds[1].Share[0] ^= 1
			text, err := json.Marshal(m)
			require.NoError(t, err)
			sub.Message = f.w.Keep(artifact.MediaTypeSecagg, text)
		}
		f.submit(s, p, sub)
	}
	got, cause := f.play(1)
	require.Empty(t, cause)
	f.requireSum(got, 0, 1, 2, 3, 4)
	require.Len(t, got.Dropped, 1)
	require.Contains(t, got.Dropped[0], "clinic/s0: "+secagg.ErrShare.Error())
}

// Nobody is told a set that the control plane did not sign as what it is.
func TestAnUnsignedSetIsShownToNobody(t *testing.T) {
	tests := []struct {
		name   string
		bundle func(*fleet) artifact.Descriptor
	}{
		{"no bundle", func(f *fleet) artifact.Descriptor { return f.w.Keep(artifact.MediaTypeBundle, []byte(`{}`)) }},
		{"over another set", func(f *fleet) artifact.Descriptor { return f.sign(f.w.Keep("", []byte("another set"))) }},
		{"by a stranger", func(f *fleet) artifact.Descriptor {
			stranger := &fleet{t: f.t, w: activitytest.New()}
			bundle := stranger.sign(f.w.Sets["run-1/1/eu"])
			return f.w.Keep(artifact.MediaTypeBundle, stranger.w.Content[bundle.Digest])
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFleet(t, round.Train, nil)
			f.until(round.StageMask)
			f.commit(1)
			_, err := act(t, contract.AdvanceStage, f.secure().AdvanceStage, contract.AdvanceInput{StageRef: f.ref(round.StageMask), Seconds: 10, Signature: tt.bundle(f)})
			require.Equal(t, contract.BadPackage, kind(err))
			require.Empty(t, f.w.StageOf(f.ref(round.StageCheck)).Members)
		})
	}
}

// Steps out of order are final failures, not steps.
func TestNoStepIsSkipped(t *testing.T) {
	for _, closes := range []round.Stage{round.StageUpdate, round.StageShare, round.StageMask, round.StageCheck, round.StageUnmask} {
		t.Run(string(closes), func(t *testing.T) {
			f := newFleet(t, round.Train, nil)
			bundle := f.sign(f.w.Keep("", []byte("a set")))
			_, err := act(t, contract.AdvanceStage, f.secure().AdvanceStage, contract.AdvanceInput{StageRef: f.ref(closes), Seconds: 10, Signature: bundle})
			require.Equal(t, contract.BadPlan, kind(err), "%v", err)
			require.Empty(t, f.w.Told)
		})
	}
	f := newFleet(t, round.Train, nil)
	_, err := act(t, contract.AggregateMasked, aggregates(f.w).AggregateMasked, f.ref(round.StageUnmask))
	require.Equal(t, contract.BadPlan, kind(err), "%v", err)
	_, err = act(t, contract.CommitSurvivors, f.secure().CommitSurvivors, f.ref(round.StageMask))
	require.Equal(t, contract.BadPlan, kind(err), "%v", err)
}

// A worker that dies while it waits leaves a deadline behind; the next one
// opens nothing again and waits no longer.
func TestARestartOfAnAdvanceKeepsItsDeadline(t *testing.T) {
	f := newFleet(t, round.Train, nil)
	f.players[0].gone = round.StageShare
	f.until(round.StageAdvertise)
	next := f.advance(1, round.StageAdvertise, artifact.Descriptor{})
	require.Equal(t, round.Counts{Selected: 5, Accepted: 4}, next.Counts)
	require.Equal(t, noon.Add(10*time.Second), f.now, "it waited for the one that is gone")
	deadline := f.now.Add(4 * time.Second)
	_, err := act(t, contract.AdvanceStage, f.secure().AdvanceStage, contract.AdvanceInput{StageRef: f.ref(round.StageAdvertise), Seconds: 10},
		func(env *testsuite.TestActivityEnvironment) {
			env.SetHeartbeatDetails(map[string]any{"deadline": deadline})
		})
	require.NoError(t, err)
	require.Equal(t, deadline, f.now)
	require.Len(t, f.w.Told, 1)
}

// Central noise comes from what only who opens the sum knows, so that a retry
// cannot average it away.
func TestCentralNoiseIsTheSameInARetry(t *testing.T) {
	private := func(p *round.Params) {
		p.Secure.Ring = 64
		p.Privacy = round.Privacy{Mechanism: round.PrivacyCentral, Unit: round.UnitSite, NoiseMultiplier: 1, ClipNorm: 1, Delta: 1e-5}
	}
	f := newFleet(t, round.Train, private)
	got, cause := f.play(3)
	require.Empty(t, cause)
	one := f.noise(got, 0, 1, 2, 3, 4)

	f = newFleet(t, round.Train, private)
	f.players[2].gone = round.StageMask
	got, cause = f.play(1)
	require.Empty(t, cause)
	two := f.noise(got, 0, 1, 3, 4)
	for j := range one {
		require.Greater(t, math.Abs(one[j]-two[j]), 1e-6, "other survivors are other secrets, and other noise")
	}
}

// noise is what was added to the plain sum of these sites.
func (f *fleet) noise(r contract.RegionResult, sites ...int) (added []float64) {
	f.t.Helper()
	sum, err := artifact.ParseTensors(f.w.Content[r.Partial.Digest])
	require.NoError(f.t, err)
	for i, plain := range f.plain(sites...).Tensors {
		for j, v := range plain.F64 {
			added = append(added, sum[i].F64[j]-v)
		}
	}
	require.NotEmpty(f.t, added)
	return added
}
