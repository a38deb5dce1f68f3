package evidence

import (
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/canary"
)

// rollout judges the canary again, from the raw aggregates of every look, by the
// margins of the plan that was approved: the record shows all that was seen, and
// the log that it is the record which was kept.
func (w *walker) rollout() error {
	plan := w.chain.Plan
	if plan.Canary == nil {
		return nil
	}
	text, err := w.read(rolloutFile)
	if err != nil {
		return err
	}
	digest := artifact.DigestOf(text)
	ended, err := w.find("canary."+canary.FactEnd, "promotion/"+w.chain.Promotion, func(l leaf) bool { return l.Digest == digest })
	if err != nil {
		return err
	}
	var record canary.Record
	if err := artifact.DecodeStrict(text, &record); err != nil {
		return fmt.Errorf("%s: %w", rolloutFile, err)
	}
	if record.Action != w.chain.Promotion || record.Plan != w.chain.Digest {
		return fmt.Errorf("%w: %s is of another promotion", ErrChain, rolloutFile)
	}
	if err := record.Check(*plan.Canary, plan.Regions); err != nil {
		return fmt.Errorf("%s: %w: %w", rolloutFile, ErrChain, err)
	}
	if !record.Whole(*plan.Canary, plan.Regions) {
		return fmt.Errorf("%w: %s does not go through the whole ladder", ErrChain, rolloutFile)
	}
	w.link("canary", fmt.Sprintf("%d steps, %d looks", len(plan.Canary.Steps(plan.Regions)), len(record.Looks)),
		"each look judged again by the margins of the plan; record kept in leaf %d", ended.index)
	return nil
}
