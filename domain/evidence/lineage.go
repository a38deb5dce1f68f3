package evidence

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/modelpack"
	"github.com/atom-fabric/fabric/domain/provenance"
	"github.com/atom-fabric/fabric/domain/round"
)

// promotion finds out what was promoted: the plan whose digest the log says was
// applied, and the fabric's own word that it was decided.
func (w *walker) promotion() error {
	id, err := w.idOf("promotion.applied", "promotion/")
	if err != nil {
		return err
	}
	plan, err := w.read(planFile)
	if err != nil {
		return err
	}
	digest := artifact.DigestOf(plan)
	applied, err := w.find("promotion.applied", "promotion/"+id, func(l leaf) bool { return l.Digest == digest })
	if err != nil {
		return err
	}
	w.chain.Promotion, w.chain.Digest = id, digest
	if err := artifact.DecodeStrict(plan, &w.chain.Plan); err != nil {
		return fmt.Errorf("%s: %w", planFile, err)
	}
	v := w.chain.Plan.Version
	if v == nil || w.chain.Plan.Tenant != applied.Tenant {
		return fmt.Errorf("%w: %s promotes no version of %s", ErrChain, planFile, applied.Tenant)
	}
	said, err := w.open(outcomeFile, artifact.PredicatePromotion, v.Package, v.Repository, applied.At, nil)
	if err != nil {
		return err
	}
	if !bytes.Equal(said.Predicate, plan) {
		return fmt.Errorf("%w: %s is about another plan", ErrChain, outcomeFile)
	}
	w.link("promotion", fmt.Sprintf("%s: %s/%s version %d to %s, plan %s", id, w.chain.Plan.Tenant, w.chain.Plan.ModelID, v.Number, w.chain.Plan.Environment, digest.Short()),
		"leaf %d, and a statement by key %s", applied.index, said.Key.Short())
	before := "nothing served before"
	if o := w.chain.Plan.Observed; o.Champion > 0 {
		before = fmt.Sprintf("version %d, package %s", o.Champion, o.Package.Short())
	}
	w.link("rollback target", before, "the plan's own observation, which a stale plan would not have passed")
	return nil
}

// model verifies the package, and that its card belongs to it.
func (w *walker) model() error {
	plan := w.chain.Plan
	manifest, err := w.read(manifestFile)
	if err != nil {
		return err
	}
	if got := artifact.DigestOf(manifest); got != plan.Version.Package {
		return fmt.Errorf("%w: %s is package %s, the plan's is %s", ErrChain, manifestFile, got.Short(), plan.Version.Package.Short())
	}
	subject := fmt.Sprintf("model/%s/%s/%d", plan.Tenant, plan.ModelID, plan.Version.Number)
	known, err := w.leafOf(subject, plan.Version.Package)
	if err != nil {
		return err
	}
	said, err := w.open(packageFile, artifact.PredicateModelPackage, plan.Version.Package, plan.Version.Repository, known.At, &w.chain.Package)
	if err != nil {
		return err
	}
	if p := w.chain.Package; p.Tenant != plan.Tenant || p.Model != plan.ModelID || p.Weights != plan.Version.Weights {
		return fmt.Errorf("%w: %s is about other weights or another model", ErrChain, packageFile)
	}
	pkg, err := modelpack.ParseManifest(manifest)
	if err != nil {
		return fmt.Errorf("%s: %w", manifestFile, err)
	}
	if pkg.Weights.Digest != plan.Version.Weights {
		return fmt.Errorf("%w: package %s holds other weights", ErrChain, plan.Version.Package.Short())
	}
	if pkg.Card != nil {
		card, err := w.read(cardFile)
		if err != nil {
			return err
		}
		if artifact.DigestOf(card) != pkg.Card.Digest {
			return fmt.Errorf("%w: %s is no file of package %s", ErrChain, cardFile, plan.Version.Package.Short())
		}
	}
	w.link("model", fmt.Sprintf("package %s, weights %s", plan.Version.Package.Short(), plan.Version.Weights.Short()),
		"statement by key %s over the manifest, accepted in leaf %d", said.Key.Short(), known.index)
	return nil
}

// leafOf finds the leaf with which a version became one: registered or uploaded.
func (w *walker) leafOf(subject string, pkg artifact.Digest) (leaf, error) {
	is := func(l leaf) bool { return l.Digest == pkg }
	if l, err := w.find("model.registered", subject, is); err == nil {
		return l, nil
	}
	return w.find("model.uploaded", subject, is)
}

