// Package simulate runs federated rounds with virtual sites in one process, on
// a virtual clock. What it decides with, trains with, masks with and adds with
// is the code that the fabric runs; only who answers, and when, is drawn.
//
// Invariant: a result is a function of the settings and the rows. The same
// seed gives the same bytes, whatever the number of processors, and everything
// that is written says that it was simulated. Keys and noise follow from the
// seed too, so a simulation protects nobody: it must not be given private rows.
package simulate

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// Note is what every output begins with.
const Note = "Simulated: virtual sites in one process on a virtual clock. Who answers, when and how falsely is drawn from the seed; no site, network or second machine was there."

// Why settings are refused.
var (
	ErrSites  = errors.New("1 to 100000 sites in 1 to 64 regions, and no more regions than sites")
	ErrShare  = errors.New("a share is 0 to 1")
	ErrAttack = errors.New("an attack is sign-flip, scale or noise, of a strength above 0")
	ErrExec   = errors.New("a foreign program is not simulated")
)

// Settings are a simulation. Params.Rounds, Seed and all the rest of Params
// mean what they mean in a run.
type Settings struct {
	Data        Data         `json:"-"`
	Partition   string       `json:"partition"` // IID or Shards
	Sites       int          `json:"sites"`
	Regions     int          `json:"regions"`
	GroupSites  int          `json:"groupSites"`  // most sites of a secure group; 0 leaves a region whole
	Dropout     float64      `json:"dropout"`     // chance of a site to leave in a round, in a stage that is drawn
	Stragglers  float64      `json:"stragglers"`  // chance of a site to be 10 to 40 times slower in a round
	Adversaries float64      `json:"adversaries"` // share of the sites that lie, the same in all rounds
	Attack      string       `json:"attack,omitempty"`
	Strength    float64      `json:"strength,omitempty"`
	Params      round.Params `json:"params"`

	Halt func(Round) string `json:"-"` // asked after each train round, if any: why the run stops there, or ""
}

// A Round is what one round came to. All times are virtual.
type Round struct {
	Number     int        `json:"number"`
	Kind       round.Kind `json:"kind"`
	Secured    bool       `json:"secured"`
	Groups     int        `json:"groups"`     // that were summed by themselves
	Lost       int        `json:"lostGroups"` // of them, those that delivered nothing
	Asked      int        `json:"asked"`
	Answered   int        `json:"answered"` // and are in the sum
	Dropped    int        `json:"dropped"`  // left, or were too late
	Spare      int        `json:"spare"`    // would have come, and were not needed any more
	Late       int        `json:"late"`     // of those that answered, with what they had learnt from older weights
	Seconds    float64    `json:"seconds"`  // that the round took
	Clock      float64    `json:"clockSeconds"`
	Uploaded   int64      `json:"uploadedBytes"` // by all sites
	Downloaded int64      `json:"downloadedBytes"`
	Correct    int64      `json:"correct"` // of Evaluated test rows, by the weights after the round
	Evaluated  int64      `json:"evaluated"`
	LossMicros int64      `json:"lossMicros"`
	Epsilon    float64    `json:"epsilon"`        // spent so far, at the delta of the settings
	Clip       float64    `json:"clip,omitempty"` // clipping norm of the round, where it adapts
	Cause      string     `json:"cause,omitempty"`
}

// Accuracy is the share of the test rows that were classified rightly.
func (r Round) Accuracy() float64 {
	if r.Evaluated == 0 {
		return 0
	}
	return float64(r.Correct) / float64(r.Evaluated)
}

// A Result is a whole simulation.
type Result struct {
	Simulated bool             `json:"simulated"` // always
	Note      string           `json:"note"`
	Data      string           `json:"data"`
	Source    string           `json:"source"` // how the rows were dealt
	TrainRows int              `json:"trainRows"`
	TestRows  int              `json:"testRows"`
	Liars     int              `json:"liars"`
	Settings  Settings         `json:"settings"`
	Rounds    []Round          `json:"rounds"`
	Status    string           `json:"status"` // completed, stopped or failed
	Cause     string           `json:"cause,omitempty"`
	Best      float64          `json:"bestAccuracy"`
	Weights   artifact.Digest  `json:"weights"`
	Tensors   artifact.Tensors `json:"-"`
}

