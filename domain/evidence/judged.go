package evidence

import (
	"fmt"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/audit"
)

// judgedKind is the leaf that a version's scorecard is kept with.
const judgedKind = "version.judged"

// Judged returns the scorecard that counted when a version was promoted: the
// last one that the log names before the leaf that says that a promotion was
// applied. It verifies nothing: see [Pack.Verify]. False where none was kept.
func Judged(leaves []Proved, tenant, model string, version int) (artifact.Digest, bool) {
	var all []leaf
	for _, p := range leaves {
		body, err := audit.Decode([]byte(p.Leaf))
		if err != nil {
			return "", false
		}
		all = append(all, leaf{body, p.Index})
	}
	found, ok := judged(all, versionOf(tenant, model, version))
	return found.Digest, ok
}

func versionOf(tenant, model string, version int) string {
	return fmt.Sprintf("model/%s/%s/%d", tenant, model, version)
}

func judged(leaves []leaf, subject string) (found leaf, ok bool) {
	for _, l := range leaves {
		switch {
		case l.Kind == "promotion.applied":
			return found, ok
		case l.Kind == judgedKind && l.Subject == subject:
			found, ok = l, true
		}
	}
	return found, ok
}

// judged verifies the scorecard that counted, where the log names one: with its
// intervals, its privacy spent, and what stood against the version or did not.
func (w *walker) judged() error {
	plan := w.chain.Plan
	said, ok := judged(w.leaves, versionOf(plan.Tenant, plan.ModelID, plan.Version.Number))
	if !ok {
		return nil // and a file of that name then stands for nothing
	}
	card, err := w.read(scorecardFile)
	if err != nil {
		return err
	}
	if artifact.DigestOf(card) != said.Digest {
		return fmt.Errorf("%w: %s is not the scorecard of the log", ErrChain, scorecardFile)
	}
	w.link("scorecard", said.Digest.Short(), "named by leaf %d, before the promotion was applied", said.index)
	return nil
}
