package workflows_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/canary"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

// looks is a script of verdicts, one letter a look; the last one stays.
func looks(letters string) []canary.Verdict {
	var out []canary.Verdict
	for _, l := range letters {
		out = append(out, map[rune]canary.Verdict{'p': canary.Pass, 'f': canary.Fail, 'i': canary.Inconclusive, 'n': canary.NoData}[l])
	}
	return out
}

// climbed returns what was published, in order: "canary/eu/500", "give/eu".
func climbed(w *script.World) []string {
	var out []string
	for _, c := range w.Calls() {
		if step, ok := strings.CutPrefix(c, "PublishSnapshot/"); ok {
			out = append(out, step)
		}
	}
	return out
}

// steer asks a rollout for something, as an update does, and returns where to
// read the answer once the environment has run.
func steer(env *testsuite.TestWorkflowEnvironment, after time.Duration, do string) *error {
	answer := new(error)
	*answer = fmt.Errorf("nobody answered %s", do)
	env.RegisterDelayedCallback(func() {
		env.UpdateWorkflow(contract.Steering.Name, do+after.String(), &testsuite.TestUpdateCallback{
			OnAccept:   func() {},
			OnReject:   func(err error) { *answer = err },
			OnComplete: func(_ any, err error) { *answer = err },
		}, contract.Steer{Actor: "olga", Do: do, Reason: "lunch"})
	}, after)
	return answer
}

var ladder = []string{"canary/eu/500", "canary/eu/5000", "give/eu", "canary/us/500", "canary/us/5000", "give/us"}

func TestCanary(t *testing.T) {
	// A step bakes a minute, is looked at every 20 s and has 100 s.
	tests := []struct {
		name    string
		looks   string
		votes   map[string][]approval.Vote // by ballot, one a minute
		errors  map[string]error
		outcome string
		cause   string
		steps   []string
	}{
		{"climbs while it passes", "p", map[string][]approval.Vote{"half": {script.Yes("bob", owner)}}, nil, "applied", "", ladder},
		{"goes back at the first failure", "pf", nil, nil, "failed", "5 % of eu failed: errors FAIL", ladder[:1]},
		{"waits for what is too little, and goes on when there is enough", "nnppp", map[string][]approval.Vote{"half": {script.Yes("bob", owner)}}, nil, "applied", "", ladder},
		{"goes back when nobody says that the unclear is good enough", "i", nil, nil, "expired", "the ballot expired", ladder[:1]},
		{"goes back when somebody says that it is not", "i", map[string][]approval.Vote{"hold-1": {script.No("bob", owner, "no")}}, nil, "rejected", "rejected by bob: no", ladder[:1]},
		{"goes on when people say so", "iiiiip", map[string][]approval.Vote{"hold-1": {script.Yes("bob", owner)}, "half": {script.Yes("bob", owner)}}, nil, "applied", "", ladder},
		{"goes back by itself while people think", "nnnnnf", nil, nil, "failed", "5 % of eu failed: errors FAIL", ladder[:1]},
		{"goes on by itself when the numbers come while people think", "nnnnnp", map[string][]approval.Vote{"half": {script.Yes("bob", owner)}}, nil, "applied", "", ladder},
		{"does not reach half without people", "p", map[string][]approval.Vote{"half": {script.No("bob", owner, "not today")}}, nil, "rejected", "rejected by bob: not today", ladder[:1]},
		{"ends when a region does not load", "p", nil, map[string]error{"AwaitActive/canary/eu": script.Final("", "x")}, "failed", "eu: AwaitActive failed", ladder[:1]},
		{"ends when another hand moves the route", "p", nil, map[string]error{"PublishSnapshot/canary": stale()}, "stale", "the version that serves was 3 and is 5", ladder[:1]},
		{"ends when it may not be written", "p", nil, map[string]error{"PublishSnapshot/canary": script.Final(contract.NoGrant, "no grant")}, "failed", "no grant", ladder[:1]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{Looks: looks(tt.looks), Errors: tt.errors}
			env := environment(t, w)
			voteWhenAsked(env, w, tt.votes)
			env.ExecuteWorkflow(contract.Canary.Name, script.CanaryInput())

			got := result[contract.CanaryResult](t, env)
			require.Equal(t, tt.outcome, got.Outcome, got.Cause)
			require.Equal(t, tt.cause, got.Cause)
			require.Equal(t, tt.steps, climbed(w))
			require.NotEmpty(t, got.Record)
			facts := w.Facts()
			for i, f := range facts {
				require.Equal(t, i+1, f.Number, "no fact is missing: %+v", facts)
			}
			if tt.outcome == "applied" {
				require.Len(t, got.Evidence, 2, "each region says that it serves the version")
				require.Equal(t, 1, count(w, "AskAgain/promote-1-half"), "once in a rollout")
			} else if len(facts) > 0 {
				require.Equal(t, canary.FactBack, facts[len(facts)-1].Kind)
			}
		})
	}
}

