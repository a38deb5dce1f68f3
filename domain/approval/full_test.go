package approval_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
)

func says(v approval.Vote, decision string) approval.Vote {
	v.Decision, v.Approve, v.Reason = decision, decision == approval.Approve, "because"
	v.Statement = artifact.DigestOf([]byte(string(v.Statement) + decision))
	return v
}

func delegated(to, from, role string) approval.Vote {
	v := by(to, role, true)
	v.For, v.Delegation = from, artifact.DigestOf([]byte(from+to))
	v.Statement = artifact.DigestOf([]byte("for " + from + " by " + to))
	return v
}

// full is a request under which everything is allowed: seats of an owner and of
// risk or platform; ann asks, tom has trained.
func full(t *testing.T, change func(*approval.Ask)) approval.Request {
	t.Helper()
	a := ask(production(60), person("bob", "owner"), person("cyd", "owner"), person("dan", "risk"), person("tom", "owner"),
		person("oli", "on-call"), person("sue", "security"), person("ann", "owner"))
	a.Action.Rollback, a.Action.Loosens = false, false
	a.Trainers = []string{"tom"}
	a.Rules = approval.Rules{BarTrainer: true, ExecuteSeconds: 600, HoldSeconds: 300, HoldRisk: 50, EscalatePercent: 50, GlassRoles: []string{"on-call", "owner"}}
	change(&a)
	req, err := approval.NewRequest(a)
	require.NoError(t, err)
	return req
}

func as(*approval.Ask) {}

func TestDecisions(t *testing.T) {
	bob, cyd, dan := by("bob", "owner", true), by("cyd", "owner", true), by("dan", "risk", true)
	oli := by("oli", "on-call", true)
	tests := []struct {
		name  string
		votes []approval.Vote
		want  approval.Outcome
		err   error // of the last vote
		left  int   // votes that count
	}{
		{"changes are requested", []approval.Vote{bob, says(dan, approval.RequestChanges)}, approval.Returned, nil, 2},
		{"who approved may reject after all", []approval.Vote{bob, says(bob, approval.Reject)}, approval.Rejected, nil, 1},
		{"who approved takes it back while it waits", []approval.Vote{bob, says(bob, approval.Revoke)}, approval.Pending, nil, 0},
		{"and again approves by a new statement", []approval.Vote{bob, says(bob, approval.Revoke), says(bob, approval.Approve)}, approval.Pending, nil, 1},
		{"but the old statement is no vote again", []approval.Vote{bob, says(bob, approval.Revoke), bob}, approval.Pending, approval.ErrReplay, 0},
		{"nobody takes back what they did not give", []approval.Vote{bob, says(cyd, approval.Revoke)}, approval.Pending, approval.ErrNothing, 1},
		{"an approval is taken back before it has begun", []approval.Vote{bob, dan, says(bob, approval.Revoke)}, approval.Revoked, nil, 1},
		{"by those who gave it only", []approval.Vote{bob, dan, says(cyd, approval.Revoke)}, approval.Approved, approval.ErrClosed, 2},
		{"and void by their later rejection", []approval.Vote{bob, dan, says(dan, approval.Reject)}, approval.Rejected, nil, 2},
		{"nobody joins an approved ballot", []approval.Vote{bob, dan, says(cyd, approval.Reject)}, approval.Approved, approval.ErrClosed, 2},
		{"the trainer does not decide", []approval.Vote{by("tom", "owner", true)}, approval.Pending, approval.ErrTrainer, 0},
		{"nor does the trainer reject", []approval.Vote{says(by("tom", "owner", true), approval.Reject)}, approval.Pending, approval.ErrTrainer, 0},
		{"an on-call does not decide before escalation", []approval.Vote{oli}, approval.Pending, approval.ErrStranger, 0},
		{"one of a stated role breaks the glass", []approval.Vote{says(oli, approval.BreakGlass)}, approval.Approved, nil, 1},
		{"the requester too", []approval.Vote{says(by("ann", "owner", true), approval.BreakGlass)}, approval.Approved, nil, 1},
		{"another role does not", []approval.Vote{says(dan, approval.BreakGlass)}, approval.Pending, approval.ErrBearer, 0},
		{"a delegate fills the seat", []approval.Vote{delegated("zoe", "bob", "owner"), dan}, approval.Approved, nil, 2},
		{"and then the delegator has voted", []approval.Vote{delegated("zoe", "bob", "owner"), bob}, approval.Pending, approval.ErrTwice, 1},
		{"or the other way round", []approval.Vote{bob, delegated("zoe", "bob", "owner")}, approval.Pending, approval.ErrTwice, 1},
		{"one delegate of two people is one person", []approval.Vote{delegated("zoe", "bob", "owner"), delegated("zoe", "dan", "risk")}, approval.Pending, approval.ErrTwice, 1},
		{"an approver who stands in is one person", []approval.Vote{bob, delegated("bob", "dan", "risk")}, approval.Pending, approval.ErrTwice, 1},
		{"the delegator takes back what a delegate gave", []approval.Vote{delegated("zoe", "bob", "owner"), says(bob, approval.Revoke)}, approval.Pending, nil, 0},
		{"the requester is nobody's delegate", []approval.Vote{delegated("ann", "bob", "owner")}, approval.Pending, approval.ErrOwnVote, 0},
		{"nor is the trainer", []approval.Vote{delegated("tom", "bob", "owner")}, approval.Pending, approval.ErrTrainer, 0},
		{"nobody stands in for the requester", []approval.Vote{delegated("zoe", "ann", "owner")}, approval.Pending, approval.ErrOwnVote, 0},
		{"nobody stands in for a stranger", []approval.Vote{delegated("zoe", "eve", "owner")}, approval.Pending, approval.ErrDelegate, 0},
		{"nobody stands in without a delegation", []approval.Vote{change(delegated("zoe", "bob", "owner"), func(v *approval.Vote) { v.Delegation = "" })}, approval.Pending, approval.ErrDelegate, 0},
		{"a delegate does not break the glass", []approval.Vote{says(delegated("zoe", "bob", "owner"), approval.BreakGlass)}, approval.Pending, approval.ErrBearer, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := approval.Open(full(t, as))
			var err error
			for i, v := range tt.votes {
				if b, err = b.Cast(v); i < len(tt.votes)-1 {
					require.NoError(t, err)
				}
			}
			require.ErrorIs(t, err, tt.err)
			require.Equal(t, tt.want, b.Outcome)
			require.Len(t, b.Votes, tt.left)
		})
	}
}

