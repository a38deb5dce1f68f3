package approval

import (
	"errors"
	"slices"
	"time"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Why an action may not begin.
var (
	ErrNotApproved = errors.New("it is not approved")
	ErrHeld        = errors.New("its cool-down is not over")
	ErrLapsed      = errors.New("it was approved, and not begun in time")
	ErrUsed        = errors.New("its approval was used before")
)

// ExecuteFrom returns when an approved action may begin. A broken glass waits
// for nothing.
func (b Ballot) ExecuteFrom() time.Time {
	if b.Glass {
		return b.DecidedAt
	}
	return b.DecidedAt.Add(time.Duration(b.Request.HoldSeconds) * time.Second)
}

// ExecuteBy returns when an approved action must have begun, and whether there
// is such a time: the end of the time to begin or of what the request rests on,
// whichever comes first.
func (b Ballot) ExecuteBy() (time.Time, bool) {
	by := b.ExecuteFrom().Add(time.Duration(b.Request.ExecuteSeconds) * time.Second)
	if end := b.Request.NotAfter; !end.IsZero() && (b.Request.ExecuteSeconds <= 0 || end.Before(by)) {
		return end, true
	}
	return by, b.Request.ExecuteSeconds > 0
}

// Aged says whether a ballot that is expired or lapsed ended so because what it
// rests on had expired, and not for want of votes or of a beginning.
func (b Ballot) Aged() bool {
	switch end := b.Request.NotAfter; b.Outcome {
	case Expired:
		return !end.IsZero() && b.Request.Expires().Equal(end)
	case Lapsed:
		by, _ := b.ExecuteBy()
		return !end.IsZero() && by.Equal(end)
	}
	return false
}

// Begin uses the approval: the ballot returned has begun at now. It is used
// once; that nobody else used it is for whoever keeps the ballot to say, in the
// transaction of the change.
// Errors: [ErrNotApproved], [ErrUsed], [ErrHeld]; [ErrLapsed] with the ballot
// lapsed, also while it is held when it could only begin too late.
func (b Ballot) Begin(now time.Time) (Ballot, error) {
	by, limited := b.ExecuteBy()
	switch {
	case b.Outcome != Approved:
		return b, ErrNotApproved
	case !b.BegunAt.IsZero():
		return b, ErrUsed
	case limited && now.After(by):
		b.Outcome = Lapsed
		return b, ErrLapsed
	case now.Before(b.ExecuteFrom()):
		return b, ErrHeld
	}
	b.BegunAt = now
	return b, nil
}

// A Loss is a vote that lost its standing, and why: its signer's registration
// or the delegation behind it was revoked.
type Loss struct {
	Statement artifact.Digest `json:"statement"`
	Why       string          `json:"why"`
}

// Lose takes out the votes that lost their standing. A ballot that was approved
// by them and has not begun is pending again. What ended otherwise stays.
func (b Ballot) Lose(losses []Loss) Ballot {
	if !b.Waits() {
		return b
	}
	for _, l := range losses {
		if i := slices.IndexFunc(b.Votes, func(v Vote) bool { return v.Statement == l.Statement }); i >= 0 {
			if b.Votes[i].Says() == BreakGlass {
				b.Glass = false
			}
			b = b.withdraw(i, l.Why)
		}
	}
	if b.Outcome == Approved && !b.Glass && !b.filled(b.Votes) {
		b.Outcome, b.DecidedAt = Pending, time.Time{}
	}
	return b
}

// KindReview is the kind of a ballot about a broken glass.
const KindReview = "review"

// ReviewID names the ballot that reviews an action.
func ReviewID(action string) string { return action + "-review" }

// Review returns the ballot that a broken glass opens: the seats that were not
// asked, to be filled by others than the requester and whoever broke it. It
// stays open until they have signed, and is overdue after ttl.
func (b Ballot) Review(nonce string, at time.Time, ttl time.Duration) (Request, bool) {
	i := slices.IndexFunc(b.Votes, func(v Vote) bool { return v.Says() == BreakGlass })
	if i < 0 {
		return Request{}, false
	}
	broke := b.Votes[i]
	r := b.Request
	r.Review, r.Breaker = r.Action.ID, broke.Approver
	r.Action.ID = ReviewID(r.Action.ID)
	r.Action.Kind = KindReview
	r.Action.Summary = "glass broken by " + broke.Approver + " (" + broke.Role + "): " + r.Action.Summary
	r.Nonce, r.OpenedAt, r.TTLSeconds = nonce, at, int64(min(ttl, MaxTTL)/time.Second)
	r.NotAfter = time.Time{}
	r.ExecuteSeconds, r.HoldSeconds, r.EscalateSeconds, r.GlassRoles, r.Bearers, r.Widened, r.Reserve = 0, 0, 0, nil, nil, nil, nil
	r.Evidence = append(slices.Clone(r.Evidence), Exhibit{Name: "statement of the broken glass", Digest: broke.Statement})
	mine := func(p Approver) bool { return p.Name == broke.Approver || p.Key == broke.Key }
	for _, p := range r.Approvers {
		if mine(p) {
			r.Barred = append(slices.Clone(r.Barred), p)
		}
	}
	r.Approvers = slices.DeleteFunc(slices.Clone(r.Approvers), mine)
	return r, true
}

// Overdue says whether a review is open for longer than it may.
func (b Ballot) Overdue(now time.Time) bool {
	return b.Request.Review != "" && b.Outcome == Pending && now.After(b.Request.Expires())
}