// Reached returns the first train round after which the accuracy was at least
// target, 0 if there was none.
func (r Result) Reached(target float64) int {
	for _, n := range r.Rounds {
		if n.Kind == round.Train && n.Cause == "" && n.Accuracy() >= target {
			return n.Number
		}
	}
	return 0
}

// validate fills in what was left out.
func (s Settings) validate() (Settings, error) {
	if s.Partition == "" {
		s.Partition = IID
	}
	if s.Regions == 0 {
		s.Regions = 1
	}
	if s.Strength == 0 {
		s.Strength = strengthOf(s.Attack)
	}
	switch {
	case s.Partition != IID && s.Partition != Shards:
		return s, ErrPartition
	case s.Sites < 1 || s.Sites > 100_000 || s.Regions < 1 || s.Regions > 64 || s.Regions > s.Sites || s.GroupSites < 0:
		return s, ErrSites
	case s.Adversaries > 0 && strengthOf(s.Attack) == 0, !(s.Strength >= 0):
		return s, ErrAttack
	case s.Params.Model.Trainer == round.TrainerExec:
		return s, ErrExec
	}
	for _, p := range []float64{s.Dropout, s.Stragglers, s.Adversaries} {
		if !(p >= 0 && p <= 1) {
			return s, ErrShare
		}
	}
	p := &s.Params
	p.Model.Inputs, p.Model.Classes = len(s.Data.Train.Columns), max(2, s.Data.Train.Classes(), s.Data.Test.Classes())
	p.Features = []string{s.Data.Name}
	if len(p.Bounds) == 0 && (s.Data.Fixed || p.Privacy.On()) {
		p.Bounds = s.Data.Bounds()
	}
	if p.Secure.MaxExamples == 0 {
		p.Secure.MaxExamples = 1 << bits.Len(uint(s.rowsPerSite()))
	}
	if p.Strategy.Robust() && p.Strategy.BucketSites == 0 && p.Secure.Mode != round.SecureOff {
		p.Strategy.BucketSites = round.MinBucket // one vector is nothing to choose from
	}
	var err error
	if s.Params, err = p.Validate(); err != nil {
		return s, err
	}
	return s, nil
}

// A simulation is one that is running.
type simulation struct {
	set     Settings
	sites   []*virtual // by tenant and name
	weights artifact.Tensors
	state   artifact.Tensors
	clip    float64                  // clipping norm of the next round, where it adapts; else 0
	starts  map[int]artifact.Tensors // of the rounds of a buffered run that late updates are taken from
	before  round.Manifest           // of its last train round
	clock   float64
	spent   ledger
	known   map[string]int // place of a site by "tenant/name"
	result  *Result
}

// Run simulates. A run that fails is a result with a cause, as it is in the
// fabric; an error is one of the settings, or of the simulation itself.
// Errors: those above, [ErrPartition], those of [round.Params.Validate], and
// ctx's own.
func Run(ctx context.Context, set Settings) (Result, error) {
	set, err := set.validate()
	if err != nil {
		return Result{}, err
	}
	s := &simulation{set: set, known: map[string]int{}}
	s.weights = model.Initial(set.Params.Model, set.Params.Seed)
	s.result = &Result{Simulated: true, Note: Note, Data: set.Data.Name, TrainRows: set.Data.Train.Len(), TestRows: set.Data.Test.Len(), Settings: set}
	if set.Params.Privacy.Adaptive.On() {
		s.clip = set.Params.Privacy.ClipNorm
	}
	if err := s.settle(); err != nil {
		return Result{}, err
	}
	first := 0
	if len(set.Params.Bounds) > 0 {
		normalise(s.weights, set.Params.Bounds)
		first = 1 // no statistics are asked for
	}
	if err := s.rounds(ctx, first); err != nil {
		return Result{}, err
	}
	for _, r := range s.result.Rounds {
		if r.Kind == round.Train && r.Cause == "" {
			s.result.Best = max(s.result.Best, r.Accuracy())
		}
	}
	content, err := s.weights.Encode()
	if err != nil {
		return Result{}, err
	}
	s.result.Weights, s.result.Tensors = artifact.DigestOf(content), s.weights
	return *s.result, nil
}