func TestGlassIsForWhatProtects(t *testing.T) {
	glass := says(by("oli", "on-call", true), approval.BreakGlass)
	for name, tt := range map[string]struct {
		change func(*approval.Ask)
		err    error
	}{
		"what loosens":               {func(a *approval.Ask) { a.Action.Loosens = true }, approval.ErrGlass},
		"a rollback, which loosens":  {func(a *approval.Ask) { a.Action.Loosens, a.Action.Rollback = true, true }, nil},
		"where no rule allows it":    {func(a *approval.Ask) { a.Rules.GlassRoles = nil }, approval.ErrGlass},
		"where others are named":     {func(a *approval.Ask) { a.Rules.GlassRoles = []string{"security"} }, approval.ErrBearer},
		"what tightens, by the rule": {as, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := approval.Open(full(t, tt.change)).Cast(glass)
			require.ErrorIs(t, err, tt.err)
			require.Equal(t, tt.err == nil, b.Glass)
		})
	}
}

func TestAReviewStaysOpenUntilOthersSign(t *testing.T) {
	b, err := approval.Open(full(t, as)).Cast(says(by("bob", "owner", true), approval.BreakGlass))
	require.NoError(t, err)
	begun, err := b.Begin(b.DecidedAt)
	require.NoError(t, err, "a broken glass waits for no cool-down")
	req, ok := begun.Review("another nonce", opened().Add(time.Minute), time.Hour)
	require.True(t, ok)
	require.Equal(t, "a1-review", req.Action.ID)

	r := approval.Open(req)
	require.Equal(t, approval.Pending, r.Expire().Outcome, "it never expires")
	require.True(t, r.Overdue(opened().Add(2*time.Hour)))
	for name, v := range map[string]approval.Vote{
		"the breaker":   by("bob", "owner", true),
		"the requester": by("ann", "owner", true),
	} {
		_, err := r.Cast(v)
		require.ErrorIs(t, err, approval.ErrOwnVote, name)
	}
	_, err = r.Cast(says(by("cyd", "owner", true), approval.BreakGlass))
	require.ErrorIs(t, err, approval.ErrReview)
	late := change(by("cyd", "owner", true), func(v *approval.Vote) { v.At = opened().Add(100 * time.Hour) })
	r, err = r.Cast(late)
	require.NoError(t, err, "late is better than never")
	r, err = r.Cast(by("dan", "risk", true))
	require.NoError(t, err)
	require.Equal(t, approval.Approved, r.Outcome)
	require.False(t, r.Overdue(opened().Add(200*time.Hour)))
}

