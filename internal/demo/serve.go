package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/examples/tumour"
)

// ask sends held-out rows to the router and returns the answer with its audit
// header.
func (d *Demo) ask(ctx context.Context, preferences string) (v1.Invocation, string, error) {
	_, held := tumour.Pooled()
	rows := held.Rows
	input, err := json.Marshal(map[string]any{"data": rows[:min(4, len(rows))]})
	if err != nil {
		return v1.Invocation{}, "", err
	}
	resp, err := d.lead.Invoke(ctx, v1.InvokeRequest{Tenant: Consortium, ModelID: Model, Input: input, Preferences: v1.JSON(preferences)})
	header := ""
	if err == nil {
		header = resp.Header.Get("X-Fabric-Audit")
	}
	answer, err := v1.Fetch[v1.Invocation](resp, err)
	return answer, header, err
}

func (d *Demo) route(ctx context.Context) error {
	for _, preference := range []string{`{"explain": true}`, `{"region": "apac", "explain": true}`} {
		answer, header, err := d.ask(ctx, preference)
		if err != nil {
			return err
		}
		d.say("asked with %s: %s in %s answers with version %d", preference, answer.Endpoint, answer.Region, answer.Version)
		d.say("  because %s", answer.Decision)
		d.say("  output %s", clip(string(answer.Output)))
		d.say("  X-Fabric-Audit: %s", header)
		d.audit = header
		if err := holds(answer.Version == d.run.Version && header != "", "the promoted version did not answer"); err != nil {
			return err
		}
	}
	return nil
}

// clip shortens an answer for the screen.
func clip(s string) string {
	if len(s) > 160 {
		return s[:160] + " ..."
	}
	return s
}

// policy keeps the consortium's calls in two regions, and shows that the third
// is refused from then on. Which one that is alternates, so that the
// demonstration changes something each time.
func (d *Demo) policy(ctx context.Context) error {
	page, err := v1.Fetch[v1.PolicyPage](d.lead.ListPolicies(ctx, &v1.ListPoliciesParams{}))
	if err != nil {
		return err
	}
	var newest int64
	barred, permitted := "us", "eu"
	for _, r := range page.Regions { // the first revision was rolled out by nobody
		newest = max(newest, r.Revision)
	}
	for _, r := range page.Items {
		if r.Revision == newest {
			if bytes.Contains(r.Document, []byte(`"eu"`)) {
				barred, permitted = "eu", "us"
			} else {
				barred, permitted = "us", "eu"
			}
		}
	}
	document := v1.PolicyDocument{
		Revision: newest + 1, Threshold: 20, Weights: v1.PolicyWeights{Latency: 500, Cost: 200, Fabric: 200, Locality: 100},
		Rules: []v1.PolicyRule{
			{Name: "tumour-stays-out-of-" + barred, Tenant: Consortium, Model: "*", Regions: []string{permitted, "apac"}, Kinds: []v1.PolicyRuleKinds{"neural"}},
			{Name: "everyone-everywhere", Tenant: "*", Model: "*", Regions: []string{"*"}, Kinds: []v1.PolicyRuleKinds{"neural"}},
		},
	}
	proposal := v1.PolicyProposal{Document: document}
	planned, err := v1.Fetch[v1.Planned](d.lead.ProposePolicy(ctx, &v1.ProposePolicyParams{}, proposal))
	if err != nil {
		return err
	}
	if err := d.showPlan(planned); err != nil {
		return err
	}
	proposal.Apply, proposal.PlanDigest = true, planned.PlanDigest
	accepted, err := v1.Fetch[v1.ActionAccepted](d.lead.ProposePolicy(ctx, &v1.ProposePolicyParams{}, proposal))
	if err != nil {
		return err
	}
	action, err := d.decide(ctx, accepted.ID, func(ctx context.Context) (v1.Action, error) {
		return v1.Fetch[v1.Action](d.lead.GetRollout(ctx, accepted.ID, &v1.GetRolloutParams{}))
	})
	if err != nil {
		return err
	}
	for _, e := range action.Evidence {
		d.say("%-5s runs policy %s at snapshot %d", e.Region, short(e.Policy), e.Snapshot)
	}
	_, _, err = d.ask(ctx, `{"region": "`+barred+`"}`)
	var problem *v1.ProblemError
	if !errors.As(err, &problem) {
		return holds(false, "a call to %s was not refused: %v", barred, err)
	}
	d.say("a call that asks for %s: %d %s, %s", barred, problem.Status, problem.Code, problem.Detail)
	return holds(problem.Status == http.StatusForbidden, "status %d", problem.Status)
}

func (d *Demo) tune(ctx context.Context) error {
	card, err := v1.Fetch[v1.Scorecard](d.lead.GetScorecard(ctx, Model, &v1.GetScorecardParams{}))
	if err != nil {
		return err
	}
	d.say("scorecard %s, score %d: %s", card.Status, card.Score, clip(string(card.Card)))
	accepted, err := v1.Fetch[v1.ActionAccepted](d.lead.SuggestTuning(ctx, &v1.SuggestTuningParams{}, v1.TuningRequest{ModelID: Model, Environment: "dev"}))
	if err != nil {
		return err
	}
	for {
		action, err := v1.Fetch[v1.Action](d.lead.GetSuggestion(ctx, accepted.ID, &v1.GetSuggestionParams{}))
		if err != nil {
			return err
		}
		if action.State != "started" && action.State != "planned" {
			d.say("%s: %s %s", action.ID, action.State, action.Cause)
			if len(action.Plan) > 0 {
				var plan struct {
					Tuning struct{ Parameter, From, To string }
				}
				if err := json.Unmarshal(action.Plan, &plan); err != nil {
					return err
				}
				d.say("suggests %s: %s -> %s; not applied, for nobody asked for that", plan.Tuning.Parameter, plan.Tuning.From, plan.Tuning.To)
			}
			return holds(action.State == "suggested" || action.State == "nothing", "it ended %s", action.State)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func (d *Demo) trace(ctx context.Context) error {
	auditor, err := d.as(Consortium, "auditor", "auditor", "data-scientist")
	if err != nil {
		return err
	}
	if d.audit == "" {
		return fmt.Errorf("%w: no answer to trace", ErrShown)
	}
	if err := d.Trace(ctx, auditor.token, d.audit, ""); err != nil {
		return err
	}
	pack := filepath.Join(d.State, "evidence.zip")
	if err := d.Evidence(ctx, auditor.token, d.promoted, pack); err != nil {
		return err
	}
	d.say("the same from the evidence pack %s, with nobody to ask:", pack)
	return d.Trace(ctx, "", d.audit, pack)
}
