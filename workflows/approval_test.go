package workflows_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/tests/replay/script"
)

const owner, risk = approval.RoleOwner, approval.RoleRisk

// With the first requirement below, Approval is asked for two seats: an owner
// and somebody of risk. Votes come one a minute.
func TestApproval(t *testing.T) {
	stranger := script.Yes("eve", owner)
	otherKey := script.Yes("bob", owner)
	otherKey.Key = script.Person("eve", owner).Key
	forged := script.Yes("bob", owner)
	forged.Refused = "the signature does not verify"
	again := script.Yes("bob", owner)
	again.Statement = script.Blob("a second statement of bob").Digest

	tests := []struct {
		name    string
		need    int
		votes   []approval.Vote
		want    approval.Outcome
		counted int
		refused []string
	}{
		{"proceeds with one approval", 1, []approval.Vote{script.Yes("bob", owner)}, approval.Approved, 1, nil},
		{"proceeds when both seats are filled", 2, []approval.Vote{script.Yes("bob", owner), script.Yes("dan", risk)}, approval.Approved, 2, nil},
		{"waits in vain for the other seat", 2, []approval.Vote{script.Yes("bob", owner), script.Yes("cyd", owner)}, approval.Expired, 2, nil},
		{"ignores the requester's own vote", 1, []approval.Vote{script.Yes("ann", owner)}, approval.Expired, 0, []string{approval.ErrOwnVote.Error()}},
		{"ignores a stranger", 1, []approval.Vote{stranger}, approval.Expired, 0, []string{approval.ErrStranger.Error()}},
		{"ignores a known name with another key", 1, []approval.Vote{otherKey}, approval.Expired, 0, []string{approval.ErrStranger.Error()}},
		{"ignores a vote that does not verify, and says so", 1, []approval.Vote{forged}, approval.Expired, 0, []string{"the signature does not verify"}},
		{"counts one person once", 2, []approval.Vote{script.Yes("bob", owner), again}, approval.Expired, 1, []string{approval.ErrTwice.Error()}},
		{"counts one statement once, however often it arrives", 2, []approval.Vote{script.Yes("bob", owner), script.Yes("bob", owner)}, approval.Expired, 1, nil},
		{"stops at the first vote against", 2, []approval.Vote{script.No("bob", owner, "no evidence"), script.Yes("dan", risk)}, approval.Rejected, 1, nil},
		{"is not stopped by a stranger's vote against", 1, []approval.Vote{script.No("eve", owner, "no"), script.Yes("bob", owner)}, approval.Approved, 1, []string{approval.ErrStranger.Error()}},
		{"expires without a vote", 1, nil, approval.Expired, 0, nil},
		{"needs nobody", 0, nil, approval.Approved, 0, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &script.World{}
			env := environment(t, w)
			req := script.Promotion(tt.need).Request
			for i, v := range tt.votes {
				after := time.Duration(i+1) * time.Minute
				v.At = opened().Add(after)
				env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.CastVote.Name, script.Vote(v)) }, after)
			}
			env.ExecuteWorkflow(contract.Approval.Name, req)

			got := result[approval.Ballot](t, env)
			require.Equal(t, tt.want, got.Outcome)
			require.Len(t, got.Votes, tt.counted)
			var refused []string
			for _, v := range got.Refused {
				refused = append(refused, v.Refused)
			}
			require.Equal(t, tt.refused, refused)
			kept := w.Ballots()
			require.Equal(t, got, kept[len(kept)-1], "the end is recorded before it leaves")
		})
	}
}

func TestApprovalExpiresOnTime(t *testing.T) {
	w := &script.World{}
	env := environment(t, w)
	late := script.Yes("bob", owner)
	late.At = opened().Add(2*time.Hour + time.Second)
	env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.CastVote.Name, script.Vote(late)) }, 2*time.Hour-time.Second)
	env.ExecuteWorkflow(contract.Approval.Name, script.Promotion(1).Request)

	got := result[approval.Ballot](t, env)
	require.Equal(t, approval.Expired, got.Outcome, "signed after the end, by the verifier's clock")
	require.Equal(t, approval.ErrExpired.Error(), got.Refused[0].Refused)
	require.WithinDuration(t, opened().Add(2*time.Hour), env.Now(), time.Minute)
}

