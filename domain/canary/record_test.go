package canary_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
)

// climbed is the record of a rollout of one region that passed two steps, the
// second because people said so.
func climbed(t *testing.T) (canary.Design, []string, canary.Record) {
	t.Helper()
	d, regions := canary.Default("r"), []string{"eu"}
	d.SharesBP = []int{100, 5000, canary.Whole}
	steps := d.Steps(regions)
	r := canary.Record{Action: "promote-1", Outcome: "applied"}
	note := func(f canary.Fact) {
		f.Number = len(r.Facts) + 1
		r.Facts = append(r.Facts, f)
	}
	look := func(s canary.Step, a, b canary.Measure) canary.Verdict {
		l := canary.Judge(d, d.Judged(1), s, a, b)
		text, err := artifact.Canonical(l)
		require.NoError(t, err)
		r.Looks = append(r.Looks, l)
		note(canary.Fact{Kind: canary.FactLook, Step: s, Verdict: l.Verdict, Look: artifact.DigestOf(text)})
		return l.Verdict
	}
	note(canary.Fact{Kind: canary.FactStep, Step: steps[0]})
	require.Equal(t, canary.NoData, look(steps[0], canary.Measure{}, canary.Measure{}))
	require.Equal(t, canary.Pass, look(steps[0], measure(5000, 50, 40, 20), measure(5000, 52, 41, 20)))
	note(canary.Fact{Kind: canary.FactStep, Step: steps[1]})
	require.Equal(t, canary.NoData, look(steps[1], measure(40, 1, 40, 20), measure(40, 1, 41, 20)))
	note(canary.Fact{Kind: canary.FactHold, Step: steps[1]})
	note(canary.Fact{Kind: canary.FactAsk, Step: steps[1], Words: "approved, bob (owner) approve"})
	note(canary.Fact{Kind: canary.FactStep, Step: steps[2]})
	return d, regions, r
}

func TestARecordIsJudgedAgain(t *testing.T) {
	d, regions, r := climbed(t)
	require.NoError(t, r.Check(d, regions))
	require.True(t, r.Whole(d, regions))

	text, err := json.Marshal(r) // as it is kept
	require.NoError(t, err)
	var again canary.Record
	require.NoError(t, json.Unmarshal(text, &again))
	require.NoError(t, again.Check(d, regions))

	tests := []struct {
		name   string
		change func(*canary.Record, *canary.Design)
	}{
		{"a verdict that was turned", func(r *canary.Record, _ *canary.Design) { r.Facts[1].Verdict = canary.Pass }},
		{"numbers that were turned", func(r *canary.Record, _ *canary.Design) { r.Looks[1].Canary.Errors = 0 }},
		{"a finding that was turned", func(r *canary.Record, _ *canary.Design) {
			r.Looks[1].Findings[0].High = 0
			text, _ := artifact.Canonical(r.Looks[1])
			r.Facts[2].Look = artifact.DigestOf(text)
		}},
		{"a margin that was widened later", func(_ *canary.Record, d *canary.Design) { d.Guardrails[0].MarginBP = 9000 }},
		{"a step that was left out", func(r *canary.Record, _ *canary.Design) { r.Facts[3].Step = r.Facts[7].Step }},
		{"a step that nobody let go on", func(r *canary.Record, _ *canary.Design) { r.Facts[6].Kind = canary.FactHold }},
		{"a look that is missing", func(r *canary.Record, _ *canary.Design) { r.Looks = r.Looks[:2] }},
		{"a look too many", func(r *canary.Record, _ *canary.Design) { r.Looks = append(r.Looks, r.Looks[0]) }},
		{"a fact that is missing", func(r *canary.Record, _ *canary.Design) { r.Facts = r.Facts[1:] }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, regions, r := climbed(t)
			tt.change(&r, &d)
			require.ErrorIs(t, r.Check(d, regions), canary.ErrRecord)
		})
	}
}
