package payload

import (
	"fmt"
	"math"

	"github.com/atom-fabric/fabric/domain/dp"
	"github.com/atom-fabric/fabric/domain/ring"
	"github.com/atom-fabric/fabric/domain/round"
)

// float32Error bounds the relative error of a rounding to F32.
const float32Error = 1.0 / (1 << 24)

// private says whether this round's payload is noised: what only evaluates or
// measures columns has no payload.
func (f Form) private() bool {
	return f.params.Privacy.On() && f.Layout.Dim > 0 && f.kind == round.Train
}

// clip is the most that one unit of privacy adds to the sum, L2, before any
// rounding: a site's clipped update with weight 1, or one row's clipped
// gradient times the learning rate. Coordinates that are not sent only make it
// shorter. Where the norm adapts, it is of the update and the count together.
func (f Form) clip() float64 {
	if f.params.Privacy.Unit == round.UnitSite {
		return math.Hypot(f.norm, f.half())
	}
	return f.params.LearningRate * f.norm
}

// coordinates counts what is noised: what is sent of an update, and the count.
func (f Form) coordinates() int {
	if f.adapts() {
		return f.sent() + 1
	}
	return f.sent()
}

// sensitivity adds what roundings can add: adding one unit may turn the
// rounding of every coordinate of a site's vector by less than a step either
// way, and its rounding to F32 before that.
func (f Form) sensitivity(c ring.Codec) float64 {
	return f.clip() + 2*math.Sqrt(float64(f.coordinates()))*(c.Step()+f.limit()*float32Error)
}

// honest is how many shares of noise are in every sum that is unmasked: the
// quorum of the group, without those that may work with who reads it.
func (f Form) honest(sites int) (int, error) {
	g, err := f.Spec.GraphFor(sites)
	if err != nil {
		return 0, err
	}
	return max(1, g.Quorum-sites*f.params.Secure.CorruptBP/10_000), nil
}

// share is the noise of one of so many sites.
func (f Form) share(sites int) (dp.Share, error) {
	honest, err := f.honest(sites)
	if err != nil {
		return dp.Share{}, err
	}
	mechanism := dp.DistributedGaussian
	if f.params.Privacy.Mechanism == round.PrivacySkellam {
		mechanism = dp.Skellam
	}
	share, err := dp.Distribute(dp.Distributed{
		Mechanism: mechanism, ClipNorm: f.sensitivity(f.Codec), Scale: f.Codec.Scale(), Dim: f.coordinates(),
		Sites: sites, Survivors: honest, NoiseMultiplier: f.params.Privacy.NoiseMultiplier,
	})
	if err != nil {
		return dp.Share{}, err
	}
	if ten := 10 * share.LocalStddev * math.Sqrt(float64(sites)); ten > float64(f.Codec.Headroom) {
		return dp.Share{}, fmt.Errorf("%w: noise of %d sites beside a range of %g", ErrRange, sites, f.Codec.Range)
	}
	return share, nil
}

// Event returns what the round costs, and false when it costs nothing. It is
// that of the whole cohort: with fewer sites each adds more.
// Errors: those of [dp.Distribute] and of [secagg.Spec.GraphFor].
func (f Form) Event() (dp.Event, bool, error) {
	switch {
	case !f.private():
		return dp.Event{}, false, nil
	case f.params.Privacy.Distributed():
		share, err := f.share(f.sites)
		return share.Event, true, err
	}
	central, l2, err := f.central()
	return dp.Event{Mechanism: dp.Gaussian, Count: 1, NoiseMultiplier: central.Effective(l2, f.coordinates()), SampleRate: 1}, true, err
}

func (f Form) central() (dp.Central, float64, error) {
	l2 := f.sensitivity(f.Codec)
	central, err := dp.NewCentral(f.params.Privacy.NoiseMultiplier * l2)
	return central, l2, err
}

// Central says whether whoever unmasks the sum has to add the noise.
func (f Form) Central() bool { return f.private() && !f.params.Privacy.Distributed() }

// centralNoise returns what adds the central noise to coordinates, of which the
// first is a multiple of [dp.Block]; nil for a round without. The seed must be
// secret and of this round and group alone; the same seed gives the same noise,
// so a retry does not average it away.
func (f Form) centralNoise(seed dp.Seed) (func(values []float64, first int) error, error) {
	if !f.Central() {
		return nil, nil
	}
	central, _, err := f.central()
	if err != nil {
		return nil, err
	}
	return func(values []float64, first int) error { return central.AddAt(values, seed, uint64(first)) }, nil
}

// noise returns what draws the site's share, from a block on.
func (f Form) noise(sites int, seed dp.Seed) (func(dst []int64, first uint64) error, error) {
	share, err := f.share(sites)
	if err != nil {
		return nil, err
	}
	if f.params.Privacy.Mechanism == round.PrivacySkellam {
		s, err := dp.NewSkellam(share.LocalVar)
		if err != nil {
			return nil, err
		}
		return func(dst []int64, first uint64) error { return s.FillAt(dst, seed, first) }, nil
	}
	g, err := dp.NewDiscreteGaussian(share.LocalStddev)
	if err != nil {
		return nil, err
	}
	return func(dst []int64, first uint64) error { return g.FillAt(dst, seed, first) }, nil
}