func TestApprovalRecordsEveryVoteOnce(t *testing.T) {
	w := &script.World{Passing: map[string]int{"RecordBallot": 6, "VerifyVote": 3}, Errors: map[string]error{}}
	env := environment(t, w)
	for i := range 30 { // all at once, none may be lost although recording fails
		v := script.Yes(fmt.Sprintf("stranger-%d", i), owner)
		env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.CastVote.Name, script.Vote(v)) }, time.Minute)
	}
	env.ExecuteWorkflow(contract.Approval.Name, script.Promotion(1).Request)

	require.Len(t, result[approval.Ballot](t, env).Refused, 30)
	seen := map[string]bool{}
	for i, b := range w.Ballots() {
		for _, v := range b.Refused {
			seen[v.Approver] = true
		}
		require.LessOrEqual(t, len(b.Refused), i, "one more vote a record: none can roll off unseen")
	}
	require.Len(t, seen, 30)
}

func TestApprovalOutlastsANoticeThatNeverArrives(t *testing.T) {
	w := &script.World{Passing: map[string]int{"NotifyApprovers": 1 << 30}}
	env := environment(t, w)
	v := script.Yes("bob", owner)
	env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.CastVote.Name, script.Vote(v)) }, time.Minute)
	env.ExecuteWorkflow(contract.Approval.Name, script.Promotion(1).Request)
	require.Equal(t, approval.Approved, result[approval.Ballot](t, env).Outcome)
	require.Positive(t, count(w, "NotifyApprovers"))
}

func TestApprovalIgnoresWhatIsNoVote(t *testing.T) {
	w := &script.World{}
	env := environment(t, w)
	env.RegisterDelayedCallback(func() {
		env.SignalWorkflow(contract.CastVote.Name, 42)
		env.SignalWorkflow(contract.CastVote.Name, contract.SignedVote{})
		env.SignalWorkflow(contract.CastVote.Name, contract.SignedVote{Bundle: "no JSON"})
		env.SignalWorkflow(contract.CastVote.Name, script.Vote(script.Yes("bob", owner)))
	}, time.Minute)
	env.ExecuteWorkflow(contract.Approval.Name, script.Promotion(1).Request)

	got := result[approval.Ballot](t, env)
	require.Equal(t, approval.Approved, got.Outcome)
	require.Len(t, got.Refused, 1, "only what looked like a vote is kept")
}

func TestApprovalTakesAVerifierThatGivesUpForARefusal(t *testing.T) {
	w := &script.World{Errors: map[string]error{"VerifyVote": script.Final("sigstore", "internal text")}}
	env := environment(t, w)
	env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.CastVote.Name, script.Vote(script.Yes("bob", owner))) }, time.Minute)
	env.ExecuteWorkflow(contract.Approval.Name, script.Promotion(1).Request)

	got := result[approval.Ballot](t, env)
	require.Equal(t, approval.Expired, got.Outcome)
	require.Equal(t, approval.ErrUnverified.Error(), got.Refused[0].Refused)
}

func TestApprovalCanceledIsExpired(t *testing.T) {
	w := &script.World{}
	env := environment(t, w)
	env.RegisterDelayedCallback(func() { // together: the vote has arrived, and nobody has looked at it
		env.SignalWorkflow(contract.CastVote.Name, script.Vote(script.Yes("bob", owner)))
		env.CancelWorkflow()
	}, time.Minute)
	env.ExecuteWorkflow(contract.Approval.Name, script.Promotion(1).Request)

	require.True(t, temporal.IsCanceledError(env.GetWorkflowError()), "%v", env.GetWorkflowError())
	kept := w.Ballots()
	last := kept[len(kept)-1]
	require.Equal(t, approval.Expired, last.Outcome)
	require.Len(t, last.Refused, 1, "a vote that arrived is recorded, also when it is too late")
	require.Equal(t, approval.ErrClosed.Error(), last.Refused[0].Refused)
}

func TestApprovalRecordsWhatArrivesWhileItEnds(t *testing.T) {
	w := &script.World{}
	env := environment(t, w)
	var once sync.Once
	w.OnCall = func(key string) {
		if key == "VerifyVote" { // of the vote that decides
			once.Do(func() { env.SignalWorkflow(contract.CastVote.Name, script.Vote(script.Yes("cyd", owner))) })
		}
	}
	env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.CastVote.Name, script.Vote(script.Yes("bob", owner))) }, time.Minute)
	env.ExecuteWorkflow(contract.Approval.Name, script.Promotion(1).Request)

	got := result[approval.Ballot](t, env)
	require.Equal(t, approval.Approved, got.Outcome)
	require.Len(t, got.Refused, 1)
	require.Equal(t, approval.ErrClosed.Error(), got.Refused[0].Refused)
	kept := w.Ballots()
	require.Equal(t, got, kept[len(kept)-1])
}

