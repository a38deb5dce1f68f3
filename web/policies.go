package web

import (
	"encoding/json"
	"fmt"
	"html/template"
	"slices"

	"github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/chart"
	"github.com/atom-fabric/fabric/domain/feedback"
)

// policiesPage is the hub: revisions against regions, and what was proposed.
type policiesPage struct {
	Regions   []string
	Rows      []revisionRow
	Next      string
	First     bool
	Proposals []v1.Proposal
	Later     string // the next page of proposals
}

// A revisionRow is a revision and what is known of it in each region.
type revisionRow struct {
	v1.PolicyRevision
	Cells []revisionCell
}

// A revisionCell is the last that is known of a revision in a region.
type revisionCell struct {
	Region string
	State  string // published, delivered, verified, active, halted, rolled-back; "" for nothing
	Class  string
	Last   v1.RolloutRegion
}

// revisionsShown is how many revisions a page asks the regions of.
const revisionsShown = 10

func policies(v *visit) error {
	var got v1.PolicyPage
	var proposals v1.ProposalPage
	err := together(
		func() (err error) {
			got, err = v1.Fetch[v1.PolicyPage](v.api.ListPolicies(v.ctx(), &v1.ListPoliciesParams{Cursor: v.query("cursor"), Limit: revisionsShown}))
			return
		},
		func() (err error) {
			proposals, err = v1.Fetch[v1.ProposalPage](v.api.ListProposals(v.ctx(), &v1.ListProposalsParams{Cursor: v.query("proposals"), Limit: 20}))
			return
		},
	)
	if err != nil {
		return err
	}
	last, err := v.lastOf(got.Items)
	if err != nil {
		return err
	}
	p := policiesPage{Next: nextPage(got.Next, "proposals", v.query("proposals")), First: v.query("cursor") == "", Proposals: proposals.Items}
	if proposals.Next != "" {
		p.Later = "?" + filters("cursor", v.query("cursor"), "proposals", proposals.Next)
	}
	inForce := map[string]int64{}
	for _, r := range got.Regions {
		p.Regions = append(p.Regions, r.Region)
		inForce[r.Region] = r.Revision
	}
	slices.Sort(p.Regions)
	for i, revision := range got.Items {
		row := revisionRow{PolicyRevision: revision}
		for _, region := range p.Regions {
			row.Cells = append(row.Cells, cellOf(region, last[i][region], inForce[region] == revision.Revision))
		}
		p.Rows = append(p.Rows, row)
	}
	return v.render("policies", "Policies", p)
}

// lastOf returns, for each revision, the last that is known of it by region.
func (v *visit) lastOf(revisions []v1.PolicyRevision) ([]map[string]v1.RolloutRegion, error) {
	all := make([]map[string]v1.RolloutRegion, len(revisions))
	var questions []func() error
	for i, revision := range revisions {
		if revision.Action == "" {
			continue
		}
		questions = append(questions, func() error {
			states, err := v1.Fetch[v1.RolloutRegions](v.api.ListRolloutRegions(v.ctx(), revision.Action, nil))
			last := map[string]v1.RolloutRegion{}
			for _, s := range states.Items {
				if before, ok := last[s.Region]; !ok || !s.At.Before(before.At) {
					last[s.Region] = s
				}
			}
			all[i] = last
			return absent(err)
		})
	}
	return all, together(questions...)
}

// cellOf says how far a revision got in a region. What the snapshot names is in
// force there; that it was only delivered once is history.
func cellOf(region string, last v1.RolloutRegion, inForce bool) revisionCell {
	c := revisionCell{Region: region, State: string(last.State), Last: last}
	switch last.State {
	case v1.Active:
		if inForce {
			c.Class = "good"
		} else {
			c.State = "was active"
		}
	case v1.Halted, v1.RolledBack:
		c.Class = "bad"
	case "":
		if inForce {
			c.State, c.Class = "named", "warn" // by the snapshot; no router has said that it runs it
		}
	default:
		c.Class = "warn"
	}
	return c
}

// policyRollout is one policy rollout with its regions.
type policyRollout struct {
	Action   v1.Action
	Regions  []v1.RolloutRegion
	Acts     []act
	Temporal string
	State    string
}

func policyRolloutOf(v *visit) (policyRollout, error) {
	id := v.path("id")
	var action v1.Action
	var regions v1.RolloutRegions
	err := together(
		func() (err error) { action, err = v1.Fetch[v1.Action](v.api.GetRollout(v.ctx(), id, nil)); return },
		func() (err error) {
			regions, err = v1.Fetch[v1.RolloutRegions](v.api.ListRolloutRegions(v.ctx(), id, nil))
			return
		},
	)
	if err != nil {
		return policyRollout{}, err
	}
	p := policyRollout{Action: action, Regions: regions.Items, State: action.State}
	p.Temporal = v.workflowLink(action.WorkflowID)
	return p, nil
}

func policyPage(v *visit) error {
	p, err := policyRolloutOf(v)
	if err != nil {
		return err
	}
	role := v.lacks("operator", "admin")
	off := when(p.Action.State != "started", fmt.Sprintf("The rollout is %s.", p.Action.State))
	for _, a := range []act{{Name: "pause", Label: "Pause"}, {Name: "resume", Label: "Resume"}, {Name: "abort", Label: "Abort and go back", Danger: true, Type: "abort"}} {
		a.Link, a.Reason, a.Fields = link("policies", "rollouts", p.Action.ID, "steer"), true, map[string]string{"do": a.Name}
		p.Acts = append(p.Acts, a.unless(off, role))
	}
	return v.render("policy", "Policy rollout "+p.Action.ID, p)
}

func policyPart(v *visit) (part, error) {
	p, err := policyRolloutOf(v)
	return part{Page: "policy", Template: "part", Body: p, State: p.State}, err
}

func steerPolicy(v *visit) error {
	id, do := v.path("id"), v.field("do")
	if do == "abort" && v.field("typed") != "abort" {
		return &refusal{422, "Nothing was done", "To abort, type the word abort into the form."}
	}
	_, err := v1.Fetch[v1.PolicySteered](v.api.SteerPolicy(v.ctx(), id, nil, v1.PolicySteer{Do: v1.PolicySteerDo(do), Reason: v.field("reason")}, v.once()))
	if err != nil {
		return err
	}
	return v.redirect(link("policies", "rollouts", id) + "?done=policy-" + do)
}

// proposalPage is what the policy loop proposed, with its evidence.
type proposalPage struct {
	v1.Proposal
	Said     feedback.Proposal
	Evidence template.HTML
}

func proposal(v *visit) error {
	got, err := v1.Fetch[v1.Proposal](v.api.GetProposal(v.ctx(), v.path("id"), nil))
	if err != nil {
		return err
	}
	p := proposalPage{Proposal: got}
	if len(got.Predicate) > 0 {
		if err := json.Unmarshal(got.Predicate, &p.Said); err != nil {
			return fmt.Errorf("proposal %s: %w", got.ID, err)
		}
	}
	e := p.Said.Evidence
	if e.N > 0 {
		p.Evidence = chart.HTML(chart.Intervals{Title: "Effect, and the least that matters", Rows: []chart.Interval{{Name: e.Metric, Estimate: e.Effect, Low: &e.Low, High: &e.High, Margin: &e.Least, State: chart.Hold}}})
	}
	return v.render("proposal", "Proposal "+got.ID, p)
}
