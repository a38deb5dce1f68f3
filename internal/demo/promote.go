package demo

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/internal/cosign"
)

// An approver is a person with a key of their own.
type approver struct {
	person
	role string
	key  *ecdsa.PrivateKey
}

// enrol makes each approver's key, once, and registers its public half. The
// requester is an approver too, so that the refusal of the own vote is shown.
func (d *Demo) enrol(ctx context.Context) error {
	if len(d.people) > 0 {
		return nil
	}
	for _, p := range []struct{ name, role string }{{"mira", "owner"}, {"osei", "owner"}, {"lund", "risk"}, {"novak", "security"}, {"ferreira", "privacy"}} {
		who, err := d.as(Consortium, p.name, "approver")
		if err != nil {
			return err
		}
		key, public, err := d.keyOf(p.name)
		if err != nil {
			return err
		}
		if _, err := v1.Fetch[v1.Approver](d.lead.AddApprover(ctx, &v1.AddApproverParams{}, v1.ApproverRequest{Name: p.name, Role: p.role, PublicKey: public})); err != nil {
			return err
		}
		d.people = append(d.people, approver{who, p.role, key})
	}
	return nil
}

// keyOf loads a person's key pair, which it makes when there is none.
func (d *Demo) keyOf(name string) (*ecdsa.PrivateKey, string, error) {
	dir := filepath.Join(d.State, "people")
	path := filepath.Join(dir, name+".key")
	password := []byte("the demonstration's people share a password")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, "", err
		}
		if err := cosign.GenerateKeyPair(dir, name, password); err != nil {
			return nil, "", err
		}
	}
	key, err := cosign.LoadPrivateKey(path, password)
	if err != nil {
		return nil, "", err
	}
	public, err := artifact.MarshalPublicKey(&key.PublicKey)
	return key, string(public), err
}

func (d *Demo) promotion() v1.PromotionRequest {
	return v1.PromotionRequest{Version: d.run.Version, Environment: "production", Canary: v1.CanaryRequest{None: true}}
}

func (d *Demo) plan(ctx context.Context) error {
	planned, err := v1.Fetch[v1.Planned](d.lead.PromoteModel(ctx, Model, &v1.PromoteModelParams{}, d.promotion()))
	if err != nil {
		return err
	}
	return d.showPlan(planned)
}

func (d *Demo) showPlan(planned v1.Planned) error {
	var plan promotion.Plan
	if err := json.Unmarshal(planned.Plan, &plan); err != nil {
		return err
	}
	for _, c := range plan.Diff {
		d.say("%s: %s -> %s", c.What, c.From, c.To)
	}
	d.say("plan %s, risk %d of 100, needs %d approvals of roles %v", short(planned.PlanDigest), planned.Risk, planned.ApprovalsNeeded, planned.ApproverRoles)
	return holds(planned.ApprovalsNeeded > 0, "a change of production needs nobody")
}

func (d *Demo) promote(ctx context.Context) error {
	if err := d.enrol(ctx); err != nil {
		return err
	}
	request := d.promotion()
	planned, err := v1.Fetch[v1.Planned](d.lead.PromoteModel(ctx, Model, &v1.PromoteModelParams{}, request))
	if err != nil {
		return err
	}
	request.Apply, request.PlanDigest = true, planned.PlanDigest
	accepted, err := v1.Fetch[v1.ActionAccepted](d.lead.PromoteModel(ctx, Model, &v1.PromoteModelParams{}, request))
	if err != nil {
		return err
	}
	get := func(ctx context.Context) (v1.Action, error) {
		return v1.Fetch[v1.Action](d.lead.GetPromotion(ctx, accepted.ID, &v1.GetPromotionParams{}))
	}
	d.promoted = accepted.ID
	action, err := d.decide(ctx, accepted.ID, get)
	if err != nil {
		return err
	}
	for _, e := range action.Evidence {
		d.say("%-5s runs package %s at snapshot %d", e.Region, short(e.Package), e.Snapshot)
	}
	return nil
}

