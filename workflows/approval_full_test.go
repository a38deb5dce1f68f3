package workflows_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

func said(v approval.Vote, decision string) approval.Vote {
	v.Decision, v.Approve, v.Reason = decision, decision == approval.Approve, "because"
	v.Statement = artifact.DigestOf([]byte(v.Approver + decision))
	return v
}

// The request: an owner and somebody of risk, two hours to decide, escalation
// after one, a cool-down of ten minutes, half an hour to begin.
func TestApprovalsToTheFull(t *testing.T) {
	bob, dan := script.Yes("bob", owner), script.Yes("dan", risk)
	oli := script.Yes("oli", approval.RoleOnCall)
	tests := []struct {
		name  string
		votes map[time.Duration]approval.Vote
		world func(*script.World)
		want  approval.Outcome
		begun bool
		calls map[string]int
	}{
		{"begins once its cool-down is over", map[time.Duration]approval.Vote{time.Minute: bob, 2 * time.Minute: dan}, nil, approval.Approved, true, map[string]int{"BeginBallot": 1, "TellBallot": 0}},
		{"is taken back in the cool-down", map[time.Duration]approval.Vote{time.Minute: bob, 2 * time.Minute: dan, 3 * time.Minute: said(bob, approval.Revoke)}, nil, approval.Revoked, false, map[string]int{"BeginBallot": 0}},
		{"lapses when it does not begin in time", map[time.Duration]approval.Vote{time.Minute: bob, 2 * time.Minute: dan}, func(w *script.World) { w.Began = opened().Add(24 * time.Hour) }, approval.Lapsed, false, map[string]int{"BeginBallot": 1}},
		{"is returned for changes", map[time.Duration]approval.Vote{time.Minute: bob, 2 * time.Minute: said(dan, approval.RequestChanges)}, nil, approval.Returned, false, map[string]int{"BeginBallot": 0}},
		{"asks others at half of the time", map[time.Duration]approval.Vote{61 * time.Minute: oli, 62 * time.Minute: dan}, nil, approval.Approved, true, map[string]int{"TellBallot": 1}},
		{"and not before", map[time.Duration]approval.Vote{59 * time.Minute: oli, 62 * time.Minute: dan}, nil, approval.Expired, false, nil},
		{"is pending again when a voter may vote no more", map[time.Duration]approval.Vote{time.Minute: bob, 2 * time.Minute: dan}, func(w *script.World) {
			w.Stands = approval.Standing{Revoked: []artifact.Digest{bob.Key}}
		}, approval.Expired, false, map[string]int{"BeginBallot": 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{}
			if tt.world != nil {
				tt.world(w)
			}
			env := environment(t, w)
			for after, v := range tt.votes {
				v.At = opened().Add(after)
				env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.CastVote.Name, script.Vote(v)) }, after)
			}
			env.ExecuteWorkflow(contract.Approval.Name, fullRequest())
			got := result[approval.Ballot](t, env)
			require.Equal(t, tt.want, got.Outcome)
			require.Equal(t, tt.begun, !got.BegunAt.IsZero())
			for activity, n := range tt.calls {
				require.Len(t, only(w, activity), n, activity)
			}
			kept := w.Ballots()
			require.Equal(t, got, kept[len(kept)-1])
		})
	}
}

// A proposal that expires ends its ballot, whatever the ballot's own times: by
// the same timers, and never by approving.
func TestABallotEndsWithItsProposal(t *testing.T) {
	bob, dan := script.Yes("bob", owner), script.Yes("dan", risk)
	tests := []struct {
		name  string
		after time.Duration // until the proposal expires
		votes map[time.Duration]approval.Vote
		want  approval.Outcome
		ends  time.Duration
	}{
		{"while it waits for votes", 30 * time.Minute, map[time.Duration]approval.Vote{time.Minute: bob, 31 * time.Minute: dan}, approval.Expired, 30 * time.Minute},
		{"in its cool-down", 6 * time.Minute, map[time.Duration]approval.Vote{time.Minute: bob, 2 * time.Minute: dan}, approval.Lapsed, 6 * time.Minute},
		{"and not before", 20 * time.Minute, map[time.Duration]approval.Vote{time.Minute: bob, 2 * time.Minute: dan}, approval.Approved, 12 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{}
			env := environment(t, w)
			for after, v := range tt.votes {
				v.At = opened().Add(after)
				env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.CastVote.Name, script.Vote(v)) }, after)
			}
			req := fullRequest()
			req.NotAfter = opened().Add(tt.after)
			env.ExecuteWorkflow(contract.Approval.Name, req)
			got := result[approval.Ballot](t, env)
			require.Equal(t, tt.want, got.Outcome)
			require.Equal(t, tt.want != approval.Approved, got.Aged())
			require.WithinDuration(t, opened().Add(tt.ends), env.Now(), time.Second)
		})
	}
}