var shadows = []string{"shadow/eu/1000", "shadow/us/1000"}

// A shadow comes first, in every region, and goes as the other steps do: what
// fails in it has answered nobody.
func TestACanaryWithAShadow(t *testing.T) {
	yes := script.Yes("bob", owner)
	tests := []struct {
		name    string
		looks   string
		votes   map[string][]approval.Vote
		outcome string
		cause   string
		steps   []string
	}{
		{"climbs when it has passed", "p", map[string][]approval.Vote{"half": {yes}}, "applied", "", slices.Concat(shadows, ladder)},
		{"ends when it fails", "pf", nil, "failed", "shadow of 10 % of eu failed: errors FAIL", shadows[:1]},
		{"ends when it fails in the second region", "ppppf", nil, "failed", "shadow of 10 % of us failed: errors FAIL", shadows},
		{"waits for people when there is nothing to see", "n", nil, "expired", "the ballot expired", shadows[:1]},
		{"goes on when people say so", "nnnnnp", map[string][]approval.Vote{"hold-1": {yes}, "half": {yes}}, "applied", "", slices.Concat(shadows, ladder)},
		{"ends when people say so", "n", map[string][]approval.Vote{"hold-1": {script.No("bob", owner, "no")}}, "rejected", "rejected by bob: no", shadows[:1]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{Looks: looks(tt.looks)}
			env := environment(t, w)
			voteWhenAsked(env, w, tt.votes)
			env.ExecuteWorkflow(contract.Canary.Name, script.Shadowed())
			got := result[contract.CanaryResult](t, env)
			require.Equal(t, tt.outcome, got.Outcome, got.Cause)
			require.Equal(t, tt.cause, got.Cause)
			require.Equal(t, tt.steps, climbed(w))
			for i, f := range w.Facts() {
				require.Equal(t, i+1, f.Number)
				if f.Kind == canary.FactStep && f.Number == 1 {
					require.Equal(t, canary.Step{Number: 1, Region: "eu", MirrorBP: 1000}, f.Step)
				}
			}
		})
	}
	t.Run("is paused, resumed and aborted in it", func(t *testing.T) {
		w := &script.World{Looks: looks("p")}
		env := environment(t, w)
		paused := steer(env, 30*time.Second, "pause")
		var at []string
		env.RegisterDelayedCallback(func() { at = climbed(w) }, time.Hour)
		resumed, aborted := steer(env, time.Hour+time.Second, "resume"), steer(env, time.Hour+2*time.Second, "abort")
		env.ExecuteWorkflow(contract.Canary.Name, script.Shadowed())
		got := result[contract.CanaryResult](t, env)
		for _, err := range []error{*paused, *resumed, *aborted} {
			require.NoError(t, err)
		}
		require.Equal(t, shadows[:1], at, "an hour later it is where it was")
		require.Equal(t, []any{"failed", "aborted by olga: lunch"}, []any{got.Outcome, got.Cause})
		require.Equal(t, shadows[:1], climbed(w))
	})
}

