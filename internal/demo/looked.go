package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/audit"
)

// leaves are those of the audit log that the consortium may read, in order.
func (g *Governance) leaves(ctx context.Context) ([]audit.Leaf, []int64, error) {
	var all []audit.Leaf
	var at []int64
	for from := int64(0); ; {
		page, err := v1.Fetch[v1.LeafPage](g.lead.AuditLeaves(ctx, &v1.AuditLeavesParams{From: from, Limit: 200}))
		if err != nil {
			return nil, nil, err
		}
		for _, item := range page.Items {
			var leaf audit.Leaf
			if len(item.Leaf) == 0 { // another tenant's: its hash alone is shown
				continue
			}
			if err := json.Unmarshal(item.Leaf, &leaf); err != nil {
				return nil, nil, fmt.Errorf("leaf %d: %w", item.Index, err)
			}
			all, at = append(all, leaf), append(at, item.Index)
		}
		if page.Next == 0 {
			return all, at, nil
		}
		from = page.Next
	}
}

// audit looks every step up, in the order in which they were shown.
func (g *Governance) audit(ctx context.Context) error {
	leaves, at, err := g.leaves(ctx)
	if err != nil {
		return err
	}
	policy, promoted, back := g.proposal.ID, g.promoted, g.rollback
	expected := []struct{ what, kind, subject string }{
		{"the first version was trained", "run.", "run/" + g.first.ID},
		{"and judged", "version.judged", fmt.Sprintf("model/%s/%s/%d", Consortium, Model, g.first.Version)},
		{"people let it serve", "vote.counted", "approval/" + promoted},
		{"and it served", "promotion.applied", "promotion/" + promoted},
		{"the version of the drifted rows was judged", "version.judged", fmt.Sprintf("model/%s/%s/%d", Consortium, Model, g.first.Version+1)},
		{"the loop was asked", "feedback.asked", "feedback/"},
		{"it proposed", "proposal.made", "proposal/" + policy},
		{"people agreed", "vote.counted", "approval/" + policy},
		{"the region that drifted got the policy", "policy.active", "policy/" + policy + "/" + drifting},
		{"the rollout was done", "policy.applied", "policy/" + policy},
		{"people let the larger version be tried", "vote.counted", "approval/" + back},
		{"it was given its share", "canary.step", "promotion/" + back},
		{"it went back", "promotion.failed", "promotion/" + back},
	}
	last := -1
	for _, e := range expected {
		found := -1
		for i, l := range leaves {
			if i > last && strings.HasPrefix(l.Kind, e.kind) && strings.HasPrefix(l.Subject, e.subject) {
				found = i
				break
			}
		}
		if found < 0 {
			return holds(false, "%s: the log has no %s of %s after leaf %d", e.what, e.kind, e.subject, last)
		}
		l := leaves[found]
		g.say("leaf %4d  %s  %-17s by %-13s %s: %s", at[found], l.At.Format("15:04:05"), l.Kind, l.Actor, l.Subject, e.what)
		last = found
	}
	return nil
}

// explain walks back from an answer of the version that serves again, and from
// its evidence pack alone, and rebuilds the log.
func (g *Governance) explain(ctx context.Context) error {
	auditor, err := g.as(Consortium, "auditor", "auditor", "data-scientist")
	if err != nil {
		return err
	}
	_, header, err := g.calls.invoke(ctx, trying, trying, 1, g.calls.rows[:1])
	if err != nil {
		return err
	}
	if err := g.Trace(ctx, auditor.token, header, ""); err != nil {
		return err
	}
	pack := filepath.Join(g.State, "evidence.zip")
	if err := g.Evidence(ctx, auditor.token, g.promoted, pack); err != nil {
		return err
	}
	g.say("the same from the evidence pack %s, with nobody to ask:", pack)
	if err := g.Trace(ctx, "", header, pack); err != nil {
		return err
	}
	g.say("fabric audit verify:")
	return g.Audit(ctx, auditor.token)
}