// rounds walks from the last round to the first. Each statement was logged when
// its round closed, names the one before by identity, and starts from the
// weights that the one before left.
func (w *walker) rounds() error {
	pkg := w.chain.Package
	if pkg.Provenance == "" {
		w.link("training", "outside the fabric", "the package's statement names no round")
		return nil
	}
	weights, identity := pkg.Weights, pkg.Provenance
	var back []provenance.Round
	for number := pkg.Round; ; {
		path := roundFile(number)
		subject := fmt.Sprintf("round/%s/%d", pkg.Run, number)
		closed, err := w.find("round.closed", subject, func(l leaf) bool { return l.Statement == identity && l.Digest == weights })
		if err != nil {
			return err
		}
		var r provenance.Round
		said, err := w.open(path, artifact.PredicateRound, weights, "", closed.At, &r)
		if err != nil {
			return err
		}
		if said.Statement != identity || r.Run != pkg.Run || r.Number != number || r.Tenant != pkg.Tenant || r.Model != pkg.Model {
			return fmt.Errorf("%w: %s is of another round", ErrChain, path)
		}
		back = append(back, r)
		if r.Previous == "" {
			break
		}
		weights, identity, number = r.Base, r.Previous, number-1
	}
	if back[0].Manifest != pkg.Manifest {
		return fmt.Errorf("%w: the package names another order than round %d obeyed", ErrChain, pkg.Round)
	}
	slices.Reverse(back)
	w.chain.Rounds = back
	accepted, secured := 0, 0
	for _, r := range back {
		accepted += r.Participants.Accepted
		if r.Aggregation.Secured {
			secured++
		}
	}
	last := back[len(back)-1]
	which := fmt.Sprintf("run %s: %d rounds (%d secured), %d answers; measured %s", pkg.Run, len(back), secured, accepted, measured(last.Metrics))
	w.link("training", which, "%d statements, each logged, each naming the one before; base of the first is %s", len(back), back[0].Base.Short())
	for _, line := range spent(back) {
		w.link("privacy", line, "the rounds' statements")
	}
	return nil
}

func measured(m round.Metrics) string {
	bp, ok := m.AccuracyBP()
	if !ok {
		return "nothing"
	}
	return fmt.Sprintf("%d.%02d %% of %d held-out rows", bp/100, bp%100, m.Evaluated)
}

// spent counts the rounds of each promise, in the order in which they came, and
// leaves their sum to the ledger.
func spent(rounds []provenance.Round) []string {
	var promises []provenance.Privacy
	count := map[provenance.Privacy]int{}
	for _, r := range rounds {
		if r.Privacy == nil {
			continue
		}
		if count[*r.Privacy]++; count[*r.Privacy] == 1 {
			promises = append(promises, *r.Privacy)
		}
	}
	var lines []string
	for _, p := range promises {
		lines = append(lines, fmt.Sprintf("%d rounds of %s noise per %s: multiplier %s, clip %s, each (%s, %s)",
			count[p], p.Mechanism, p.Unit, p.NoiseMultiplier, p.ClipNorm, p.Epsilon, p.Delta))
	}
	if len(lines) == 0 {
		return []string{"no promise beyond what aggregation hides"}
	}
	return lines
}

// consents finds for every feature that the rounds read the leaf that
// registered it with this fingerprint. Leaves of other tenants are theirs to
// show; what the rounds read of them is in the signed statements.
func (w *walker) consents() error {
	var features []round.FeatureRef
	for _, r := range w.chain.Rounds {
		for _, f := range r.Features {
			if !slices.Contains(features, f) {
				features = append(features, f)
			}
		}
	}
	slices.SortFunc(features, func(a, b round.FeatureRef) int {
		return strings.Compare(a.Tenant+"/"+a.Feature, b.Tenant+"/"+b.Feature)
	})
	for _, f := range features {
		which := f.Tenant + "/" + f.Feature + ", fingerprint " + f.Fingerprint.Short()
		if f.Tenant != w.chain.Plan.Tenant {
			w.link("feature", which, "named by each round's statement; its consent is in the leaves of %s", f.Tenant)
			continue
		}
		known, err := w.find("feature.registered", "feature/"+f.Tenant+"/"+f.Feature, func(l leaf) bool { return l.Digest == f.Fingerprint })
		if err != nil {
			return err
		}
		began := w.chain.Rounds[0].StartedAt
		for _, l := range w.leaves {
			if l.Kind == "consent.withdrawn" && l.Subject == known.Subject && l.index > known.index && l.At.Before(began) {
				return fmt.Errorf("%w: consent to %s/%s was withdrawn in leaf %d, before the run began", ErrChain, f.Tenant, f.Feature, l.index)
			}
		}
		w.link("feature", which, "leaf %d; consent was checked before the order was signed", known.index)
	}
	return nil
}
