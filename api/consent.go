package api

import (
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/consent"
)

// Grants is what owners of data allow and take back, I.1.1.
type Grants struct {
	b         *Border
	consents  Consents
	approvals Approvals
	blobs     Blobs
}

// NewGrants returns the service.
func NewGrants(b *Border, p Ports) *Grants {
	return &Grants{b: b, consents: p.Consents, approvals: p.Approvals, blobs: p.Blobs}
}

// Mount implements [Service].
func (s *Grants) Mount(r gin.IRouter) {
	s.b.mount(r, "grantConsent", s.grant)
	s.b.mount(r, "listConsents", s.list)
	s.b.mount(r, "withdrawGrants", s.withdraw)
	s.b.mount(r, "getWithdrawal", s.get)
	s.b.mount(r, "decideWithdrawal", s.decide)
}

func (s *Grants) grant(c *gin.Context, k call) error {
	var in v1.GrantRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	g := consent.Grant{
		Tenant: k.Tenant, Feature: in.FeatureID, Grantee: in.Grantee, Purposes: in.Purposes, Actions: in.Actions,
		Constraints: consent.Constraints{
			Regions: in.Constraints.Regions, MaxEpsilon: in.Constraints.MaxEpsilon, MinCohort: in.Constraints.MinCohort,
			MaxRounds: in.Constraints.MaxRounds, NoDerivative: in.Constraints.NoDerivative,
		},
		NotBefore: in.NotBefore, ExpiresAt: in.ExpiresAt, Evidence: artifact.Digest(in.Evidence),
	}
	now := s.b.now()
	if !g.ExpiresAt.IsZero() && !g.ExpiresAt.After(now) {
		return badGrant.at("/expires_at", "it is over already")
	}
	var bundle artifact.Descriptor
	if in.Bundle != "" {
		signed, err := s.own(c, k, []byte(in.Bundle))
		if err != nil {
			return err
		}
		if !says(signed, g) {
			return badGrant.at("/bundle", "the signed grant says something else than the request")
		}
		g = signed
		if bundle, err = put(c.Request.Context(), s.blobs, artifact.MediaTypeBundle, []byte(in.Bundle)); err != nil {
			return err
		}
	} else { // what the adapter sets is set here to look at the rest
		draft := g
		draft.ID, draft.Epoch = "g", 1
		if draft.NotBefore.IsZero() {
			draft.NotBefore = now
		}
		if _, err := draft.Normal(); err != nil {
			return grantProblem(err)
		}
	}
	answer, err := s.consents.Grant(c.Request.Context(), k.command, g, bundle, replying(http.StatusCreated, func(r consent.Record) any {
		view := grantView(r, s.b.now())
		view.Simulated = k.Simulated
		return view
	}))
	return s.b.done(c, answer, err)
}

