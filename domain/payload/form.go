// Package payload says what the vector of a secured round holds: what a site
// puts into the ring, and what comes out of the sum.
//
// Invariant: a form is a function of the signed manifest and the group alone,
// so a site and whoever sums read the same elements. Nothing of one site is in
// a sum but what its terms add to it: counts, weights and moments exactly,
// deltas to within one step of the codec a site.
package payload

import (
	"errors"
	"fmt"
	"math"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/ring"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
)

// Why there is no vector, or nothing to read in a sum.
var (
	ErrGroup  = errors.New("the manifest has no such group, or is not of a secured round")
	ErrShape  = errors.New("the tensors are not those of the round")
	ErrVector = errors.New("not a vector of this round")
	ErrRange  = errors.New("a value is too large to be carried")
	ErrWeight = errors.New("a site that answers counts for at least one row")
)

// Counts at the head of every vector.
const (
	countExamples = iota
	countEvaluated
	countCorrect
	countLoss
	countWeight // thousandths
	counts
)

// mill is the weight of one example, or of one site where all count the same.
const mill = 1000

// A Form is the vector of one group in one round.
type Form struct {
	Spec   secagg.Spec
	Layout ring.Layout
	Codec  ring.Codec // of the payload; zero when there is none

	kind    round.Kind
	params  round.Params
	tensors []round.TensorSpec
	sites   int     // of the cohort: nobody else can answer
	norm    float64 // that the round clips to
	number  int
}

// For returns the form of a group's vector. Errors: [ErrGroup], those of
// [ring.NewCodec] and of [secagg.Spec.Validate].
func For(m round.Manifest, manifest artifact.Digest, group string) (Form, error) {
	f := Form{kind: m.Kind, params: m.Params, tensors: m.Params.Strategy.Update(m.Params.Model, m.Kind), norm: m.ClipNorm(), number: m.Number}
	for _, c := range m.Cohort {
		if c.Name() == group {
			f.sites = c.Sites
		}
	}
	if !m.Secured || f.sites == 0 {
		return Form{}, fmt.Errorf("%w: %s", ErrGroup, group)
	}
	bits := ring.Bits(m.Params.Secure.Ring)
	f.Layout = ring.Layout{Bits: bits, Counts: counts}
	if m.Kind == round.Evaluate {
		f.Layout.Counts += m.Params.Measurement.Len()
	}
	if m.Kind == round.Statistics {
		f.Layout.Counts += wideCounts * f.elements()
	} else if f.elements() > 0 {
		var err error
		if f.Codec, err = f.codec(bits); err != nil {
			return Form{}, err
		}
		f.Layout.Dim = f.Codec.Elements(f.sent())
		if f.adapts() {
			f.Layout.Dim++ // the count of those within the norm has an element of its own
		}
	}
	if err := f.Layout.Validate(); err != nil {
		return Form{}, err
	}
	f.Spec = secagg.Spec{
		Run: m.Run, Round: m.Number, Plan: manifest, Group: group, Ring: secagg.Ring(bits), Length: f.Layout.Len(),
		CorruptBP: m.Params.Secure.CorruptBP, DroppedBP: m.Params.Secure.DroppedBP,
	}
	return f, f.Spec.Validate()
}

// Check says whether as few bits as the run asks for are enough for every group
// of a round, its sites and their noise. Whole elements are.
// Errors: those of [For].
func Check(m round.Manifest, manifest artifact.Digest) error {
	if !m.Secured || m.Params.Compression.Bits == 0 {
		return nil
	}
	for _, c := range m.Cohort {
		if _, err := For(m, manifest, c.Name()); err != nil {
			return fmt.Errorf("group %s: %w", c.Name(), err)
		}
	}
	return nil
}

// elements counts the values of an update.
func (f Form) elements() int {
	n := 0
	for _, t := range f.tensors {
		n += size(t.Shape)
	}
	return n
}

// limit is the largest magnitude of weight times a coordinate.
func (f Form) limit() float64 {
	s, p := f.params.Secure, f.params.Privacy
	switch {
	case p.On() && p.Unit == round.UnitSite:
		return max(f.norm, f.half())
	case p.On():
		return f.params.LearningRate * f.norm * float64(s.MaxExamples)
	}
	if f.alike() {
		return s.Range
	}
	return s.Range * float64(s.MaxExamples)
}

// codec leaves room for the noise of all sites: ten standard deviations of
// what four times its least variance would be. The noise is a number of steps
// that shrinks as the step grows, so the first step that has room is taken.
// Noise of more than 2^19 steps is drawn no finer: nothing is gained by it.
func (f Form) codec(bits ring.Bits) (ring.Codec, error) {
	c, err := ring.NewPacked(bits, f.params.Compression.Bits, f.limit(), f.sites, 0)
	if err != nil || !f.params.Privacy.Distributed() {
		return c, err
	}
	for range 64 {
		noise := f.params.Privacy.NoiseMultiplier * f.sensitivity(c) * c.Scale()
		c.Headroom = int64(math.Ceil(20*noise)) + 1
		if err = c.Validate(); err == nil && noise <= 1<<19 {
			return c, nil
		}
		c.StepExp++
	}
	return ring.Codec{}, err
}

// weight returns what a site's update is multiplied by, in thousandths.
func (f Form) weight(examples int64, tau int) (int64, error) {
	switch {
	case examples < 1 && f.kind != round.Evaluate:
		return 0, ErrWeight
	case f.params.Buffers(f.kind):
		return f.stale(tau)
	case tau != 0:
		return 0, ErrStale
	case f.alike():
		return mill, nil
	}
	return mill * min(examples, int64(f.params.Secure.MaxExamples)), nil
}