func TestBegin(t *testing.T) {
	b := approval.Open(full(t, as))
	_, err := b.Begin(opened())
	require.ErrorIs(t, err, approval.ErrNotApproved)
	for _, v := range []approval.Vote{by("bob", "owner", true), by("dan", "risk", true)} {
		b, err = b.Cast(v)
		require.NoError(t, err)
	}
	decided := opened().Add(time.Minute) // when the last vote came
	_, err = b.Begin(decided.Add(300*time.Second - 1))
	require.ErrorIs(t, err, approval.ErrHeld)
	lapsed, err := b.Begin(decided.Add(900*time.Second + 1))
	require.ErrorIs(t, err, approval.ErrLapsed)
	require.Equal(t, approval.Lapsed, lapsed.Outcome)
	begun, err := b.Begin(decided.Add(900 * time.Second))
	require.NoError(t, err, "the last moment")
	_, err = begun.Begin(decided.Add(900 * time.Second))
	require.ErrorIs(t, err, approval.ErrUsed)
	_, err = begun.Cast(says(by("bob", "owner", true), approval.Revoke))
	require.ErrorIs(t, err, approval.ErrClosed, "what has begun is not taken back")
	require.Equal(t, approval.Lapsed, b.Abandon().Outcome)
	require.Equal(t, approval.Approved, begun.Abandon().Outcome)
}

// What a ballot rests on, a proposal's evidence say, may be too old before the
// ballot's own times are over: an hour to decide, 5 minutes of cool-down, 10 to
// begin.
func TestWhatABallotRestsOnExpires(t *testing.T) {
	resting := func(after time.Duration) approval.Request {
		return full(t, func(a *approval.Ask) { a.NotAfter = opened().Add(after) })
	}
	require.Equal(t, opened().Add(time.Hour), full(t, as).Expires())
	require.Equal(t, opened().Add(time.Hour), resting(2*time.Hour).Expires(), "the ballot ends first")
	require.Equal(t, opened().Add(30*time.Minute), resting(30*time.Minute).Expires())

	b := approval.Open(resting(30 * time.Minute))
	late := by("bob", "owner", true)
	late.At = opened().Add(30*time.Minute + 1)
	_, err := b.Cast(late)
	require.ErrorIs(t, err, approval.ErrOutdated)
	require.True(t, b.Expire().Aged())
	require.False(t, approval.Open(full(t, as)).Expire().Aged(), "for want of votes")
	require.False(t, approval.Open(resting(2*time.Hour)).Expire().Aged(), "for want of votes")

	decided := opened().Add(time.Minute)
	for name, tt := range map[string]struct {
		after time.Duration // from opening until it is too old
		at    time.Duration // from the decision until it begins
		want  error
		aged  bool
	}{
		"it begins at the last moment":        {11 * time.Minute, 10 * time.Minute, nil, false},
		"it begins too late":                  {11 * time.Minute, 10*time.Minute + 1, approval.ErrLapsed, true},
		"it would, and the time is over":      {time.Hour, 15*time.Minute + 1, approval.ErrLapsed, false},
		"it is too old before its cool-down":  {3 * time.Minute, 2*time.Minute + 1, approval.ErrLapsed, true},
		"it is held and not too old until so": {3 * time.Minute, 2 * time.Minute, approval.ErrHeld, false},
	} {
		b := approval.Open(resting(tt.after))
		for _, v := range []approval.Vote{by("bob", "owner", true), by("dan", "risk", true)} {
			b, err = b.Cast(v)
			require.NoError(t, err)
		}
		require.Equal(t, decided, b.DecidedAt)
		got, err := b.Begin(decided.Add(tt.at))
		require.ErrorIs(t, err, tt.want, name)
		require.Equal(t, tt.aged, got.Aged(), name)
	}

	old := ask(production(60), person("bob", "owner"), person("dan", "risk"))
	old.NotAfter = old.OpenedAt.Add(-1)
	_, err = approval.NewRequest(old)
	require.ErrorIs(t, err, approval.ErrOutdated, "no ballot about what is too old is opened")
}