// rounds runs the rounds as a run does: a failed round fails it.
func (s *simulation) rounds(ctx context.Context, first int) error {
	var sofar round.Progress
	s.result.Status = "completed"
	for n := first; n <= s.set.Params.Rounds; n++ {
		kind := round.Train
		if n == 0 {
			kind = round.Statistics
		}
		r, err := s.round(ctx, n, kind)
		if err != nil {
			return err
		}
		s.clock += r.Seconds
		r.Clock = s.clock
		s.result.Rounds = append(s.result.Rounds, r)
		if r.Cause != "" {
			s.result.Status, s.result.Cause = "failed", fmt.Sprintf("round %d: %s", n, r.Cause)
			return nil
		}
		if kind != round.Train {
			continue
		}
		m := round.Metrics{Evaluated: r.Evaluated, Correct: r.Correct, LossMicros: r.LossMicros}
		sofar = sofar.After(m)
		why := s.set.Params.Converged(m, sofar)
		if why == "" && s.set.Halt != nil {
			why = s.set.Halt(r)
		}
		if why != "" {
			s.result.Status, s.result.Cause = "stopped", why
			return nil
		}
	}
	return nil
}

// round runs one round. What fails in it, and would fail in the fabric, is its
// cause.
func (s *simulation) round(ctx context.Context, number int, kind round.Kind) (Round, error) {
	o, err := s.ask(ctx, number, kind)
	if err != nil {
		return Round{}, err
	}
	r := o.Round
	if err := round.Quorum(s.set.Params, o.delivered); err != nil {
		r.Cause = err.Error()
		return r, s.measure(&r)
	}
	if err := s.move(kind, o); err != nil {
		r.Cause = err.Error()
	}
	return r, s.measure(&r)
}

// move makes the next weights of what was delivered.
func (s *simulation) move(kind round.Kind, o outcome) error {
	p := s.set.Params
	if kind == round.Statistics {
		mean, err := aggregate.Mean(p.Model, kind, o.partials)
		if err != nil {
			return err
		}
		s.weights, err = aggregate.Apply(p.Model, kind, s.weights, mean)
		return err
	}
	mean, err := s.mean(o)
	if err != nil {
		return err
	}
	weights, state, err := aggregate.Step(p.Model, p.Strategy, aggregate.StepInput{
		Base: s.weights, Mean: mean, State: s.state, Answered: int64(o.Answered), All: int64(len(s.sites)),
	})
	if err != nil {
		return err
	}
	s.weights, s.state = weights, state
	return s.adapt(o)
}

// mean combines sums, or single vectors where the rule asks for them: the
// sites' own, or those of secure groups.
func (s *simulation) mean(o outcome) (artifact.Tensors, error) {
	p := s.set.Params
	if !p.Strategy.Robust() {
		return aggregate.MeanOf(wide(p.Strategy.Update(p.Model, round.Train)), o.partials)
	}
	vectors := o.updates
	if o.Secured {
		for b, partial := range o.partials {
			v, err := aggregate.BucketMean(b, partial)
			if err != nil {
				return nil, err
			}
			vectors = append(vectors, v)
		}
	}
	c, err := aggregate.Robust(p.Strategy, vectors)
	return c.Mean, err
}

// wide returns the tensors as they are summed, in F64.
func wide(specs []round.TensorSpec) []round.TensorSpec {
	out := append([]round.TensorSpec(nil), specs...)
	for i := range out {
		out[i].DType = artifact.F64
	}
	return out
}

// measure evaluates the weights on the test rows.
func (s *simulation) measure(r *Round) error {
	m, err := trainer.Evaluate(s.set.Params.Model, s.weights, s.set.Data.Test)
	r.Evaluated, r.Correct, r.LossMicros = m.Evaluated, m.Correct, m.LossMicros
	return err
}

// Refused says whether an error is of the settings.
func Refused(err error) bool {
	for _, why := range []error{ErrSites, ErrShare, ErrAttack, ErrExec, ErrPartition} {
		if errors.Is(err, why) {
			return true
		}
	}
	return false
}
