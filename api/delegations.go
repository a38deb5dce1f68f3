package api

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
)

// revoke ends a registration, and then asks every ballot that waits and holds
// a vote of it to look again. If we crash in between, or a ballot cannot be
// told, using its approval finds it out.
func (s *Inbox) revoke(c *gin.Context, k call) error {
	var in v1.ReasonRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	ctx := c.Request.Context()
	answer, touched, err := s.approvals.RevokeApprover(ctx, k.command, c.Param("name"), in.Reason,
		replying(http.StatusOK, func(a approval.Approver) any { return approverView(a) }))
	if err == nil {
		s.reconsider(ctx, touched)
	}
	return s.b.done(c, answer, err)
}

func (s *Inbox) reconsider(ctx context.Context, actions []string) {
	for _, action := range actions {
		if err := s.workflows.Reconsider(ctx, action); err != nil {
			s.b.log.WarnContext(ctx, "a ballot was not asked to look again", "action", action, "cause", err)
		}
	}
}

func (s *Inbox) delegations(c *gin.Context, k call) error {
	standing, err := s.approvals.Standing(c.Request.Context(), k.Tenant)
	if err != nil {
		return err
	}
	return s.b.send(c, http.StatusOK, v1.DelegationList{Items: views(standing.Delegations, delegationView), Simulated: k.Simulated})
}

// delegate takes a delegation in: it counts because an enrolled approver
// signed it, whoever brings it.
func (s *Inbox) delegate(c *gin.Context, k call) error {
	var in v1.VoteRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	ctx := c.Request.Context()
	bundle, said, signer, statement, err := s.signedDelegation(ctx, k, in.Bundle)
	if err != nil {
		return err
	}
	key, err := said.Check(signer, s.b.now())
	if err != nil {
		return &Problem{Kind: badDelegation, Detail: err.Error(), Err: err}
	}
	kept, err := s.blobs.Put(ctx, artifact.MediaTypeBundle, bytes.NewReader(bundle))
	if err != nil {
		return err
	}
	granted := approval.Granted{ID: statement, Delegation: said, Delegator: signer, Key: artifact.KeyID(key), Bundle: kept.Digest}
	answer, err := s.approvals.Delegate(ctx, k.command, granted,
		replying(http.StatusCreated, func(g approval.Granted) any { return delegationView(g) }))
	return s.b.done(c, answer, err)
}

// signedDelegation verifies a statement about a delegation: by an approver who
// is enrolled now, about the key that it names.
func (s *Inbox) signedDelegation(ctx context.Context, k call, text string) ([]byte, approval.Delegation, approval.Approver, artifact.Digest, error) {
	var said approval.Delegation
	var signer approval.Approver
	bad := func(err error) ([]byte, approval.Delegation, approval.Approver, artifact.Digest, error) {
		return nil, said, signer, "", &Problem{Kind: badDelegation, Detail: "the bundle holds no delegation by an approver about the delegate's key", Err: err}
	}
	bundle, err := artifact.NormalizeBundle([]byte(text))
	if err != nil {
		return bad(err)
	}
	// Which key it is about stands in the statement; that is compared below, after
	// somebody trusted is known to have signed it.
	envelope, err := artifact.ParseBundle(bundle)
	if err != nil {
		return bad(err)
	}
	claimed, err := artifact.ParseStatement(envelope.Payload)
	if err != nil {
		return bad(err)
	}
	people, err := s.approvals.Approvers(ctx, k.Tenant)
	if err != nil {
		return nil, said, signer, "", err
	}
	var keys []*ecdsa.PublicKey
	for _, p := range people {
		if key, err := artifact.ParsePublicKey([]byte(p.PublicKey)); err == nil {
			keys = append(keys, key)
		}
	}
	verified, err := artifact.VerifyBundle(keys, bundle, artifact.PredicateDelegation, claimed.Subject)
	if err != nil {
		return bad(err)
	}
	if err := artifact.DecodeStrict(verified.Predicate, &said); err != nil {
		return bad(err)
	}
	key, err := artifact.ParsePublicKey([]byte(said.PublicKey))
	if err != nil || artifact.KeyID(key) != claimed.Subject {
		return bad(errors.Join(err, artifact.ErrSubject))
	}
	i := slices.IndexFunc(people, func(p approval.Approver) bool { return p.Key == verified.Key })
	return bundle, said, people[i], verified.Statement, nil
}

// endDelegation takes a delegation back, by its maker's signature or by an
// administrator with a reason.
func (s *Inbox) endDelegation(c *gin.Context, k call) error {
	var in v1.DelegationRevocation
	if err := decode(k.body, &in); err != nil {
		return err
	}
	ctx := c.Request.Context()
	standing, err := s.approvals.Standing(ctx, k.Tenant)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(standing.Delegations, func(g approval.Granted) bool { return string(g.ID) == c.Param("id") })
	if i < 0 {
		return notFound
	}
	granted := standing.Delegations[i]
	by := k.Subject + ": " + in.Reason
	if in.Bundle != "" {
		_, said, signer, statement, err := s.signedDelegation(ctx, k, in.Bundle)
		if err != nil {
			return err
		}
		if why := said.Ends(granted, signer); why != nil {
			return &Problem{Kind: badDelegation, Detail: why.Error(), Err: why}
		}
		by = string(statement)
	} else if !slices.Contains(k.Roles, "admin") || in.Reason == "" {
		return badDelegation.because("a delegation is ended by a statement of whoever made it, or by an administrator who gives a reason")
	}
	answer, touched, err := s.approvals.RevokeDelegation(ctx, k.command, granted, by,
		replying(http.StatusOK, func(g approval.Granted) any { return delegationView(g) }))
	if err == nil {
		s.reconsider(ctx, touched)
	}
	return s.b.done(c, answer, err)
}
