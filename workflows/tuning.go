package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/domain/promotion"
)

// AutoTune computes a scorecard and suggests one parameter from it. It applies
// the suggestion only when asked to, and through the same gate as any other
// plan. However it ends, that is recorded: by ApplySuggestion when it was
// applied, else by RecordOutcome.
func AutoTune(ctx workflow.Context, in contract.TuneInput) (contract.TuneResult, error) {
	begin(ctx, in.Subject, "scorecard")
	t := &tune{in: in}
	err := t.run(ctx)
	if err != nil {
		t.decision = ended(err)
	}
	done, cancel := closing(ctx)
	defer cancel()
	stage(done, t.outcome)
	show(done, fmt.Sprintf("**%s**: tuning of %s", t.outcome, in.ModelID), "", fmt.Sprintf("scorecard %s, %d of 100", t.card.Status, t.card.Score), t.reason())
	lost := t.record(done)
	result := contract.TuneResult{
		Action:  in.Action,
		Outcome: t.outcome,
		Reason:  t.reason(),
		Card:    t.card.Card.Digest,
		Plan:    t.suggestion.Plan.Digest,
		Score:   t.card.Score,
	}
	if canceled(ctx, err) {
		return result, err
	}
	return result, lost
}

// tune is the state of a tuning.
type tune struct {
	decision
	in         contract.TuneInput
	card       contract.Scorecard
	suggestion contract.Suggestion
}

func (t *tune) run(ctx workflow.Context) error {
	in := t.in
	var err error
	if t.card, err = contract.ComputeScorecard.Execute(quick(ctx, "scorecard"), in); err != nil {
		return err
	}
	if t.suggestion, err = contract.Suggest.Execute(quick(ctx, "one suggestion"), t.card); err != nil {
		return err
	}
	switch {
	case t.suggestion.Plan.Digest == "":
		t.outcome, t.cause = contract.Unchanged, t.suggestion.Reason
		return nil
	case !in.Apply:
		t.outcome = contract.Suggested
		return nil
	}
	checked, said, err := gate(ctx, contract.CheckInput{
		Subject:   in.Subject,
		Action:    in.Action,
		Kind:      promotion.KindTuning,
		Requester: in.Requester,
		Plan:      t.suggestion.Plan,
	}, nil)
	t.decision = said
	if err != nil || t.outcome != "" {
		return err
	}
	stage(ctx, "apply")
	applied, err := contract.ApplySuggestion.Execute(quick(ctx, "the tuned parameter"), contract.ApplyInput{Subject: in.Subject, Action: in.Action, Plan: t.suggestion.Plan, Grant: checked.Grant})
	t.outcome = applied.Outcome
	return err
}

// record records the end, unless applying did.
func (t *tune) record(ctx workflow.Context) error {
	if t.outcome == contract.Applied {
		return nil
	}
	_, err := contract.RecordOutcome.Execute(quick(ctx, "record the outcome: "+t.outcome), contract.OutcomeInput{
		Subject: t.in.Subject,
		Action:  t.in.Action,
		Kind:    promotion.KindTuning,
		Outcome: t.outcome,
		Cause:   t.reason(),
		Plan:    t.suggestion.Plan.Digest,
	})
	return err
}

// reason is why it ended so, or how the suggestion was found.
func (t *tune) reason() string {
	if t.cause != "" {
		return t.cause
	}
	return t.suggestion.Reason
}
