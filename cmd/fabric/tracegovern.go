package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/evidence"
	"github.com/atom-fabric/fabric/domain/policy"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// governed returns how the policy came about under which an answer was given, and
// what was tried in the place of the version since it was promoted and is gone.
// An action that the caller may not see is left out.
func (c *caller) governed(ctx context.Context, d answered, promoted string, serves promotion.Plan) ([]evidence.Link, error) {
	leaves, err := c.leavesOf(ctx)
	if err != nil {
		return nil, err
	}
	var links []evidence.Link
	if d.Policy > 0 {
		if links, err = c.policyOf(ctx, d, leaves); err != nil {
			return nil, err
		}
	}
	from := slices.IndexFunc(leaves, func(n numbered) bool {
		return n.leaf.Kind == "promotion.applied" && n.leaf.Subject == "promotion/"+promoted
	})
	for _, n := range leaves[from+1:] {
		id, ok := strings.CutPrefix(n.leaf.Subject, "promotion/")
		if !ok || n.leaf.Kind != "promotion.failed" {
			continue
		}
		action, plan, err := shown(c.GetPromotion(ctx, id, &v1.GetPromotionParams{Tenant: c.tenant}))
		if err != nil {
			return nil, err
		}
		if plan.Version == nil || plan.ModelID != serves.ModelID || plan.Environment != serves.Environment {
			continue
		}
		links = append(links, evidence.Link{
			What: "tried since", Which: fmt.Sprintf("%s: version %d", id, plan.Version.Number), Evidence: fmt.Sprintf("leaf %d: %s", n.index, action.Cause),
		})
	}
	return links, nil
}

// policyOf finds the rollout of a revision: what proposed it, who agreed, and
// when the region of the answer had it.
func (c *caller) policyOf(ctx context.Context, d answered, leaves []numbered) ([]evidence.Link, error) {
	for i, n := range slices.Backward(leaves) {
		id, ok := strings.CutPrefix(n.leaf.Subject, "policy/")
		if !ok || n.leaf.Kind != "policy.applied" {
			continue
		}
		_, plan, err := shown(c.GetRollout(ctx, id, &v1.GetRolloutParams{Tenant: c.tenant}))
		if err != nil {
			return nil, err
		}
		var document policy.Document
		if plan.Policy == nil || json.Unmarshal(*plan.Policy, &document) != nil || document.Revision != d.Policy {
			continue
		}
		links := []evidence.Link{{What: "policy", Which: fmt.Sprintf("revision %d by %s", d.Policy, id), Evidence: fmt.Sprintf("applied in leaf %d: %s", n.index, plan.Summary())}}
		for _, before := range leaves[:i] {
			switch l := before.leaf; {
			case l.Kind == "proposal.made" && l.Subject == "proposal/"+id:
				links = append(links, evidence.Link{What: "policy proposal", Which: id, Evidence: fmt.Sprintf("leaf %d, statement %s over its evidence and replay", before.index, l.Statement.Short())})
			case l.Kind == "vote.counted" && l.Subject == "approval/"+id:
				links = append(links, evidence.Link{What: "policy approval", Which: l.Actor, Evidence: fmt.Sprintf("leaf %d", before.index)})
			case l.Kind == "policy.active" && l.Subject == "policy/"+id+"/"+d.Region:
				links = append(links, evidence.Link{What: "policy in region", Which: d.Region, Evidence: fmt.Sprintf("leaf %d", before.index)})
			}
		}
		return links, nil
	}
	return nil, nil
}

// shown reads an action and its plan. One that is hidden is empty.
func shown(resp *http.Response, err error) (v1.Action, promotion.Plan, error) {
	var plan promotion.Plan
	action, err := v1.Fetch[v1.Action](resp, err)
	var problem *v1.ProblemError
	if errors.As(err, &problem) && (problem.Status == http.StatusForbidden || problem.Status == http.StatusNotFound) {
		return v1.Action{}, plan, nil
	}
	if err != nil {
		return action, plan, err
	}
	if err := json.Unmarshal(action.Plan, &plan); err != nil {
		return action, plan, fmt.Errorf("%w: plan of %s: %w", ErrChain, action.ID, err)
	}
	return action, plan, nil
}