// decide shows that an action waits, that the requester's vote does not count,
// and that signed votes of others let it go on.
func (d *Demo) decide(ctx context.Context, id string, get func(context.Context) (v1.Action, error)) (v1.Action, error) {
	if err := d.enrol(ctx); err != nil {
		return v1.Action{}, err
	}
	ballot, err := d.ballot(ctx, id)
	if err != nil {
		return v1.Action{}, err
	}
	d.say("waits: %d of %d votes, expires %s", len(ballot.Votes), ballot.Need, ballot.ExpiresAt.Format(time.RFC3339))
	for _, p := range d.people {
		if !slices.Contains(ballot.Roles, p.role) {
			continue // may not decide this
		}
		bundle, err := d.sign(p, ballot)
		if err != nil {
			return v1.Action{}, err
		}
		after, err := v1.Fetch[v1.Ballot](p.CastVote(ctx, id, &v1.CastVoteParams{}, v1.VoteRequest{Bundle: string(bundle)}))
		var problem *v1.ProblemError
		switch {
		case errors.As(err, &problem) && p.name == d.lead.name:
			d.say("%-8s (%s) signs: refused, %s", p.name, p.role, problem.Detail)
			continue
		case err != nil:
			return v1.Action{}, err
		}
		counted, why := counts(after, p.name)
		if p.name == d.lead.name {
			d.say("%-8s (%s) signs: does not count, %s", p.name, p.role, why)
			action, err := get(ctx)
			if err != nil {
				return action, err
			}
			if err := holds(!counted && action.State == "started" && after.Outcome == "pending", "the requester's own vote counted"); err != nil {
				return action, err
			}
			continue
		}
		d.say("%-8s (%s) signs: %d of %d, %s %s", p.name, p.role, len(after.Votes), after.Need, after.Outcome, why)
		if after.Outcome != "pending" {
			break
		}
	}
	for {
		action, err := get(ctx)
		if err != nil {
			return action, err
		}
		if action.State != "planned" && action.State != "started" {
			d.say("%s %s: %s %s", action.Kind, action.ID, action.State, action.Cause)
			return action, holds(action.State == "applied", "it ended %s: %s", action.State, action.Cause)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return action, err
		}
	}
}

// ballot waits until the ballot of an action is open.
func (d *Demo) ballot(ctx context.Context, id string) (v1.Ballot, error) {
	for {
		b, err := v1.Fetch[v1.Ballot](d.lead.GetApproval(ctx, id, &v1.GetApprovalParams{}))
		var problem *v1.ProblemError
		if err == nil || !errors.As(err, &problem) || problem.Status != 404 {
			return b, err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return b, err
		}
	}
}

func counts(b v1.Ballot, name string) (bool, string) {
	for _, v := range b.Votes {
		if v.Approver == name {
			return true, ""
		}
	}
	for i := len(b.Refused) - 1; i >= 0; i-- {
		if b.Refused[i].Approver == name {
			return false, b.Refused[i].Refused
		}
	}
	return false, "not an approver"
}

// sign makes a person's vote for exactly what the ballot is about.
func (d *Demo) sign(p approver, b v1.Ballot) ([]byte, error) {
	statement, err := artifact.NewStatement(b.Kind+" "+b.ID, artifact.Digest(b.PlanDigest), artifact.PredicateApproval, approval.Predicate{
		Decision: "approve", Action: b.ID, Kind: b.Kind, Nonce: b.Nonce, Request: artifact.DigestOf([]byte(b.Request)), Approver: p.name, Reason: "evidence read",
		IssuedAt: time.Now().UTC().Truncate(time.Second), ExpiresAt: b.ExpiresAt,
	})
	if err != nil {
		return nil, err
	}
	return artifact.SignStatement(rand.Reader, p.key, statement)
}
