// Package measure is what sites count in the evaluation that closes a run, and
// what the sum of their counts says: answers by group, scores by bin, columns by
// bin.
//
// Invariant: a site contributes integers that say how many rows fell into cells
// fixed beforehand, in an order that follows from the signed manifest alone.
// Sums are read, never single sites; a cell with fewer rows than the floor is
// withheld, and whoever reads the sums is told.
package measure

import (
	"errors"
	"fmt"
	"math"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/calibration"
	"github.com/atom-fabric/fabric/domain/drift"
	"github.com/atom-fabric/fabric/domain/fairness"
	"github.com/atom-fabric/fabric/domain/round"
)

// Tensor is the name that counts travel under, as a vector of F64 whose values
// are integers.
const Tensor = "measured"

// Most bounds a count of one site and the sum of all: integers up to here are
// exact in a float.
const Most = 1 << 53

// Why rows cannot be measured, or counts cannot be read.
var (
	ErrColumn = errors.New("the table has no such column")
	ErrCounts = errors.New("not the counts of this measurement")
)

// A Counter counts the rows of one site.
type Counter struct {
	spec     round.Measurement
	positive int
	group    int
	columns  []int
	bins     []drift.Bins
	counts   []int64
}

// NewCounter returns a counter for a table with these columns.
// Errors: [ErrColumn].
func NewCounter(m round.Measurement, classes int, columns []string) (*Counter, error) {
	c := &Counter{spec: m, positive: m.Class(classes), counts: make([]int64, m.Len())}
	find := func(name string) (int, error) {
		for i, column := range columns {
			if column == name {
				return i, nil
			}
		}
		return 0, fmt.Errorf("%w: %s", ErrColumn, name)
	}
	var err error
	if len(m.Groups) > 0 {
		if c.group, err = find(m.GroupColumn); err != nil {
			return nil, err
		}
	}
	for _, f := range m.Features {
		at, err := find(f.Column)
		if err != nil {
			return nil, err
		}
		bins, err := drift.EqualWidth(f.Low, f.High, f.Bins)
		if err != nil {
			return nil, err
		}
		c.columns, c.bins = append(c.columns, at), append(c.bins, bins)
	}
	return c, nil
}

// Add counts one row: its columns, its true class, the predicted class, and the
// probability of the positive class.
func (c *Counter) Add(row []float64, label, predicted int, score float64) {
	truth, said := label == c.positive, predicted == c.positive
	at := 0
	for _, g := range c.spec.Groups {
		if row[c.group] == g.Value {
			c.counts[at+cell(truth, said)]++
		}
		at += round.PerGroup
	}
	if n := c.spec.ScoreBins; n > 0 && score >= 0 && score <= 1 {
		y := 0.0
		if truth {
			y = 1
		}
		bin := c.counts[at+round.PerScore*calibration.Index(score, n):]
		bin[0]++
		bin[1] += int64(y)
		bin[2] += int64(math.Round(score * calibration.Micro))
		bin[3] += int64(math.Round((score - y) * (score - y) * calibration.Micro))
	}
	at += round.PerScore * c.spec.ScoreBins
	for i, f := range c.spec.Features {
		v := row[c.columns[i]]
		if math.IsNaN(v) || math.IsInf(v, 0) {
			c.counts[at+f.Bins]++
		} else {
			c.counts[at+c.bins[i].Index(v)]++
		}
		at += f.Bins + round.PerFeature
	}
}

// cell orders the four answers.
func cell(truth, said bool) int {
	switch {
	case truth && said:
		return 0
	case said:
		return 1
	case !truth:
		return 2
	}
	return 3
}

// Counts returns what was counted so far.
func (c *Counter) Counts() []int64 { return append([]int64(nil), c.counts...) }

// A Measured is what the sum over sites says.
type Measured struct {
	Groups   []fairness.Group
	Bins     []calibration.Bin
	Features []Feature
	Withheld []string // what was below the floor, by name
}

// A Feature is a column that is watched.
type Feature struct {
	Column     string
	Importance float64
	Bins       drift.Bins
	Sketch     drift.Sketch
}

