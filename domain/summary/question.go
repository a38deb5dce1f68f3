// Package summary decides what a tenant may publish about the rows behind a
// version of a feature: which question its sites are asked, the noised counts
// and sums that they answer with, and the figures that follow from those.
//
// Invariant: what leaves [Count] is noised, every number of it, and one row more
// or less moves it by no more than the noise was made for. Bounds of columns are
// said before anybody looks at a row. Whatever is computed from answers is
// computed from nothing else, so that it costs no privacy.
package summary

import (
	"errors"
	"fmt"
	"math"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/catalog"
	"github.com/atom-fabric/fabric/domain/dp"
)

// Limits of a question.
const (
	MaxColumns  = 64
	MinBins     = 4
	MaxBins     = 256
	DefaultBins = 32
	MaxEpsilon  = 300.0
	MinEpsilon  = 1e-3
	maxColumn   = 128     // bytes of a column's name
	maxCells    = 1 << 13 // bins over all columns: what a signed answer holds
)

// grid is how many steps lie between the middle of a column's bounds and each
// of them: values are counted in whole steps, so that sums are integers and
// their noise is exact. Half a step is less than a millionth of the bounds.
const grid = 1 << 20

// Why a question is refused.
var (
	ErrEpsilon  = errors.New("an epsilon of statistics is from 0.001 to 300, its delta above 0 and at most 0.01")
	ErrBins     = errors.New("a histogram has 4 to 256 bins, at most 8192 over all columns")
	ErrColumns  = errors.New("1 to 64 columns, each once")
	ErrQuestion = errors.New("not a question about a version of a feature to sites of its tenant")
	ErrNoise    = errors.New("the noise is less than the epsilon that is asked for needs")
)

// A Column is what is asked about: a column of numbers and its public bounds.
// Values outside count as the bound that is nearest.
type Column struct {
	Name string  `json:"name"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// A Question is what the sites of a tenant are asked about one version of one of
// its features, as it is signed: the predicate of a statement of type
// [artifact.PredicateStatistics] about the digest of its own canonical form.
type Question struct {
	Tenant  string          `json:"tenant"`
	Feature string          `json:"feature"`
	Version int             `json:"version"`
	Content artifact.Digest `json:"content,omitempty"` // of the version
	Columns []Column        `json:"columns"`
	Bins    int             `json:"bins"`

	// Epsilon at Delta is what the answers may tell of one row, and what was
	// charged for them. NoiseMultiplier follows from both.
	Epsilon         float64 `json:"epsilon"`
	Delta           float64 `json:"delta"`
	NoiseMultiplier float64 `json:"noiseMultiplier"`

	Purpose string          `json:"purpose,omitempty"` // term of the Data Use Ontology
	Sites   []string        `json:"sites"`             // that are asked, sorted
	Epoch   int64           `json:"epoch"`             // consent epoch of the tenant
	Grants  artifact.Digest `json:"grants,omitempty"`  // pack of signed grants that it is under
}

// Noised sets the noise multiplier that epsilon at delta asks for.
// Errors: [ErrEpsilon].
func (q Question) Noised() (Question, error) {
	if !q.bounded() {
		return q, ErrEpsilon
	}
	z, err := dp.NoiseFor(dp.Budget{Epsilon: q.Epsilon, Delta: q.Delta, Rounds: 1}, 1)
	if err != nil {
		return q, fmt.Errorf("%w: %w", ErrEpsilon, err)
	}
	q.NoiseMultiplier = z
	return q, nil
}

func (q Question) bounded() bool {
	return q.Epsilon >= MinEpsilon && q.Epsilon <= MaxEpsilon && q.Delta > 0 && q.Delta <= 0.01
}

// Event is what all answers to the question cost together. The sites hold
// different rows, so what one of them tells is told of other rows than what
// another does, and all of them cost what one does.
func (q Question) Event() dp.Event {
	return dp.Event{Mechanism: dp.Gaussian, Count: 1, NoiseMultiplier: q.NoiseMultiplier, SampleRate: 1}
}

// parts is how many numbers or vectors share the privacy of the question: the
// count of rows, and of each column its sum, its squares and its histogram.
func (q Question) parts() int { return 1 + 3*len(q.Columns) }

// Stddev is the standard deviation of the noise that a site adds to each part,
// over the most that one row adds to it:
//
//	σ = z·√parts,  so that Σ over the parts of (sensitivity/σ_part)² = 1/z²
//
// rounded up by more than the arithmetic can lose.
//
// Source: the Gaussian mechanism of a vector whose parts are scaled to one
// sensitivity; Bun and Steinke, TCC 2016 (arXiv:1605.02065), lemma 1.8.
func (q Question) Stddev() float64 {
	return q.NoiseMultiplier * math.Sqrt(float64(q.parts())) * (1 + 0x1p-40)
}

// Validate says whether a site could answer: shape, bounds, and that the noise
// is at least what epsilon at delta needs.
// Errors: [ErrQuestion], [ErrEpsilon], [ErrBins], [ErrNoise], [*ColumnError].
func (q Question) Validate() error {
	if !catalog.ValidName(q.Tenant) || !catalog.ValidName(q.Feature) || q.Version < 1 || len(q.Sites) == 0 {
		return ErrQuestion
	}
	if err := q.Check(); err != nil {
		return err
	}
	if !(q.NoiseMultiplier > 0) || math.IsInf(q.NoiseMultiplier, 1) {
		return ErrNoise
	}
	charge, err := dp.Epsilon([]dp.Event{q.Event()}, q.Delta)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoise, err)
	}
	if !(charge.Epsilon <= q.Epsilon*(1+1e-9)) {
		return ErrNoise
	}
	return nil
}

// Check is [Question.Validate] for what the asker says.
func (q Question) Check() error {
	switch {
	case !q.bounded():
		return ErrEpsilon
	case q.Bins < MinBins || q.Bins > MaxBins || q.Bins*len(q.Columns) > maxCells:
		return ErrBins
	case len(q.Columns) == 0 || len(q.Columns) > MaxColumns:
		return ErrColumns
	}
	seen := map[string]bool{}
	for _, c := range q.Columns {
		if err := c.check(); err != nil {
			return err
		}
		if seen[c.Name] {
			return &ColumnError{c.Name, ErrColumns}
		}
		seen[c.Name] = true
	}
	return nil
}

// Encode returns the canonical bytes of the question and their digest.
func (q Question) Encode() ([]byte, artifact.Digest, error) {
	text, err := artifact.Canonical(q)
	if err != nil {
		return nil, "", err
	}
	return text, artifact.DigestOf(text), nil
}
