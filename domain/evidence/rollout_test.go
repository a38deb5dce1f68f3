package evidence

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
)

// climbed keeps the record of a rollout that passed each step at its first look.
func (w *world) climbed() {
	d := *w.plan.Canary
	side := canary.Measure{Answers: 5000, Errors: 50, Sum: 4950 * 40, Squares: 4950 * 2000}
	r := canary.Record{Action: w.Promotion, Plan: artifact.DigestOf(w.Plan), Outcome: "applied", Looks: []canary.Look{}}
	for _, step := range d.Steps(w.plan.Regions) {
		r.Facts = append(r.Facts, canary.Fact{Number: len(r.Facts) + 1, Kind: canary.FactStep, Step: step})
		if step.Full() {
			continue
		}
		look := canary.Judge(d, d.Judged(len(w.plan.Regions)), step, side, side)
		text, err := artifact.Canonical(look)
		require.NoError(w.t, err)
		r.Looks = append(r.Looks, look)
		r.Facts = append(r.Facts, canary.Fact{Number: len(r.Facts) + 1, Kind: canary.FactLook, Step: step, Verdict: look.Verdict, Look: artifact.DigestOf(text)})
	}
	if w.turn != nil {
		w.turn(&r)
	}
	var err error
	w.Rollout, err = artifact.Canonical(r)
	require.NoError(w.t, err)
	w.note("canary.end", "promotion/"+w.Promotion, artifact.DigestOf(w.Rollout), "")
}

// rolledOut gives the promotion a canary.
func rolledOut(turn func(*canary.Record)) func(*world) {
	return func(w *world) {
		d := canary.Default("r")
		w.plan.Canary, w.turn = &d, turn
	}
}

func TestAPackShowsTheRollout(t *testing.T) {
	w := newWorld(t, rolledOut(nil))
	chain, err := w.pack().Verify(w.trust())
	require.NoError(t, err)
	i := slices.IndexFunc(chain.Links, func(l Link) bool { return l.What == "canary" })
	require.GreaterOrEqual(t, i, 0)
	require.Equal(t, "5 steps, 4 looks", chain.Links[i].Which)

	for name, tt := range map[string]struct {
		turn  func(*canary.Record)
		after func(*world, Pack)
		says  string
	}{
		"a record that is missing":             {after: func(_ *world, p Pack) { delete(p, rolloutFile) }, says: "there is no canary/record.json"},
		"a record that the log does not know":  {after: func(_ *world, p Pack) { p[rolloutFile] = append(p[rolloutFile], ' ') }, says: "canary.end"},
		"numbers that do not say what it says": {turn: func(r *canary.Record) { r.Looks[2].Canary.Errors = 4000 }, says: "another look"},
		"a ladder without its last step":       {turn: func(r *canary.Record) { r.Facts = r.Facts[:len(r.Facts)-1] }, says: "whole ladder"},
		"another promotion's":                  {turn: func(r *canary.Record) { r.Action = "promote-2" }, says: "of another promotion"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, rolledOut(tt.turn))
			p := w.pack()
			if tt.after != nil {
				tt.after(w, p)
			}
			_, err := p.Verify(w.trust())
			require.ErrorIs(t, err, ErrChain)
			require.ErrorContains(t, err, tt.says)
		})
	}
}
