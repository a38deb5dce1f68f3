package workflows

import (
	"fmt"
	"slices"

	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// A decision says whether a gated action may run. An empty outcome is yes.
type decision struct {
	outcome string // one of the contract's
	cause   string
}

// ended is the decision not to run, because of err.
func ended(err error) decision {
	why := explain(err, contract.BadPlan)
	switch why.kind {
	case contract.StalePlan:
		return decision{contract.Stale, why.words}
	case contract.OldPlan:
		return decision{contract.Expired, why.words}
	}
	return decision{contract.Failed, why.words}
}

// gate returns the plan if it may run now: it fits the world, and if that takes
// people, they approved exactly its digest and it fits the world still. Nobody is
// asked about a plan that first refuses. err is cancellation only.
func gate(ctx workflow.Context, in contract.CheckInput, first func(promotion.Plan) error) (contract.Checked, decision, error) {
	checked, err := contract.CheckPlan.Execute(look(ctx, "does the plan fit the world?"), in)
	if canceled(ctx, err) {
		return checked, decision{}, err
	}
	if err != nil {
		return checked, ended(err), nil
	}
	label(ctx, contract.AttrRisk.ValueSet(int64(checked.Risk)))
	req := checked.Request
	if req.Need == 0 {
		label(ctx, contract.AttrApproval.ValueSet("not needed"))
		return mint(ctx, in, checked)
	}
	if req.Action.Plan != in.Plan.Digest || req.Action.ID != in.Action {
		return checked, decision{contract.Failed, "the ballot is about another plan"}, nil
	}
	if first != nil {
		if err := first(checked.Plan); canceled(ctx, err) {
			return checked, decision{}, err
		} else if err != nil {
			return checked, ended(err), nil
		}
	}

	label(ctx, contract.AttrApproval.ValueSet(string(approval.Pending)), contract.AttrStage.ValueSet("approval"))
	show(ctx, fmt.Sprintf("**waits for %d approvals**: %s", req.Need, req.Action.Summary), "", "risk "+fmt.Sprint(checked.Risk))
	name := fmt.Sprintf("approve %s (risk %d)", req.Action.Summary, req.Action.Risk)
	opts := child(ctx, contract.ApprovalID(in.Action), contract.QueueControl, name, 0, labels(in.Subject, "approval"))
	ballot, err := contract.Approval.Execute(opts, req)
	if canceled(ctx, err) {
		return checked, decision{}, err
	}
	if err != nil {
		return checked, ended(err), nil
	}
	label(ctx, contract.AttrApproval.ValueSet(string(ballot.Outcome)))
	if said := verdictOf(ballot); said.outcome != "" {
		return checked, said, nil
	}

	// Days may have passed: what was approved must still fit.
	again, err := contract.CheckPlan.Execute(look(ctx, "does it fit still?"), in)
	if canceled(ctx, err) {
		return checked, decision{}, err
	}
	if err != nil {
		return checked, ended(err), nil
	}
	checked.Plan = again.Plan
	return mint(ctx, in, checked)
}

// mint adds the grant without which nothing is written.
func mint(ctx workflow.Context, in contract.CheckInput, checked contract.Checked) (contract.Checked, decision, error) {
	grant, err := contract.MintGrant.Execute(quick(ctx, "the grant"), contract.MintInput{CheckInput: in})
	if canceled(ctx, err) {
		return checked, decision{}, err
	}
	if err != nil {
		return checked, ended(err), nil
	}
	checked.Grant = grant
	return checked, decision{}, nil
}

// verdictOf is what a ballot that is over decides. Empty is yes.
func verdictOf(ballot approval.Ballot) decision {
	if ballot.Aged() {
		return decision{contract.Expired, promotion.ErrExpired.Error()}
	}
	switch ballot.Outcome {
	case approval.Approved:
		return decision{}
	case approval.Rejected, approval.Returned, approval.Revoked:
		return decision{contract.Rejected, objection(ballot)}
	case approval.Lapsed:
		return decision{contract.Expired, approval.ErrLapsed.Error()}
	}
	return decision{contract.Expired, "the ballot expired"}
}

// objection returns who was against, and why.
func objection(b approval.Ballot) string {
	verb := map[string]string{
		approval.Reject:         "rejected by ",
		approval.RequestChanges: "changes requested by ", // a new plan, and a new ballot
		approval.Revoke:         "approval revoked by ",
	}
	for _, v := range slices.Concat(b.Votes, b.Withdrawn) {
		if before, ok := verb[v.Says()]; ok && (v.Says() != approval.Revoke || b.Outcome == approval.Revoked) {
			return before + v.Approver + ": " + v.Reason
		}
	}
	return string(b.Outcome)
}
