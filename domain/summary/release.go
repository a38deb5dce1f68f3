package summary

import (
	"errors"
	"fmt"
	"math"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Level is how often an interval holds what it is about, each by itself, over
// the noise. The rows are taken as they are: the intervals are about them, and
// not about whomever they were drawn from.
const Level = 0.95

// normal95 is the quantile of the normal distribution at 1 - (1-Level)/2.
const normal95 = 1.959963984540054

// Rows below which nothing but their noised count is told: fewer than MinGroup,
// and fewer than quiet times the noise, under which a quotient by the count
// means nothing.
const (
	MinGroup = 20
	quiet    = 10
)

// ErrNobody says that no site has answered with numbers.
var ErrNobody = errors.New("no site of the tenant answered with rows")

// States of a release.
const (
	Published    = "PUBLISHED"
	Insufficient = "INSUFFICIENT"
)

// A Release is what is published about a version of a feature, once.
type Release struct {
	Tenant  string          `json:"tenant"`
	Feature string          `json:"feature"`
	Version int             `json:"version"`
	Content artifact.Digest `json:"content,omitempty"`
	Status  string          `json:"status"`           // Published, or Insufficient with the count alone
	Reason  string          `json:"reason,omitempty"` // of the latter, with what to do

	Question        artifact.Digest `json:"question"`
	Epsilon         float64         `json:"epsilon"` // at Delta, of one row more or less at one site
	Delta           float64         `json:"delta"`
	NoiseMultiplier float64         `json:"noiseMultiplier"`
	Level           float64         `json:"level"`
	SitesAsked      int             `json:"sitesAsked"`
	SitesAnswered   int             `json:"sitesAnswered"` // with numbers

	Count   Figure    `json:"count"`
	Columns []Summary `json:"columns,omitempty"`
}

// A Figure is a value, the interval that holds the exact one in [Level] of all
// draws of the noise, and the standard deviation that the noise gives it.
type Figure struct {
	Value  float64 `json:"value"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
	Stddev float64 `json:"stddev"`
}

// A Summary is what is published of a column whose values were clipped to the
// bounds. Variance is that of the rows, divided by their number. BinStddev is
// the noise of every bin.
type Summary struct {
	Column
	Mean      Figure     `json:"mean"`
	Variance  Figure     `json:"variance"`
	Quantiles []Quantile `json:"quantiles"`
	Bins      []int64    `json:"bins"` // noised, as it is: some may be below 0
	BinStddev float64    `json:"binStddev"`
}

// A Quantile is the value that a share of the rows is at most. It has the
// resolution of the bins, and its interval is one of ends of bins.
type Quantile struct {
	Share float64 `json:"share"`
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// shares are the quantiles that are published.
func shares() []float64 { return []float64{0.05, 0.25, 0.5, 0.75, 0.95} }

// Publish makes figures of the answers: the sums of all sites added, whose
// independent noise adds up in its squares. Nothing else than answers goes in,
// so that it costs no privacy, and the same answers give the same figures.
// Errors: [ErrNobody]; [ErrAnswer] of an answer that fits the question not.
func Publish(q Question, answers []Answer) (Release, error) {
	_, digest, err := q.Encode()
	if err != nil {
		return Release{}, err
	}
	out := Release{
		Tenant: q.Tenant, Feature: q.Feature, Version: q.Version, Content: q.Content, Question: digest, Status: Published,
		Epsilon: q.Epsilon, Delta: q.Delta, NoiseMultiplier: q.NoiseMultiplier, Level: Level, SitesAsked: len(q.Sites),
	}
	var sum Answer
	for _, a := range answers {
		if err := a.Check(q); err != nil {
			return Release{}, fmt.Errorf("site %s: %w", a.Site, err)
		}
		if a.Refused != "" {
			continue
		}
		out.SitesAnswered++
		sum = sum.plus(a)
	}
	if out.SitesAnswered == 0 {
		return Release{}, ErrNobody
	}
	stddev := q.Stddev() * math.Sqrt(float64(out.SitesAnswered))
	out.Count = figure(float64(sum.Count), stddev, 0, math.Inf(1))
	if least := Least(q, out.SitesAnswered); float64(sum.Count) < least {
		out.Status = Insufficient
		out.Reason = fmt.Sprintf("about %.0f rows, and with this noise %.0f are the least that figures are told of: register a version of the feature with more rows, and ask with a larger epsilon or fewer columns",
			out.Count.Value, math.Ceil(least))
		return out, nil
	}
	for c, column := range q.Columns {
		out.Columns = append(out.Columns, column.summary(float64(sum.Count), sum.Columns[c], stddev))
	}
	return out, nil
}

// Least is the noised count below which figures are not told, of so many sites.
func Least(q Question, sites int) float64 {
	return max(MinGroup, quiet*q.Stddev()*math.Sqrt(float64(sites)))
}

// plus adds another site's numbers.
func (a Answer) plus(b Answer) Answer {
	if a.Columns == nil {
		a.Columns = make([]Sums, len(b.Columns))
		for c := range a.Columns {
			a.Columns[c].Bins = make([]int64, len(b.Columns[c].Bins))
		}
	}
	a.Count += b.Count
	for c, s := range b.Columns {
		a.Columns[c].Sum += s.Sum
		a.Columns[c].Squares += s.Squares
		for i, n := range s.Bins {
			a.Columns[c].Bins[i] += n
		}
	}
	return a
}

// figure is a value with normal noise, all of it within what is possible.
func figure(value, stddev, least, most float64) Figure {
	in := func(x float64) float64 { return max(least, min(most, x)) }
	return Figure{Value: in(value), Low: in(value - normal95*stddev), High: in(value + normal95*stddev), Stddev: stddev}
}

// summary turns noised sums over n noised rows into figures. In units of half
// the bounds, with s the noise of each of a = Σu, b = Σu² and n:
//
//	mean      m = a/n. Its interval holds each μ with |a - μ·n| ≤ z·s·√(1+μ²)
//	          (Fieller 1954), which is exact for normal noise.
//	variance  v = b/n - m², with by the delta method
//	          s²·(1 + 4m² + (2m² - b/n)²)/n²
func (c Column) summary(n float64, s Sums, stddev float64) Summary {
	a, b := float64(s.Sum)/grid, float64(s.Squares)/grid
	m, square := a/n, b/n
	out := Summary{Column: c, Bins: s.Bins, BinStddev: stddev}
	low, high := fieller(a, n, stddev)
	out.Mean = Figure{
		Value: c.value(m), Low: c.value(low), High: c.value(high), Stddev: c.half() * stddev * math.Sqrt(1+m*m) / n,
	}
	bend := 2*m*m - square
	v := figure(square-m*m, stddev*math.Sqrt(1+4*m*m+bend*bend)/n, 0, 1)
	unit := c.half() * c.half()
	out.Variance = Figure{Value: v.Value * unit, Low: v.Low * unit, High: v.High * unit, Stddev: v.Stddev * unit}
	for _, p := range shares() {
		out.Quantiles = append(out.Quantiles, c.quantile(s.Bins, p, stddev))
	}
	return out
}

// value is what lies at u between the bounds.
func (c Column) value(u float64) float64 {
	return max(c.Low, min(c.High, c.middle()+max(-1, min(1, u))*c.half()))
}

// fieller returns the ends of { μ : (a - μ·n)² ≤ k²·(1+μ²) }, k = z·stddev. n is
// above k: [Publish] tells nothing else.
func fieller(a, n, stddev float64) (low, high float64) {
	k := normal95 * stddev
	d := n*n - k*k
	root := k * math.Sqrt(max(0, a*a+d))
	return (a*n - root) / d, (a*n + root) / d
}

// quantile finds the share p of the rows in noised bins. At the end of bin k,
//
//	D = Σ_{i<k} h_i - p·Σ h_i
//
// is at most 0 before the quantile and at least 0 after it, and its noise has
// the variance stddev²·(k·(1-p)² + (bins-k)·p²). The interval begins at the last
// end of a bin behind which D is not clearly below 0, and ends at the first
// before which it is not clearly above: each misses with half of 1-[Level].
func (c Column) quantile(bins []int64, p, stddev float64) Quantile {
	total, positive := 0.0, 0.0
	for _, n := range bins {
		total += float64(n)
		positive += max(0, float64(n))
	}
	edge := func(k float64) float64 { return c.value(2*k/float64(len(bins)) - 1) }
	low, high, at := len(bins)-1, 1, float64(len(bins))/2
	below, found := 0.0, false
	first, sum := true, 0.0
	for k := 0; k <= len(bins); k++ {
		d := sum - p*total
		margin := normal95 * stddev * math.Sqrt(float64(k)*(1-p)*(1-p)+float64(len(bins)-k)*p*p)
		if k > 0 && first && d >= -margin {
			low, first = k-1, false
		}
		if k < len(bins) && d <= margin {
			high = k + 1
		}
		if k == len(bins) {
			break
		}
		n := max(0, float64(bins[k]))
		if target := p * positive; !found && n > 0 && below+n >= target {
			at, found = float64(k)+(target-below)/n, true
		}
		below += n
		sum += float64(bins[k])
	}
	q := Quantile{Share: p, Low: edge(float64(low)), High: edge(float64(max(high, low+1)))}
	q.Value = max(q.Low, min(q.High, edge(at)))
	return q
}
