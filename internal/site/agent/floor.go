package agent

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/program"
)

// ErrDowngraded says that an order protects the sites less than its own
// parameters promise.
var ErrDowngraded = errors.New("the order asks for less protection than its own parameters promise")

// A Floor is the least that the site's operator asks of a round, whatever the
// fabric and the model's owner agreed on. The zero value asks for nothing.
type Floor struct {
	MinCohort     int      // sites that are summed together
	RequireSecure bool     // no update leaves the site but masked
	MaxEpsilon    float64  // that one round may cost at the run's delta; 0 does not look
	Trainers      []string // logistic, mlp, exec or the digest of a file that the exec command names; empty allows all
}

func (f Floor) check() error {
	switch {
	case f.MinCohort < 0:
		return fmt.Errorf("%w: smallest cohort is below 0", ErrOptions)
	case !(f.MaxEpsilon >= 0) || math.IsInf(f.MaxEpsilon, 0):
		return fmt.Errorf("%w: largest epsilon of a round", ErrOptions)
	}
	for _, t := range f.Trainers {
		_, err := artifact.ParseDigest(t)
		if err != nil && t != round.TrainerLogistic && t != round.TrainerMLP && t != round.TrainerExec {
			return fmt.Errorf("%w: a trainer is logistic, mlp, exec or sha256:<digits>", ErrOptions)
		}
	}
	return nil
}

// allows holds an order to the floor. Errors: [ErrDowngraded], [ErrNotAllowed].
func (f Floor) allows(o order, own *program.Program) error {
	if err := honest(o); err != nil {
		return err
	}
	refuse := func(why string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrNotAllowed, fmt.Sprintf(why, args...))
	}
	if f.RequireSecure && !o.Secured {
		return refuse("secure aggregation is off")
	}
	for _, c := range o.Cohort {
		if c.Name() == o.group && c.Sites < f.MinCohort {
			return refuse("%d sites are summed together, not %d", c.Sites, f.MinCohort)
		}
	}
	if enough := o.Params.Suffice(o.Kind, o.Cohort, o.group); enough > 0 && enough < f.MinCohort {
		return refuse("the round goes on with %d sites, not %d", enough, f.MinCohort)
	}
	if err := f.trainer(o, own); err != nil {
		return err
	}
	// What only evaluates sends sums of counts, and has no mechanism to ask for.
	if f.MaxEpsilon == 0 || o.Kind == round.Evaluate {
		return nil
	}
	if !o.Secured || !o.Params.Privacy.On() || o.Kind != round.Train {
		return refuse("the round has no bound on epsilon")
	}
	form, err := payload.For(o.Manifest, o.digest, o.group)
	if err != nil {
		return err
	}
	event, private, err := form.Event()
	if err != nil {
		return err
	}
	if !private {
		return refuse("the round has no bound on epsilon")
	}
	charge, err := dp.Epsilon([]dp.Event{event}, o.Params.Privacy.Delta)
	if err != nil {
		return err
	}
	if !(charge.Epsilon <= f.MaxEpsilon) {
		return refuse("epsilon of the round is %.3g at delta %.3g, above %.3g", charge.Epsilon, o.Params.Privacy.Delta, f.MaxEpsilon)
	}
	return nil
}

// trainer refuses a round that trains in another way than the listed ones.
func (f Floor) trainer(o order, own *program.Program) error {
	name := o.Params.Model.Trainer
	if o.Kind != round.Train || len(f.Trainers) == 0 || slices.Contains(f.Trainers, name) {
		return nil
	}
	if name == round.TrainerExec && own != nil {
		digests, err := own.Digests()
		if err != nil {
			return err
		}
		for _, d := range digests {
			if slices.Contains(f.Trainers, string(d)) {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: the trainer is not among the allowed ones", ErrNotAllowed)
}

// honest compares what the order does with what its parameters say. A run that
// asks for secure aggregation has it in every round; under auto it has it
// wherever so many sites take part.
func honest(o order) error {
	if o.Secured != (o.stage != round.StageUpdate) {
		return fmt.Errorf("%w: stage %s of a round that is secured: %t", ErrDowngraded, o.stage, o.Secured)
	}
	if o.Secured {
		return nil
	}
	sites := 0
	for _, c := range o.Cohort {
		sites += c.Sites
	}
	p := o.Params
	switch {
	case p.Secure.Secured(sites): // always in production, whose mode is on
		return fmt.Errorf("%w: secure aggregation is off, for %d sites", ErrDowngraded, sites)
	case p.Privacy.On():
		return fmt.Errorf("%w: the noise is for masked vectors", ErrDowngraded)
	}
	return nil
}