// Read takes a sum apart. A cell that is not empty and below the floor is
// withheld: the rows of a group with one truth, a bin of scores, a bin of a
// column. It reads as empty, and its name is in Withheld.
// Errors: [ErrCounts].
func Read(m round.Measurement, counts []int64) (Measured, error) {
	if len(counts) != m.Len() {
		return Measured{}, ErrCounts
	}
	for _, n := range counts {
		if n < 0 || n > Most {
			return Measured{}, ErrCounts
		}
	}
	floor := m.AtLeast()
	var out Measured
	take := func(n int) []int64 {
		taken := append([]int64(nil), counts[:n]...)
		counts = counts[n:]
		return taken
	}
	withhold := func(format string, args ...any) {
		out.Withheld = append(out.Withheld, fmt.Sprintf(format, args...))
	}
	for _, spec := range m.Groups {
		n := take(round.PerGroup)
		g := fairness.Group{Name: spec.Name, TP: n[0], FP: n[1], TN: n[2], FN: n[3]}
		if small(g.Positives(), floor) {
			g.TP, g.FN = 0, 0
			withhold("positives of group %s", spec.Name)
		}
		if small(g.Negatives(), floor) {
			g.FP, g.TN = 0, 0
			withhold("negatives of group %s", spec.Name)
		}
		out.Groups = append(out.Groups, g)
	}
	for i := range m.ScoreBins {
		n := take(round.PerScore)
		b := calibration.Bin{N: n[0], Positives: n[1], ScoreSum: n[2], SquaredSum: n[3]}
		if small(b.N, floor) {
			b = calibration.Bin{}
			withhold("bin %d of scores", i+1)
		}
		out.Bins = append(out.Bins, b)
	}
	for _, spec := range m.Features {
		n := take(spec.Bins + round.PerFeature)
		bins, err := drift.EqualWidth(spec.Low, spec.High, spec.Bins)
		if err != nil {
			return Measured{}, err
		}
		f := Feature{Column: spec.Column, Importance: spec.Importance, Bins: bins, Sketch: drift.Sketch{Counts: n[:spec.Bins], Missing: n[spec.Bins]}}
		for i, c := range f.Sketch.Counts {
			if small(c, floor) {
				f.Sketch.Counts[i] = 0
				withhold("bin %d of %s", i+1, spec.Column)
			}
		}
		out.Features = append(out.Features, f)
	}
	return out, nil
}

func small(n, floor int64) bool { return n > 0 && n < floor }

// Add adds the counts of another site or region. Sum may be nil at first.
// Errors: [ErrCounts].
func Add(sum, counts []int64) ([]int64, error) {
	if sum == nil {
		sum = make([]int64, len(counts))
	}
	if len(sum) != len(counts) {
		return nil, ErrCounts
	}
	for i, n := range counts {
		if n < 0 || n > Most || sum[i] > Most-n {
			return nil, ErrCounts
		}
		sum[i] += n
	}
	return sum, nil
}

// Possible says whether a site that evaluated so many rows can have counted
// this: no kind of cell holds more rows than there were.
func Possible(m round.Measurement, counts []int64, evaluated int64) bool {
	if len(counts) != m.Len() {
		return false
	}
	within := func(n ...int64) bool {
		var sum int64
		for _, c := range n {
			if c < 0 || c > evaluated {
				return false
			}
			sum += c
		}
		return sum <= evaluated
	}
	groups, rest := counts[:round.PerGroup*len(m.Groups)], counts[round.PerGroup*len(m.Groups):]
	if !within(groups...) {
		return false
	}
	var scored int64
	for range m.ScoreBins {
		b := rest[:round.PerScore]
		if !within(b[0]) || !within(b[1]) || b[1] > b[0] || b[2] < 0 || b[2] > b[0]*calibration.Micro || b[3] < 0 || b[3] > b[0]*calibration.Micro {
			return false
		}
		scored += b[0]
		rest = rest[round.PerScore:]
	}
	if scored > evaluated {
		return false
	}
	for _, f := range m.Features {
		if !within(rest[:f.Bins+round.PerFeature]...) {
			return false
		}
		rest = rest[f.Bins+round.PerFeature:]
	}
	return true
}

// ToTensors returns counts as they are stored and sent.
func ToTensors(counts []int64) artifact.Tensors {
	values := make([]float64, len(counts))
	for i, n := range counts {
		values[i] = float64(n)
	}
	return artifact.Tensors{{Name: Tensor, DType: artifact.F64, Shape: []int{len(counts)}, F64: values}}
}

// FromTensors returns the counts of a measurement, of which there are n.
// Errors: [ErrCounts].
func FromTensors(tensors artifact.Tensors, n int) ([]int64, error) {
	if len(tensors) != 1 || tensors[0].Name != Tensor || tensors[0].DType != artifact.F64 || len(tensors[0].F64) != n {
		return nil, ErrCounts
	}
	counts := make([]int64, n)
	for i, v := range tensors[0].F64 {
		if !(v >= 0 && v <= Most) || v != math.Trunc(v) {
			return nil, ErrCounts
		}
		counts[i] = int64(v)
	}
	return counts, nil
}