func only(w *script.World, activity string) []string {
	var out []string
	for _, call := range w.Calls() {
		if call == activity || len(call) > len(activity) && call[:len(activity)+1] == activity+"/" && call != activity+"/ended" {
			out = append(out, call)
		}
	}
	return out
}

func fullRequest() approval.Request {
	req := script.Promotion(2).Request
	req.HoldSeconds, req.ExecuteSeconds, req.EscalateSeconds = 600, 1800, 3600
	req.Widened = [][]string{{owner, approval.RoleOnCall}, {risk}}
	req.Reserve = []approval.Approver{script.Person("oli", approval.RoleOnCall)}
	req.GlassRoles, req.Bearers = []string{approval.RoleOnCall}, req.Reserve
	req.Action.Loosens = false
	return req
}

func TestARevokedVoterIsReconsidered(t *testing.T) {
	w := &script.World{Stands: approval.Standing{Revoked: []artifact.Digest{script.Yes("bob", owner).Key}}}
	env := environment(t, w)
	send := func(v approval.Vote, after time.Duration) {
		v.At = opened().Add(after)
		env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.CastVote.Name, script.Vote(v)) }, after)
	}
	send(script.Yes("bob", owner), time.Minute)
	env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.Reconsider.Name, contract.Nothing{}) }, 2*time.Minute)
	send(script.Yes("dan", risk), 3*time.Minute)
	send(script.Yes("cyd", owner), 4*time.Minute)
	env.ExecuteWorkflow(contract.Approval.Name, fullRequest())

	got := result[approval.Ballot](t, env)
	require.Equal(t, approval.Approved, got.Outcome, "others fill the seat")
	require.Len(t, got.Withdrawn, 1)
	require.Equal(t, "bob", got.Withdrawn[0].Approver)
	require.Equal(t, 1, count(w, "CheckStanding"))
}

func TestABrokenGlassIsReviewedAfterwards(t *testing.T) {
	w := &script.World{}
	env := environment(t, w)
	v := said(script.Yes("oli", approval.RoleOnCall), approval.BreakGlass)
	v.At = opened().Add(time.Minute)
	env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.CastVote.Name, script.Vote(v)) }, time.Minute)
	// The review would stay open for ever: two others sign it off.
	id := contract.ApprovalID(approval.ReviewID(fullRequest().Action.ID))
	for i, v := range []approval.Vote{script.Yes("bob", owner), script.Yes("dan", risk)} {
		after := time.Duration(i+2) * time.Minute
		v.At = opened().Add(after)
		env.RegisterDelayedCallback(func() { _ = env.SignalWorkflowByID(id, contract.CastVote.Name, script.Vote(v)) }, after)
	}
	env.ExecuteWorkflow(contract.Approval.Name, fullRequest())

	got := result[approval.Ballot](t, env)
	require.True(t, got.Glass)
	require.Equal(t, v.At, got.BegunAt, "it waits for no cool-down")
	var review approval.Request
	for _, b := range w.Ballots() {
		if b.Request.Review != "" {
			review = b.Request
		}
	}
	require.Equal(t, approval.ReviewID(got.Request.Action.ID), review.Action.ID)
	require.Equal(t, got.Request.Action.ID, review.Review)
	require.Equal(t, "oli", review.Breaker)
}

func TestAReviewIsRemindedOfUntilItIsSigned(t *testing.T) {
	w := &script.World{}
	env := environment(t, w)
	req := fullRequest()
	req.Review, req.Breaker = "promote-0", "oli"
	req.EscalateSeconds, req.Widened = 0, nil
	for i, v := range []approval.Vote{script.Yes("oli", approval.RoleOnCall), script.Yes("bob", owner), script.Yes("dan", risk)} {
		after := 100*time.Hour + time.Duration(i)*time.Minute
		v.At = opened().Add(after)
		env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.CastVote.Name, script.Vote(v)) }, after)
	}
	env.ExecuteWorkflow(contract.Approval.Name, req)
	got := result[approval.Ballot](t, env)
	require.Equal(t, approval.Approved, got.Outcome)
	require.Len(t, got.Refused, 1, "whoever broke it signs nothing off")
	require.Len(t, only(w, "TellBallot"), 4, "every day")
	require.Empty(t, only(w, "BeginBallot"))
}