// keysOf are the keys of registered approvers.
func keysOf(people []approval.Approver) ([]*ecdsa.PublicKey, error) {
	keys := make([]*ecdsa.PublicKey, 0, len(people))
	for _, p := range people {
		key, err := artifact.ParsePublicKey([]byte(p.PublicKey))
		if err != nil {
			return nil, fmt.Errorf("key of approver %s: %w", p.Key.Short(), err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// says whether a signed grant is the one that is asked for.
func says(signed, asked consent.Grant) bool {
	asked.ID, asked.Epoch = signed.ID, signed.Epoch
	if asked.NotBefore.IsZero() {
		asked.NotBefore = signed.NotBefore
	}
	a, err := asked.Normal()
	if err != nil {
		return false
	}
	_, one, err := a.Encode()
	_, other, bad := signed.Encode()
	return err == nil && bad == nil && one == other
}

// own returns the grant of a bundle that a registered approver of the tenant
// has signed: whose key that is was decided when the approver was added.
func (s *Grants) own(c *gin.Context, k call, bundle []byte) (consent.Grant, error) {
	if k.Simulated {
		return consent.Grant{}, simulationRefused.because("a simulated caller brings no signature")
	}
	people, err := s.approvals.Approvers(c.Request.Context(), k.Tenant)
	if err != nil {
		return consent.Grant{}, err
	}
	subject, err := consent.SubjectOf(bundle)
	if err != nil {
		return consent.Grant{}, badGrant.at("/bundle", consent.ErrPack.Error())
	}
	keys, err := keysOf(people)
	if err != nil {
		return consent.Grant{}, err
	}
	verified, err := artifact.VerifyBundle(keys, bundle, artifact.PredicateGrant, subject)
	if err != nil {
		return consent.Grant{}, &Problem{Kind: unverified, Detail: "the bundle is no grant by a registered approver of the tenant", Err: err}
	}
	g, err := consent.Read(verified)
	if err == nil {
		g, err = g.Normal()
	}
	if err != nil {
		return g, grantProblem(err)
	}
	if g.Tenant != k.Tenant {
		return g, badGrant.at("/bundle", "the grant is of another tenant")
	}
	return g, nil
}

// grantProblem names the field that the domain refused.
func grantProblem(err error) error {
	var field *consent.FieldError
	if errors.As(err, &field) {
		return badGrant.at("/"+snake(field.Field), field.Err.Error())
	}
	return badGrant.at("/bundle", consent.ErrPack.Error())
}

func (s *Grants) list(c *gin.Context, k call) error {
	p, err := page(c)
	if err != nil {
		return err
	}
	found, epoch, err := s.consents.ListGrants(c.Request.Context(), k.Caller, c.Query("feature"), p)
	if err != nil {
		return err
	}
	found, next := paged(p, found, func(r consent.Record) string { return r.ID })
	now := s.b.now()
	items := views(found, func(r consent.Record) v1.Grant { return grantView(r, now) })
	return s.b.send(c, http.StatusOK, v1.GrantPage{Items: items, Epoch: epoch, Next: next, Simulated: k.Simulated})
}

func grantView(r consent.Record, now time.Time) v1.Grant {
	return v1.Grant{
		Tenant: r.Tenant, GrantID: r.ID, FeatureID: r.Feature, Grantee: r.Grantee,
		Purposes: views(r.Purposes, func(p string) v1.DataUse { return p }),
		Actions:  r.Actions,
		Constraints: v1.GrantConstraints{
			Regions: r.Constraints.Regions, MaxEpsilon: r.Constraints.MaxEpsilon, MinCohort: r.Constraints.MinCohort,
			MaxRounds: r.Constraints.MaxRounds, NoDerivative: r.Constraints.NoDerivative,
		},
		NotBefore: r.NotBefore, ExpiresAt: r.ExpiresAt, Evidence: string(r.Evidence), Epoch: r.Epoch,
		State: v1.GrantState(r.At(now)), Digest: string(r.Digest), Signed: r.Bundle.Digest != "",
		RecordedAt: r.Recorded, WithdrawnAt: r.WithdrawnAt, Used: r.Used,
	}
}

// withdraw changes nothing unless it is told to: what it would reach is shown
// first.
func (s *Grants) withdraw(c *gin.Context, k call) error {
	var in v1.WithdrawalRequest
	if err := decode(k.body, &in); err != nil {
		return err
	}
	if !in.Apply {
		report, err := s.consents.Preview(c.Request.Context(), k.Caller, in.FeatureID, in.Grantees)
		if err != nil {
			return err
		}
		text, err := json.Marshal(report)
		if err != nil {
			return err
		}
		return s.b.send(c, http.StatusOK, v1.Withdrawal{
			Epoch: report.Epoch, FeatureID: report.Feature, Grants: report.Grants, Grantees: report.Grantees, Preview: true,
			Report: text, Markdown: report.Markdown(), Undecided: report.Undecided(), Simulated: k.Simulated,
		})
	}
	answer, err := s.consents.WithdrawGrants(c.Request.Context(), k.command, in.FeatureID, in.Grantees, in.Reason, replying(http.StatusAccepted, k.withdrawal))
	return s.b.done(c, answer, err)
}

func (k call) withdrawal(w Withdrawal) any {
	view := withdrawalView(w)
	view.Simulated = k.Simulated
	return view
}

func withdrawalView(w Withdrawal) v1.Withdrawal {
	return v1.Withdrawal{
		Epoch: w.Epoch, FeatureID: w.Feature, Grants: w.Grants, Grantees: w.Grantees, Reason: w.Reason, WithdrawnAt: w.AskedAt,
		ReportedAt: w.ReportedAt, Undecided: w.Undecided && w.Decision == "", Decision: w.Decision, DecidedBy: w.DecidedBy,
		DecidedFor: w.DecidedFor, DecidedAt: w.DecidedAt, WorkflowID: contract.WithdrawalID(w.Tenant, w.Epoch),
	}
}

func (s *Grants) get(c *gin.Context, k call) error {
	epoch, err := epochOf(c)
	if err != nil {
		return err
	}
	ctx := c.Request.Context()
	w, err := s.consents.Withdrawal(ctx, k.Caller, epoch)
	if err != nil {
		return err
	}
	view := withdrawalView(w)
	if w.Report.Digest != "" {
		for _, part := range []struct {
			d  artifact.Descriptor
			to func(text []byte)
		}{
			{w.Report, func(text []byte) { view.Report = text }},
			{w.Markdown, func(text []byte) { view.Markdown = string(text) }},
			{w.Bundle, func(text []byte) { view.Bundle = string(text) }},
		} {
			text, err := read(ctx, s.blobs, part.d.Digest, maxReport)
			if err != nil {
				return err
			}
			part.to(text)
		}
	}
	view.Simulated = k.Simulated
	return s.b.send(c, http.StatusOK, view)
}

// maxReport bounds a propagation report: a withdrawal may reach many rounds.
const maxReport = 64 << 20

func (s *Grants) decide(c *gin.Context, k call) error {
	epoch, err := epochOf(c)
	if err != nil {
		return err
	}
	var in v1.WithdrawalDecision
	if err := decode(k.body, &in); err != nil {
		return err
	}
	answer, err := s.consents.Decide(c.Request.Context(), k.command, epoch, string(in.Decision), in.Reason, replying(http.StatusOK, k.withdrawal))
	return s.b.done(c, answer, err)
}

// epochOf reads a number that the document has checked.
func epochOf(c *gin.Context) (int64, error) {
	epoch, err := strconv.ParseInt(c.Param("epoch"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("epoch: %w", ErrNotFound)
	}
	return epoch, nil
}
