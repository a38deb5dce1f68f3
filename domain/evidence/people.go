package evidence

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/routing"
)

// delegations is where statements are by which others stood in.
const delegations = "approvals/delegations/"

// approvals holds the ballot again, from the request that every vote names and
// the votes as their signers signed them. Nothing is believed of how it ended.
func (w *walker) approvals() error {
	action := "approval/" + w.chain.Promotion
	need, err := w.needed()
	if err != nil {
		return err
	}
	if _, ok := w.Pack[requestFile]; !ok {
		if len(need) > 0 {
			return fmt.Errorf("%w: %d people had to approve, and there is no %s", ErrChain, len(need), requestFile)
		}
		w.link("approval", "nobody's was needed", "risk %d in %s, by the policy's threshold", w.chain.Plan.Risk.Score, w.chain.Plan.Environment)
		return nil
	}
	text, err := w.read(requestFile)
	if err != nil {
		return err
	}
	var req approval.Request
	if err := artifact.DecodeStrict(text, &req); err != nil {
		return fmt.Errorf("%s: %w", requestFile, err)
	}
	if req.Action.ID != w.chain.Promotion || req.Action.Plan != w.chain.Digest || req.Need < len(need) || req.Review != "" {
		return fmt.Errorf("%w: %s asks for another action, or for fewer people than the policy does", ErrChain, requestFile)
	}
	standing, err := w.standing(req)
	if err != nil {
		return err
	}
	ballot := approval.Open(req)
	if slices.ContainsFunc(w.leaves, func(l leaf) bool { return l.Kind == "ballot.escalated" && l.Subject == action }) {
		ballot = ballot.Escalate()
	}
	for i := 0; ; i++ {
		bundle, ok := w.Pack[voteFile(i)]
		if !ok {
			break
		}
		w.seen[voteFile(i)] = true
		envelope, err := artifact.ParseBundle(bundle)
		if err != nil {
			return fmt.Errorf("%s: %w", voteFile(i), err)
		}
		verified := artifact.StatementID(artifact.PayloadType, envelope.Payload)
		counted, err := w.find("vote.counted", action, func(l leaf) bool { return l.Statement == verified })
		if err != nil {
			return err
		}
		vote, _ := approval.Judge(req, bundle, standing, counted.At)
		if vote.Statement != verified && vote.Refused == "" {
			return fmt.Errorf("%w: %s is another vote than leaf %d", ErrChain, voteFile(i), counted.index)
		}
		if ballot, err = ballot.Cast(vote); err != nil {
			return fmt.Errorf("%s: %w", voteFile(i), err)
		}
		who := vote.Approver + " as " + vote.Role
		if vote.For != "" {
			who += ", for " + vote.For
		}
		w.link("approval", fmt.Sprintf("%s: %s", who, vote.Says()), "signed with key %s over plan and request, counted in leaf %d", vote.Key.Short(), counted.index)
	}
	if ballot.Outcome != approval.Approved {
		return fmt.Errorf("%w: the votes leave the ballot %s", ErrChain, ballot.Outcome)
	}
	w.exhibits = req.Evidence
	return nil
}

// needed returns the seats that the policy in force asks for.
func (w *walker) needed() ([][]string, error) {
	var s routing.Snapshot
	if err := artifact.DecodeStrict(w.Pack[snapshotFile], &s); err != nil {
		return nil, err
	}
	plan := w.chain.Plan
	threshold := 100
	for _, region := range plan.Regions {
		if _, document, ok := s.PolicyOf(region); ok {
			threshold = min(threshold, document.Threshold)
		}
	}
	return approval.Required(approval.Action{
		Kind: approval.KindPromotion, Environment: plan.Environment, Risk: plan.Risk.Score, Loosens: plan.Risk.Loosens, Rollback: plan.Rollback,
	}, threshold), nil
}

// standing reads the delegations, each signed by an approver of the request.
func (w *walker) standing(req approval.Request) (approval.Standing, error) {
	var out approval.Standing
	people := slices.Concat(req.Approvers, req.Reserve)
	for _, path := range slices.Sorted(maps.Keys(w.Pack)) {
		if !strings.HasPrefix(path, delegations) {
			continue
		}
		w.seen[path] = true
		granted, err := approval.Grant(w.Pack[path], people, req.OpenedAt)
		if err != nil {
			return out, fmt.Errorf("%s: %w", path, err)
		}
		out.Delegations = append(out.Delegations, granted)
	}
	return out, nil
}

// shown finds what the approvers were to look at: every vote names the digest
// of the request, and the request that of each exhibit. What is not in the pack
// itself is named by something that was verified.
func (w *walker) shown() error {
	plan := w.chain.Plan
	where := map[artifact.Digest]string{
		plan.Version.Package: "the plan's package", plan.Version.Weights: "the package's weights", plan.Observed.Package: "what the plan found serving",
	}
	for _, path := range slices.Sorted(maps.Keys(w.Pack)) {
		where[artifact.DigestOf(w.Pack[path])] = path
	}
	for _, region := range slices.Backward(slices.Sorted(maps.Keys(w.policies))) {
		where[w.policies[region]] = "the policy that " + region + " runs"
	}
	for _, e := range w.exhibits {
		which, ok := where[e.Digest]
		if !ok {
			return fmt.Errorf("%w: the approvers were shown %s (%s), and it is not here", ErrChain, e.Name, e.Digest.Short())
		}
		if _, ok := w.Pack[which]; ok {
			w.seen[which] = true
		}
		w.link("shown", e.Name, "%s: the request that every vote names has its digest", which)
	}
	return nil
}