// voteWhenAsked casts the votes of each ballot a minute after it was opened.
func voteWhenAsked(env *testsuite.TestWorkflowEnvironment, w *script.World, votes map[string][]approval.Vote) {
	w.OnCall = func(key string) {
		ballot, ok := strings.CutPrefix(key, "AskAgain/promote-1-")
		if !ok {
			return
		}
		at := env.Now()
		for i, v := range votes[ballot] {
			v.At = at.Add(time.Duration(i+1) * time.Minute)
			env.RegisterDelayedCallback(func() {
				_ = env.SignalWorkflowByID(contract.ApprovalID("promote-1-"+ballot), contract.CastVote.Name, script.Vote(v))
			}, time.Duration(i+1)*time.Minute)
		}
	}
}

func TestACanaryIsSteered(t *testing.T) {
	yes := map[string][]approval.Vote{"half": {script.Yes("bob", owner)}}
	t.Run("paused, it keeps its share and is looked at; resumed, it goes on", func(t *testing.T) {
		w := &script.World{Looks: looks("p")}
		env := environment(t, w)
		voteWhenAsked(env, w, yes)
		paused, again := steer(env, 30*time.Second, "pause"), steer(env, 40*time.Second, "pause")
		var at []string
		env.RegisterDelayedCallback(func() { at = climbed(w) }, time.Hour)
		resumed := steer(env, time.Hour+time.Second, "resume")
		env.ExecuteWorkflow(contract.Canary.Name, script.CanaryInput())

		require.Equal(t, "applied", result[contract.CanaryResult](t, env).Outcome)
		require.NoError(t, *paused)
		require.Equal(t, contract.NotSteered, kindOf(*again), "%v", *again)
		require.NoError(t, *resumed)
		require.Equal(t, ladder[:1], at, "an hour later it is where it was")
		require.Equal(t, ladder, climbed(w), "no step is taken twice")
		var who []string
		for _, f := range w.Facts() {
			if f.Actor == "olga" {
				who = append(who, f.Kind)
			}
		}
		require.Equal(t, []string{"pause", "resume"}, who)
		require.Greater(t, count(w, "LookCanary/eu/500"), 10, "it is watched while it is paused")
	})
	t.Run("paused, it still goes back by itself", func(t *testing.T) {
		w := &script.World{Looks: looks("ppf")}
		env := environment(t, w)
		steer(env, 5*time.Second, "pause")
		env.ExecuteWorkflow(contract.Canary.Name, script.CanaryInput())
		got := result[contract.CanaryResult](t, env)
		require.Equal(t, "failed", got.Outcome)
		require.Equal(t, "5 % of eu failed: errors FAIL", got.Cause)
	})
	t.Run("aborted, it ends", func(t *testing.T) {
		for _, looked := range []string{"p", "n"} { // on its way, and held
			w := &script.World{Looks: looks(looked)}
			env := environment(t, w)
			aborted := steer(env, 2*time.Minute+30*time.Second, "abort")
			env.ExecuteWorkflow(contract.Canary.Name, script.CanaryInput())
			got := result[contract.CanaryResult](t, env)
			require.NoError(t, *aborted)
			require.Equal(t, "failed", got.Outcome)
			require.Equal(t, "aborted by olga: lunch", got.Cause)
		}
	})
	t.Run("held, it is given more time", func(t *testing.T) {
		w := &script.World{Looks: looks("nnnnnpppp")}
		env := environment(t, w)
		voteWhenAsked(env, w, yes)
		resumed := steer(env, 110*time.Second, "resume")
		env.ExecuteWorkflow(contract.Canary.Name, script.CanaryInput())
		require.NoError(t, *resumed)
		require.Equal(t, "applied", result[contract.CanaryResult](t, env).Outcome)
	})
	t.Run("nonsense is turned away", func(t *testing.T) {
		w := &script.World{Looks: looks("p")}
		env := environment(t, w)
		voteWhenAsked(env, w, yes)
		resume, dance := steer(env, 10*time.Second, "resume"), steer(env, 11*time.Second, "dance")
		env.ExecuteWorkflow(contract.Canary.Name, script.CanaryInput())
		require.Equal(t, contract.NotSteered, kindOf(*resume))
		require.Equal(t, contract.NotSteered, kindOf(*dance))
	})
}

