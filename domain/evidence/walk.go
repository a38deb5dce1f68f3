package evidence

import (
	"errors"
	"fmt"
	"time"

	"github.com/atom-fabric/fabric/domain/approval"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
	"github.com/atom-fabric/fabric/domain/promotion"
	"github.com/atom-fabric/fabric/domain/provenance"
	"github.com/atom-fabric/fabric/domain/trust"
)

// ErrChain says that a link between a promotion and where it came from is
// broken; the error names the link.
var ErrChain = errors.New("the chain is broken")

// A Trust is what a verifier brings along: nothing of it is in a pack.
type Trust struct {
	Keys        *trust.Judge   // who may say what
	Environment string         // that the keys are trusted in
	Log         audit.Verifier // the audit log's name and key
	Now         time.Time
}

// A Link is one verified step, for people.
type Link struct {
	What     string `json:"what"`
	Which    string `json:"which"`
	Evidence string `json:"evidence"` // how it was verified
}

// A Chain is what a pack shows.
type Chain struct {
	Promotion string // action id
	Plan      promotion.Plan
	Digest    artifact.Digest // of the plan
	Package   provenance.Package
	Rounds    []provenance.Round // first to last; none for an uploaded model
	Links     []Link
}

// Names of the files of a pack.
const (
	planFile       = "promotion/plan.json"
	outcomeFile    = "promotion/statement.bundle.json"
	manifestFile   = "package/manifest.json"
	packageFile    = "package/statement.bundle.json"
	cardFile       = "package/card.json"
	scorecardFile  = "package/scorecard.json"
	snapshotFile   = "serving/snapshot.json"
	servingFile    = "serving/statement.bundle.json"
	rolloutFile    = "canary/record.json"
	requestFile    = "approvals/request.json"
	checkpointFile = "audit/checkpoint"
	leavesFile     = "audit/leaves.json"
	bomFile        = "model-card.cdx.json"
	readmeFile     = "MODEL_CARD.md"
)

func roundFile(number int) string { return fmt.Sprintf("rounds/%06d.bundle.json", number) }
func voteFile(i int) string       { return fmt.Sprintf("approvals/votes/%03d.bundle.json", i+1) }

// Verify walks from the promotion back to the rows' consent, and forward to
// what served, and returns every link that holds. Offline: it asks nobody.
// Errors: those of [artifact.VerifyError] and [trust.RefusalError], of package
// audit, and [ErrChain], each naming the file; the chain then has the links
// before the broken one.
func (p Pack) Verify(t Trust) (Chain, error) {
	w := &walker{Pack: p, trust: t, seen: map[string]bool{}, policies: map[string]artifact.Digest{}}
	for _, step := range []func() error{w.log, w.promotion, w.model, w.judged, w.rounds, w.consents, w.serving, w.rollout, w.approvals, w.shown, w.cards} {
		if err := step(); err != nil {
			return w.chain, err
		}
	}
	for path := range p {
		if !w.seen[path] {
			return w.chain, fmt.Errorf("%w: nothing stands for %s", ErrChain, path)
		}
	}
	return w.chain, nil
}

// A walker is on its way through a pack.
type walker struct {
	Pack
	trust  Trust
	chain  Chain
	leaves []leaf
	seen   map[string]bool

	exhibits []approval.Exhibit         // what the approvers were shown
	policies map[string]artifact.Digest // by region
}

func (w *walker) link(what, which, evidence string, args ...any) {
	w.chain.Links = append(w.chain.Links, Link{what, which, fmt.Sprintf(evidence, args...)})
}

// read returns a file of the pack.
func (w *walker) read(path string) ([]byte, error) {
	content, ok := w.Pack[path]
	if !ok {
		return nil, fmt.Errorf("%w: there is no %s", ErrChain, path)
	}
	w.seen[path] = true
	return content, nil
}

// open verifies a bundle, as of when the audit log says that it was accepted.
// Repository is where the subject is kept, "" when in none.
func (w *walker) open(path, predicateType string, subject artifact.Digest, repository string, at time.Time, into any) (artifact.Verified, error) {
	bundle, err := w.read(path)
	if err != nil {
		return artifact.Verified{}, err
	}
	verified, err := w.trust.Keys.Verify(bundle, trust.Question{
		PredicateType: predicateType, Subject: subject, Environment: w.trust.Environment, Repository: repository, At: at, Now: w.trust.Now,
	})
	if err != nil {
		return verified, fmt.Errorf("%s: %w", path, err)
	}
	if into != nil {
		if err := artifact.DecodeStrict(verified.Predicate, into); err != nil {
			return verified, fmt.Errorf("%s: %w", path, err)
		}
	}
	return verified, nil
}
