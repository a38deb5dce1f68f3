package evidence

import (
	"encoding/json"
	"fmt"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/provenance"
	"github.com/atom-fabric/fabric/domain/routing"
)

// Material is what a pack is made of: bytes as they were signed and stored.
type Material struct {
	Promotion string // action id
	Plan      []byte
	Outcome   []byte         // bundle over the plan's package: it was decided
	Manifest  []byte         // of the package
	Package   []byte         // bundle over it
	Card      []byte         // absent where the package has none
	Scorecard []byte         // that counted, see [Judged]; absent where none was kept
	Rounds    map[int][]byte // bundle of each round, by number
	Serving   routing.Signed
	Rollout   []byte            // canary.Record; absent where everybody got it at once
	Request   *approval.Request // absent when nobody had to approve
	Votes     [][]byte          // bundles of those that counted, in their order
	Delegated [][]byte          // bundles by which some of them stood in
	Note      string            // signed checkpoint
	Leaves    []Proved          // by index
}

// Build puts a pack together and writes its cards. It believes what it is given
// and verifies nothing: that is for whoever reads the pack.
// Errors: for a plan or a statement that does not decode.
func (m Material) Build() (Pack, error) {
	chain := Chain{Promotion: m.Promotion, Digest: artifact.DigestOf(m.Plan)}
	if err := artifact.DecodeStrict(m.Plan, &chain.Plan); err != nil {
		return nil, fmt.Errorf("%s: %w", planFile, err)
	}
	if chain.Plan.Version == nil {
		return nil, fmt.Errorf("%w: %s promotes no version", ErrChain, planFile)
	}
	if err := predicate(m.Package, &chain.Package); err != nil {
		return nil, fmt.Errorf("%s: %w", packageFile, err)
	}
	leaves, err := artifact.Canonical(m.Leaves)
	if err != nil {
		return nil, err
	}
	p := Pack{
		planFile: m.Plan, outcomeFile: m.Outcome, manifestFile: m.Manifest, packageFile: m.Package,
		snapshotFile: m.Serving.Snapshot, servingFile: m.Serving.Bundle, checkpointFile: []byte(m.Note), leavesFile: leaves,
	}
	if m.Card != nil {
		p[cardFile] = m.Card
	}
	if m.Scorecard != nil {
		p[scorecardFile] = m.Scorecard
	}
	if m.Rollout != nil {
		p[rolloutFile] = m.Rollout
	}
	for number := 0; number <= chain.Package.Round; number++ {
		bundle, ok := m.Rounds[number]
		if !ok {
			continue // public bounds are a normalisation: such a run has no round 0
		}
		var r provenance.Round
		if err := predicate(bundle, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", roundFile(number), err)
		}
		chain.Rounds = append(chain.Rounds, r)
		p[roundFile(number)] = bundle
	}
	if m.Request != nil {
		if p[requestFile], err = artifact.Canonical(*m.Request); err != nil {
			return nil, err
		}
	}
	for i, bundle := range m.Votes {
		p[voteFile(i)] = bundle
	}
	for i, bundle := range m.Delegated {
		p[fmt.Sprintf("%s%03d.bundle.json", delegations, i+1)] = bundle
	}
	p[readmeFile], p[bomFile] = readme(chain), bom(chain)
	return p, nil
}

// predicate reads what a bundle says, whoever signed it.
func predicate(bundle []byte, into any) error {
	envelope, err := artifact.ParseBundle(bundle)
	if err != nil {
		return err
	}
	statement, err := artifact.ParseStatement(envelope.Payload)
	if err != nil {
		return err
	}
	return json.Unmarshal(statement.Predicate, into)
}
