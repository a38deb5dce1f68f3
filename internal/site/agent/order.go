package agent

import (
	"cmp"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/atom-fabric/fabric/api/v1"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// Why an order is not obeyed, beside a signature that [artifact.VerifyBundle]
// refuses.
var (
	ErrOrder      = errors.New("the order is not one round manifest that this site understands")
	ErrMismatch   = errors.New("the order is not what the fabric offered it as")
	ErrNotAllowed = errors.New("the site's own limits do not allow it")
)

// An order is a manifest that this site will obey, and the part of it that is
// on offer.
type order struct {
	round.Manifest
	digest artifact.Digest
	stage  round.Stage
	group  string // whose sum the site's answer goes into
}

// read verifies an offer. The manifest is looked at after its signature is known
// to be good, and what the fabric said around it only has to agree with it.
//
// Errors: [*artifact.VerifyError], [ErrOrder], [ErrMismatch], [ErrNotAllowed],
// [ErrDowngraded].
func (o Options) read(item v1.Work, trust []*ecdsa.PublicKey) (order, error) {
	digest := artifact.DigestOf([]byte(item.Manifest))
	if _, err := artifact.VerifyBundle(trust, []byte(item.Bundle), artifact.PredicateRoundManifest, digest); err != nil {
		return order{}, err
	}
	var m round.Manifest
	if err := artifact.DecodeStrict([]byte(item.Manifest), &m); err != nil {
		return order{}, fmt.Errorf("%w: %w", ErrOrder, err)
	}
	params, err := m.Params.Validate()
	if err != nil {
		return order{}, fmt.Errorf("%w: %w", ErrOrder, err)
	}
	m.Params = params
	if err := matches(m, item); err != nil {
		return order{}, err
	}
	out := order{Manifest: m, digest: digest, stage: round.Stage(item.Stage).Or(), group: item.Region}
	if err := o.allows(out); err != nil {
		return order{}, err
	}
	return out, o.Floor.allows(out, o.Program)
}

// matches compares the offer with the manifest.
func matches(m round.Manifest, item v1.Work) error {
	for _, field := range []struct {
		name string
		same bool
	}{
		{"run", m.Run == item.Run},
		{"number", m.Number == item.Number},
		{"kind", string(m.Kind) == string(item.Kind)},
		{"tenant", m.Tenant == item.Tenant},
		{"model", m.ModelID == item.ModelID},
		{"base", string(m.Base.Digest) == item.Base.Digest && m.Base.SizeBytes == item.Base.SizeBytes},
	} {
		if !field.same {
			return fmt.Errorf("%w: %s", ErrMismatch, field.name)
		}
	}
	return nil
}

// allows holds the order to what the operator allows, and to what concerns this
// site at all.
func (o Options) allows(m order) error {
	refuse := func(why string) error { return fmt.Errorf("%w: %s", ErrNotAllowed, why) }
	switch m.Kind {
	case round.Statistics, round.Train, round.Evaluate:
	default:
		return refuse("unknown kind of round")
	}
	if len(o.AllowTenants) > 0 && !slices.Contains(o.AllowTenants, m.Tenant) {
		return refuse("the model's owner is not among the allowed tenants")
	}
	if m.Params.Model.Trainer == round.TrainerExec && o.Program == nil {
		return refuse("the model is trained by the site's own program, and there is none")
	}
	if m.Params.Model.Trainer == round.TrainerExec && m.Params.Strategy.Name == round.Scaffold {
		return refuse("a program of the site's own has no control variates")
	}
	if most := o.largest(m.Params.Model.Trainer); m.Base.SizeBytes > most {
		return refuse(fmt.Sprintf("the weights have %d bytes, and a model of trainer %s at most %d here (--max-model-bytes is for exec)",
			m.Base.SizeBytes, m.Params.Model.Trainer, most))
	}
	if !slices.ContainsFunc(m.Features, func(f round.FeatureRef) bool { return f.Tenant == o.Tenant }) {
		return refuse("no feature of this tenant is named")
	}
	switch m.stage {
	case round.StageUpdate:
		// What is not masked stays in the region.
		if !slices.ContainsFunc(m.Cohort, func(c round.Cohort) bool { return c.Region == o.Region }) {
			return refuse("this region is not asked")
		}
	case round.StageAdvertise, round.StageShare, round.StageMask, round.StageCheck, round.StageUnmask:
		if !slices.ContainsFunc(m.Cohort, func(c round.Cohort) bool { return c.Name() == m.group }) {
			return refuse("there is no such group")
		}
	default:
		return refuse("unknown stage")
	}
	return nil
}

// largest is how many bytes the weights may have.
func (o Options) largest(trainer string) int64 {
	if trainer == round.TrainerExec {
		return cmp.Or(o.MaxModelBytes, DefaultModelBytes)
	}
	return maxBuiltIn
}