// A promotion with a canary ends as its rollout does, and what does not end
// well goes back, without a look.
func TestAPromotionClimbs(t *testing.T) {
	tests := []struct {
		name    string
		looks   string
		outcome string
		last    string
		cause   string
	}{
		{"and serves", "p", "applied", "give/us", ""},
		{"and goes back", "ppf", "failed", "back/eu,us", "5 % of eu failed: errors FAIL; switched back to version 3"},
		{"and goes back when nobody answers", "n", "expired", "back/eu,us", "the ballot expired; switched back to version 3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{Checked: script.Rollout(0), Looks: looks(tt.looks)}
			env := environment(t, w)
			voteWhenAsked(env, w, map[string][]approval.Vote{"half": {script.Yes("bob", owner)}})
			env.ExecuteWorkflow(contract.ModelPromotion.Name, promotionInput())
			got := result[contract.PromotionResult](t, env)
			require.Equal(t, tt.outcome, got.Outcome)
			require.Equal(t, tt.cause, got.Cause)
			steps := climbed(w)
			require.Equal(t, "load/eu,us", steps[0])
			require.Equal(t, tt.last, steps[len(steps)-1])
			calls := w.Calls()
			if tt.outcome != "applied" {
				at := slices.Index(calls, "PublishSnapshot/back/eu,us")
				require.NotContains(t, strings.Join(calls[at:], " "), "LookCanary", "nobody looks on the way back")
			}
			require.Equal(t, script.Grant("promotion", "promote-1"), w.Outcomes()[0].Grant)
		})
	}
}

func TestACanaryOfAPromotionThatIsCanceledGoesBack(t *testing.T) {
	w := &script.World{Checked: script.Rollout(0), Looks: looks("p")}
	env := environment(t, w)
	w.OnCall = func(key string) {
		if key == "LookCanary/eu/500" {
			env.CancelWorkflow()
		}
	}
	env.ExecuteWorkflow(contract.ModelPromotion.Name, promotionInput())
	require.True(t, temporal.IsCanceledError(env.GetWorkflowError()), "%v", env.GetWorkflowError())
	steps := climbed(w)
	require.Equal(t, "back/eu,us", steps[len(steps)-1])
	require.Equal(t, "it was canceled; switched back to version 3", w.Outcomes()[0].Cause)
}

// Whatever is killed at whatever step, the rollout resumes where it was: every
// activity fails once, before and after its effect, and the steps are the same.
func TestACanaryOutlastsAFailureOfEachStep(t *testing.T) {
	yes := map[string][]approval.Vote{"half": {script.Yes("bob", owner)}}
	w := &script.World{Checked: script.Rollout(0), Looks: looks("p")}
	env := environment(t, w)
	voteWhenAsked(env, w, yes)
	env.ExecuteWorkflow(contract.ModelPromotion.Name, promotionInput())
	require.Equal(t, "applied", result[contract.PromotionResult](t, env).Outcome)
	whole, steps := w.Calls(), climbed(w)
	var names []string
	for _, c := range whole {
		if !slices.Contains(names, c) {
			names = append(names, c)
		}
	}
	require.Greater(t, len(names), 15)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			w := &script.World{Checked: script.Rollout(0), Looks: looks("p"), Passing: map[string]int{name: 2}}
			env := environment(t, w)
			voteWhenAsked(env, w, yes)
			env.ExecuteWorkflow(contract.ModelPromotion.Name, promotionInput())
			require.Equal(t, "applied", result[contract.PromotionResult](t, env).Outcome)
			require.Equal(t, steps, slices.Compact(climbed(w)), "the same steps in the same order")
			for i, f := range w.Facts() {
				require.Equal(t, i+1, f.Number)
			}
		})
	}
}
