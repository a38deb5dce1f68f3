package summary

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/dp"
)

// Why a site does not answer with numbers. These are all that it may say: none
// of them depends on a row but [FewRows], which is said of a noised count.
const (
	NoColumns = "columns"  // its rows have not all the columns
	FewRows   = "rows"     // fewer than its operator asks for
	NoConsent = "consent"  // no signed grant allows it
	NoLimits  = "limits"   // its operator's own limits do not allow it
	Answered  = "answered" // another question about the version, and it answers one only
)

// Why an answer is no answer.
var (
	ErrAnswer = errors.New("not an answer to the question")
	ErrRows   = errors.New("a row lacks a column that is asked about")
)

// An Answer is what a site says to a question, as it signs it: the predicate of
// a statement of type [artifact.PredicateSummary] about the question's digest.
// All numbers are noised.
type Answer struct {
	Question artifact.Digest `json:"question"`
	Tenant   string          `json:"tenant"`
	Site     string          `json:"site"`
	Refused  string          `json:"refused,omitempty"`
	Count    int64           `json:"count"`
	Columns  []Sums          `json:"columns,omitempty"` // in the order of the question
}

// Sums are what is counted of a column. With u = (x - middle)/half, in [-1, 1],
// Sum is Σ u and Squares Σ u², both in steps of 2^-20. Bins are of equal width.
type Sums struct {
	Sum     int64   `json:"sum"`
	Squares int64   `json:"squares"`
	Bins    []int64 `json:"bins"`
}

// exact is the largest magnitude of a number in an answer: JSON keeps it.
const exact = 1 << 53

// Count answers a question from rows. at says which element of a row is which
// column of the question. Noise is the discrete Gaussian, of so many steps:
//
//	Count, Bins:   σ = Stddev      a row adds 1, and to one bin
//	Sum, Squares:  σ = Stddev·2^20 a row adds at most 2^20 steps
//
// Sums are integers and the noise is drawn exactly (Canonne, Kamath and Steinke,
// arXiv:2004.00010), so no rounding of floats tells what the noise hides
// (Mironov, CCS 2012). A row is a whole contributor.
//
// The same question must never be answered twice with different noise: two
// answers are worth more than one. Whoever calls it keeps the first.
//
// Errors: those of [Question.Validate]; [ErrRows]; those of noise.
func Count(q Question, site string, rows [][]float64, at []int, noise io.Reader) (Answer, error) {
	if err := q.Validate(); err != nil {
		return Answer{}, err
	}
	_, digest, err := q.Encode()
	if err != nil {
		return Answer{}, err
	}
	out := Answer{Question: digest, Tenant: q.Tenant, Site: site, Columns: make([]Sums, len(q.Columns))}
	for c := range out.Columns {
		out.Columns[c].Bins = make([]int64, q.Bins)
	}
	for _, row := range rows {
		out.Count++
		for c, column := range q.Columns {
			if at[c] >= len(row) {
				return Answer{}, ErrRows
			}
			u := column.unit(row[at[c]])
			steps := int64(math.RoundToEven(u * grid))
			s := &out.Columns[c]
			s.Sum += steps
			s.Squares += int64(math.RoundToEven(u * u * grid))
			s.Bins[bin(u, q.Bins)]++
		}
	}
	return out, out.noise(q, noise)
}

// unit returns where x lies between the bounds, from -1 to 1. What is not a
// number lies in the middle: a refusal would tell of the row.
func (c Column) unit(x float64) float64 {
	u := (x - c.middle()) / c.half()
	if math.IsNaN(u) {
		return 0
	}
	return max(-1, min(1, u))
}

func bin(u float64, bins int) int {
	return min(bins-1, int((u+1)/2*float64(bins)))
}

// noise adds the noise of the question to every number, and clips what would
// leave the numbers of JSON: that is done to noised values, and tells nothing.
func (a *Answer) noise(q Question, src io.Reader) error {
	small, err := dp.NewDiscreteGaussian(q.Stddev())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEpsilon, err)
	}
	large, err := dp.NewDiscreteGaussian(q.Stddev() * grid) // to the bit: grid is a power of two
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEpsilon, err)
	}
	counts := make([]int64, 1+len(q.Columns)*q.Bins)
	sums := make([]int64, 2*len(q.Columns))
	if err := errors.Join(small.Fill(counts, src), large.Fill(sums, src)); err != nil {
		return err
	}
	add := func(to *int64, noise int64) { *to = max(-exact, min(exact, *to+noise)) }
	add(&a.Count, counts[0])
	for c := range a.Columns {
		s := &a.Columns[c]
		add(&s.Sum, sums[2*c])
		add(&s.Squares, sums[2*c+1])
		for b := range s.Bins {
			add(&s.Bins[b], counts[1+c*q.Bins+b])
		}
	}
	return nil
}

// Refuse is the answer of a site that will not give numbers.
func Refuse(q Question, site, why string) (Answer, error) {
	_, digest, err := q.Encode()
	return Answer{Question: digest, Tenant: q.Tenant, Site: site, Refused: why}, err
}

// Check says whether it is an answer to the question by one who was asked.
// Errors: [ErrAnswer].
func (a Answer) Check(q Question) error {
	_, digest, err := q.Encode()
	if err != nil {
		return err
	}
	asked := false
	for _, s := range q.Sites {
		asked = asked || s == a.Site
	}
	switch {
	case a.Question != digest || a.Tenant != q.Tenant || !asked:
		return ErrAnswer
	case a.Refused == NoColumns, a.Refused == FewRows, a.Refused == NoConsent, a.Refused == NoLimits, a.Refused == Answered:
		if a.Count != 0 || len(a.Columns) != 0 {
			return ErrAnswer
		}
		return nil
	case a.Refused != "", len(a.Columns) != len(q.Columns), !fits(a.Count):
		return ErrAnswer
	}
	for _, s := range a.Columns {
		if len(s.Bins) != q.Bins || !fits(s.Sum) || !fits(s.Squares) {
			return ErrAnswer
		}
		for _, n := range s.Bins {
			if !fits(n) {
				return ErrAnswer
			}
		}
	}
	return nil
}

func fits(n int64) bool { return n >= -exact && n <= exact }