func TestEscalation(t *testing.T) {
	b := approval.Open(full(t, as))
	at, ever := b.Request.Escalates()
	require.True(t, ever)
	require.Equal(t, opened().Add(30*time.Minute), at, "half of an hour")
	_, err := b.Cast(by("sue", "security", true))
	require.ErrorIs(t, err, approval.ErrStranger)
	b = b.Escalate()
	for _, v := range []approval.Vote{by("oli", "on-call", true), by("sue", "security", true)} {
		b, err = b.Cast(v)
		require.NoError(t, err)
	}
	require.Equal(t, approval.Approved, b.Outcome, "for the owner, and for risk")
	alone, err := approval.Open(full(t, as)).Escalate().Cast(by("oli", "on-call", true))
	require.NoError(t, err)
	require.Equal(t, 1, alone.Missing(), "as many people as before")
	require.False(t, approval.Open(full(t, func(a *approval.Ask) { a.Rules.EscalatePercent = 0 })).Escalate().Escalated)
}

func TestLostStanding(t *testing.T) {
	b := approval.Open(full(t, as))
	var err error
	for _, v := range []approval.Vote{delegated("zoe", "bob", "owner"), by("dan", "risk", true)} {
		b, err = b.Cast(v)
		require.NoError(t, err)
	}
	granted := approval.Granted{ID: b.Votes[0].Delegation, Delegation: approval.Delegation{From: "bob"}, Delegator: person("bob", "owner")}
	stands := approval.Standing{Delegations: []approval.Granted{granted}}
	require.Empty(t, stands.Losses(b))
	ended := granted
	ended.RevokedAt = opened()
	for name, s := range map[string]approval.Standing{
		"the signer is revoked":     {Revoked: []artifact.Digest{b.Votes[0].Key}, Delegations: stands.Delegations},
		"the delegator is revoked":  {Revoked: []artifact.Digest{person("bob", "owner").Key}, Delegations: stands.Delegations},
		"the delegation is revoked": {Delegations: []approval.Granted{ended}},
		"the delegation is unknown": {},
	} {
		t.Run(name, func(t *testing.T) {
			losses := s.Losses(b)
			require.Len(t, losses, 1)
			after := b.Lose(losses)
			require.Equal(t, approval.Pending, after.Outcome, "approved, until it begins")
			require.Len(t, after.Votes, 1)
			_, err := after.Cast(b.Votes[0])
			require.ErrorIs(t, err, approval.ErrReplay)
		})
	}
	begun, err := b.Begin(b.ExecuteFrom())
	require.NoError(t, err)
	require.Equal(t, begun, begun.Lose(approval.Standing{}.Losses(begun)), "what has begun has begun")
}

func TestWhoMay(t *testing.T) {
	b, err := approval.Open(full(t, as)).Cast(by("bob", "owner", true))
	require.NoError(t, err)
	for name, want := range map[string]error{
		"dan": nil, "ann": approval.ErrOwnVote, "tom": approval.ErrTrainer, "bob": approval.ErrTwice, "cyd": approval.ErrSeated,
		"eve": approval.ErrStranger, "oli": approval.ErrStranger,
	} {
		require.ErrorIs(t, b.May(name), want, name)
	}
	require.Equal(t, []string{"dan"}, b.Awaited())
	require.ErrorIs(t, approval.Standing{Revoked: []artifact.Digest{person("dan", "risk").Key}}.May(b, "dan"), approval.ErrLost)
	require.Equal(t, []string{"dan", "sue"}, b.Escalate().Awaited())
	require.Nil(t, b.Expire().Awaited())
}

