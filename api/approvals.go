package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// Inbox is what approvers look at and vote in: part of I.1.5. It carries votes
// and judges none: a vote counts by its own signature.
type Inbox struct {
	b         *Border
	approvals Approvals
	workflows Workflows
	recall    Idempotency
	blobs     Blobs
}

// NewInbox returns the service.
func NewInbox(b *Border, p Ports) *Inbox {
	return &Inbox{b: b, approvals: p.Approvals, workflows: p.Workflows, recall: p.Idempotency, blobs: p.Blobs}
}

// Mount implements [Service].
func (s *Inbox) Mount(r gin.IRouter) {
	s.b.mount(r, "listApprovers", s.approvers)
	s.b.mount(r, "addApprover", s.add)
	s.b.mount(r, "listApprovals", s.list)
	s.b.mount(r, "getApproval", s.get)
	s.b.mount(r, "castVote", s.vote)
	s.b.mount(r, "getVote", s.bundle)
	s.b.mount(r, "revokeApprover", s.revoke)
	s.b.mount(r, "listDelegations", s.delegations)
	s.b.mount(r, "addDelegation", s.delegate)
	s.b.mount(r, "revokeDelegation", s.endDelegation)
}

func (s *Inbox) approvers(c *gin.Context, k call) error {
	found, err := s.approvals.Approvers(c.Request.Context(), k.Tenant)
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.ApproverList{Items: views(found, approverView), Simulated: k.Simulated})
}

func (s *Inbox) add(c *gin.Context, k call) error {
	var in v1.ApproverRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	if !slices.Contains(approval.Roles(), in.Role) {
		return badParams.at("/role", fmt.Sprintf("must be one of %v", approval.Roles()))
	}
	key, err := artifact.ParsePublicKey([]byte(in.PublicKey))
	if err != nil {
		return badKey.at("/public_key", artifact.ErrKey.Error())
	}
	text, err := canonicalKey(in.PublicKey)
	if err != nil {
		return badKey.at("/public_key", artifact.ErrKey.Error())
	}
	if in.Proof != "" {
		if _, err := approval.Enrol([]byte(in.Proof), text, k.Tenant, in.Name, s.b.now()); err != nil {
			return badKey.at("/proof", approval.ErrEnrolment.Error())
		}
	}
	approver := approval.Approver{Name: in.Name, Role: in.Role, Key: artifact.KeyID(key), PublicKey: text}
	answer, err := s.approvals.AddApprover(c.Request.Context(), k.command, approver,
		replying(http.StatusCreated, func(a approval.Approver) any { return approverView(a) }))
	return s.b.done(c, answer, err)
}

func (s *Inbox) list(c *gin.Context, k call) error {
	p, err := page(c)
	if err != nil {
		return err
	}
	if at, _, ok := strings.Cut(p.After, "|"); p.After != "" {
		if _, err := time.Parse(time.RFC3339Nano, at); !ok || err != nil {
			return invalidRequest.at("query:cursor", "is none that a page gave")
		}
	}
	ctx := c.Request.Context()
	standing, err := s.approvals.Standing(ctx, k.Tenant)
	if err != nil {
		return err
	}
	filter := BallotFilter{State: approval.Outcome(c.Query("state"))}
	if c.Query("mine") == "true" {
		filter.Awaited = awaiting(k.Subject, standing)
	}
	ballots, err := s.approvals.Ballots(ctx, k.Caller, filter, p)
	if err != nil {
		return err
	}
	ballots, next := paged(p, ballots, func(b approval.Ballot) string {
		return b.Request.OpenedAt.UTC().Format(time.RFC3339Nano) + "|" + b.Request.Action.ID
	})
	return s.b.send(c, http.StatusOK, v1.BallotPage{Items: views(ballots, func(b approval.Ballot) v1.Ballot { return s.seen(b, k, standing) }), Next: next, Simulated: k.Simulated})
}

// get shows a ballot. Whatever led here, it decides nothing: a link that a
// notice carried is looked at so that nobody is led to another ballot by it.
func (s *Inbox) get(c *gin.Context, k call) error {
	ctx, id := c.Request.Context(), c.Param("id")
	if token := c.Query("link"); token != "" {
		if err := approval.CheckLink(s.b.opts.LinkSecret, k.Tenant, id, token, s.b.now()); err != nil {
			return &Problem{Kind: badLink, Detail: "look the ballot up in the inbox", Err: err}
		}
	}
	ballot, err := s.approvals.Ballot(ctx, k.Caller, id)
	if err != nil {
		return err
	}
	standing, err := s.approvals.Standing(ctx, k.Tenant)
	if err != nil {
		return err
	}
	view, err := shown(ballot)
	if err != nil {
		return err
	}
	view.You, view.Overdue = voter(ballot, k.Subject, standing, s.b.now()), ballot.Overdue(s.b.now())
	view.Simulated = k.Simulated
	return s.b.send(c, http.StatusOK, view)
}

func (s *Inbox) seen(b approval.Ballot, k call, standing approval.Standing) v1.Ballot {
	view := ballotView(b)
	view.You, view.Overdue = voter(b, k.Subject, standing, s.b.now()), b.Overdue(s.b.now())
	return view
}

// bundle shows what an approver signed.
func (s *Inbox) bundle(c *gin.Context, k call) error {
	ctx := c.Request.Context()
	ballot, err := s.approvals.Ballot(ctx, k.Caller, c.Param("id"))
	if err != nil {
		return err
	}
	for _, v := range slices.Concat(ballot.Votes, ballot.Withdrawn, ballot.Refused) {
		if string(v.Statement) != c.Param("statement") || v.Bundle == "" {
			continue
		}
		content, err := s.blobs.Open(ctx, v.Bundle)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.LimitReader(content, artifact.MaxBundle))
		if err = errors.Join(err, content.Close()); err != nil {
			return err
		}
		return s.b.send(c, http.StatusOK, v1.VoteRequest{Bundle: string(text)})
	}
	return notFound
}

// over says why a ballot takes no vote, as far as its row knows.
func over(b approval.Ballot, now time.Time) string {
	if b.Aged() || b.Outcome == approval.Pending && b.Request.Outdated(now) {
		return promotion.ErrExpired.Error()
	}
	return "the ballot is over"
}

// vote carries a vote to its ballot. The workflow knows the vote by what was
// signed, so sending it twice is sending it once, whatever the key says.
func (s *Inbox) vote(c *gin.Context, k call) error {
	var in v1.VoteRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	if _, err := artifact.ParseBundle([]byte(in.Bundle)); err != nil {
		return &Problem{Kind: badVote, Detail: "the bundle is not a Sigstore bundle v0.3 with one DSSE signature", Err: err}
	}
	ctx, id := c.Request.Context(), c.Param("id")
	row, err := s.approvals.Ballot(ctx, k.Caller, id)
	if err != nil {
		return err // of another tenant, or of nobody
	}
	ballot, err := s.workflows.Vote(ctx, id, contract.SignedVote{Bundle: in.Bundle})
	if errors.Is(err, ErrNotFound) && row.Waits() {
		// The row is written before its workflow listens, and after it has ended.
		return &Problem{Kind: notReady, Detail: "the ballot is being opened, or has just ended", RetryAfter: 1, Err: err}
	}
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrClosed) {
		return closed.because(over(row, s.b.now()))
	}
	if err != nil {
		return err
	}
	answer, err := replying(http.StatusOK, func(b approval.Ballot) any { return ballotView(b) })(ballot)
	if err == nil && k.command.KeyHash != "" {
		answer, err = s.recall.Keep(ctx, k.command, answer)
	}
	return s.b.done(c, answer, err)
}