// answer collects what an update is answered with.
type answer struct {
	rejected error
	ballot   approval.Ballot
	err      error
}

func (a *answer) Accept()          {}
func (a *answer) Reject(err error) { a.rejected = err }
func (a *answer) Complete(v any, err error) {
	a.err = err
	if b, ok := v.(approval.Ballot); ok {
		a.ballot = b
	}
}

func TestVoteNowAnswersAtOnce(t *testing.T) {
	w := &script.World{}
	env := environment(t, w)
	own, second, first, late := &answer{}, &answer{}, &answer{}, &answer{}
	var asked approval.Ballot
	send := func(id string, a *answer, v approval.Vote, after time.Duration) {
		v.At = opened().Add(after)
		env.RegisterDelayedCallback(func() { env.UpdateWorkflow(contract.VoteNow.Name, id, a, script.Vote(v)) }, after)
	}
	send("u1", own, script.Yes("ann", owner), time.Minute)
	send("u2", first, script.Yes("bob", owner), 2*time.Minute)
	again := script.Yes("bob", owner)
	again.Statement = script.Blob("another").Digest
	send("u3", second, again, 3*time.Minute)
	env.RegisterDelayedCallback(func() {
		value, err := env.QueryWorkflow(contract.BallotNow.Name)
		require.NoError(t, err)
		require.NoError(t, value.Get(&asked))
	}, 4*time.Minute)
	send("u4", &answer{}, script.Yes("dan", risk), 5*time.Minute)
	w.OnCall = func(key string) {
		if last := w.Ballots(); key == "RecordBallot" && len(last) > 0 && last[len(last)-1].Outcome == approval.Approved {
			env.UpdateWorkflow(contract.VoteNow.Name, "u5", late, script.Vote(script.Yes("cyd", owner)))
		}
	}
	env.ExecuteWorkflow(contract.Approval.Name, script.Promotion(2).Request)

	require.Equal(t, approval.Approved, result[approval.Ballot](t, env).Outcome)
	var app *temporal.ApplicationError
	require.ErrorAs(t, own.err, &app)
	require.Equal(t, contract.VoteRefused, app.Type())
	require.Equal(t, "the vote of ann does not count: nobody decides on their own request", app.Message())
	var after approval.Ballot
	require.NoError(t, app.Details(&after))
	require.Len(t, after.Refused, 1, "the answer holds the ballot all the same")

	require.NoError(t, first.err)
	require.Len(t, first.ballot.Votes, 1)
	require.ErrorAs(t, second.err, &app)
	require.Equal(t, contract.VoteRefused, app.Type())
	require.Equal(t, 1, asked.Missing())
	require.ErrorAs(t, late.rejected, &app)
	require.Equal(t, contract.BallotClosed, app.Type())
}

func TestVoteNowRefusesWhatIsNoBundle(t *testing.T) {
	for name, bundle := range map[string]string{"an empty one": "", "one that is too long": string(make([]byte, 64<<10+1))} {
		t.Run(name, func(t *testing.T) {
			w := &script.World{}
			env := environment(t, w)
			a := &answer{}
			env.RegisterDelayedCallback(func() {
				env.UpdateWorkflow(contract.VoteNow.Name, "u1", a, contract.SignedVote{Bundle: bundle})
			}, time.Minute)
			env.ExecuteWorkflow(contract.Approval.Name, script.Promotion(1).Request)
			require.Error(t, a.rejected)
			require.Zero(t, count(w, "VerifyVote"), "nothing was looked at")
		})
	}
}

func TestApprovalSurvivesAFlood(t *testing.T) {
	w := &script.World{}
	env := environment(t, w)
	env.SetTestTimeout(time.Minute)
	for i := range 450 {
		v := script.Yes(fmt.Sprintf("bot-%d", i), owner)
		env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.CastVote.Name, script.Vote(v)) }, time.Minute)
	}
	env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.CastVote.Name, script.Vote(script.Yes("bob", owner))) }, time.Hour)
	env.ExecuteWorkflow(contract.Approval.Name, script.Promotion(1).Request)

	require.Equal(t, approval.Expired, result[approval.Ballot](t, env).Outcome, "a flood can only reject")
	require.Equal(t, 400, count(w, "VerifyVote"))
}