func TestDelegations(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	public, err := artifact.MarshalPublicKey(&key.PublicKey)
	require.NoError(t, err)
	good := approval.Delegation{
		Decision: approval.Delegate, From: "bob", To: "zoe", PublicKey: string(public), Reason: "on leave", Nonce: "n",
		IssuedAt: opened(), NotBefore: opened(), ExpiresAt: opened().Add(time.Hour), Kinds: []string{"promotion"}, MaxRisk: 60,
	}
	bob := person("bob", "owner")
	for name, tt := range map[string]struct {
		change func(*approval.Delegation)
		err    error
	}{
		"good":                  {func(*approval.Delegation) {}, nil},
		"a revocation":          {func(d *approval.Delegation) { d.Decision = approval.RevokeDelegation }, approval.ErrDelegation},
		"of another":            {func(d *approval.Delegation) { d.From = "cyd" }, approval.ErrDelegator},
		"to oneself":            {func(d *approval.Delegation) { d.To = "bob" }, approval.ErrSelf},
		"without a key":         {func(d *approval.Delegation) { d.PublicKey = "" }, artifact.ErrKey},
		"without a reason":      {func(d *approval.Delegation) { d.Reason = "" }, approval.ErrNoReason},
		"without a nonce":       {func(d *approval.Delegation) { d.Nonce = "" }, approval.ErrDelegation},
		"for too long":          {func(d *approval.Delegation) { d.ExpiresAt = d.NotBefore.Add(approval.MaxDelegation + 1) }, approval.ErrTooLong},
		"that is over":          {func(d *approval.Delegation) { d.NotBefore, d.ExpiresAt = opened().Add(-2), opened().Add(-1) }, approval.ErrTooLong},
		"signed in the future":  {func(d *approval.Delegation) { d.IssuedAt = opened().Add(time.Hour) }, approval.ErrTooLong},
		"of an unnamed kind":    {func(d *approval.Delegation) { d.Kinds = []string{""} }, approval.ErrDelegation},
		"with a risk above 100": {func(d *approval.Delegation) { d.MaxRisk = 101 }, approval.ErrDelegation},
	} {
		t.Run(name, func(t *testing.T) {
			d := good
			tt.change(&d)
			_, err := d.Check(bob, opened())
			require.ErrorIs(t, err, tt.err)
		})
	}
	require.NoError(t, good.Covers(production(60), opened()))
	require.ErrorIs(t, good.Covers(production(61), opened()), approval.ErrScope)
	require.ErrorIs(t, good.Covers(approval.Action{Kind: "policy"}, opened()), approval.ErrScope)
	require.ErrorIs(t, good.Covers(production(60), opened().Add(2*time.Hour)), approval.ErrWindow)
}

func TestRulesAreLoosenedByWhatIsLaxer(t *testing.T) {
	base := approval.DefaultRules()
	for name, tt := range map[string]struct {
		change func(*approval.Rules)
		laxer  bool
	}{
		"the trainer is barred":     {func(r *approval.Rules) { r.BarTrainer = true }, false},
		"more time to begin":        {func(r *approval.Rules) { r.ExecuteSeconds = 0 }, true},
		"less time to begin":        {func(r *approval.Rules) { r.ExecuteSeconds = 60 }, false},
		"a cool-down":               {func(r *approval.Rules) { r.HoldSeconds, r.HoldRisk = 3600, 80 }, false},
		"earlier escalation":        {func(r *approval.Rules) { r.EscalatePercent = 10 }, true},
		"no escalation":             {func(r *approval.Rules) { r.EscalatePercent = 0 }, false},
		"more who break the glass":  {func(r *approval.Rules) { r.GlassRoles = append(r.GlassRoles, "risk") }, true},
		"fewer who break the glass": {func(r *approval.Rules) { r.GlassRoles = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			to := approval.DefaultRules()
			tt.change(&to)
			require.NoError(t, to.Check())
			require.Equal(t, tt.laxer, !to.Stricter(base).Equal(to))
		})
	}
}

func TestLinks(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	token := approval.SignLink(secret, "clinic", "a1", opened())
	require.NoError(t, approval.CheckLink(secret, "clinic", "a1", token, opened()))
	require.ErrorIs(t, approval.CheckLink(secret, "clinic", "a1", token, opened().Add(time.Second)), approval.ErrLink, "over")
	require.ErrorIs(t, approval.CheckLink(secret, "clinic", "a2", token, opened()), approval.ErrLink, "another ballot")
	require.ErrorIs(t, approval.CheckLink(secret, "other", "a1", token, opened()), approval.ErrLink, "another tenant")
	require.ErrorIs(t, approval.CheckLink(nil, "clinic", "a1", approval.SignLink(nil, "clinic", "a1", opened()), opened()), approval.ErrLink, "no secret")
	for i := range token {
		changed := []byte(token)
		changed[i] ^= 1
		require.ErrorIs(t, approval.CheckLink(secret, "clinic", "a1", string(changed), opened()), approval.ErrLink, "byte %d", i)
	}
}
