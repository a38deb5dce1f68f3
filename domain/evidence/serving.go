package evidence

import (
	"fmt"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/routing"
)

// serving verifies the snapshot with which the data plane began to serve the
// version, and the policies that it ran under.
func (w *walker) serving() error {
	text, err := w.read(snapshotFile)
	if err != nil {
		return err
	}
	var s routing.Snapshot
	if err := artifact.DecodeStrict(text, &s); err != nil {
		return fmt.Errorf("%s: %w", snapshotFile, err)
	}
	digest, plan := artifact.DigestOf(text), w.chain.Plan
	published, err := w.find("snapshot.published", fmt.Sprintf("snapshot/%d", s.Version), func(l leaf) bool { return l.Digest == digest })
	if err != nil {
		return err
	}
	said, err := w.open(servingFile, artifact.PredicateSnapshot, digest, "", published.At, nil)
	if err != nil {
		return err
	}
	number, pkg := s.Champion(plan.Tenant, plan.ModelID, plan.Environment, plan.Regions)
	if number != plan.Version.Number || pkg != plan.Version.Package {
		return fmt.Errorf("%w: snapshot %d serves version %d there", ErrChain, s.Version, number)
	}
	w.link("serving", fmt.Sprintf("snapshot %d: version %d in %s", s.Version, number, strings.Join(plan.Regions, ", ")),
		"statement by key %s, published in leaf %d", said.Key.Short(), published.index)
	var revisions []string
	for _, region := range plan.Regions {
		r, policy, ok := s.PolicyOf(region)
		if !ok {
			return fmt.Errorf("%w: snapshot %d has no policy for %s", ErrChain, s.Version, region)
		}
		w.policies[region] = r.PolicyDigest
		if line := fmt.Sprintf("revision %d (%s)", policy.Revision, r.PolicyDigest.Short()); !slices.Contains(revisions, line) {
			revisions = append(revisions, line)
		}
	}
	w.link("policy", strings.Join(revisions, ", "), "the same snapshot holds the documents")
	return nil
}
