package simulate

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"

	"github.com/atom-fabric/fabric/examples/digits"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/site/table"
)

// Partitions: how the training rows are dealt to the sites.
const (
	IID    = "iid"    // as they come, after a shuffle
	Shards = "shards" // sorted by label; each site has two stretches of that
)

// ErrPartition says that there is no such partition.
var ErrPartition = errors.New("a partition is iid or shards")

// leastRows is what a site has at least. Where there are more sites than rows
// for that, a row is at several sites.
const leastRows = 10

// testShare of the rows, one in five, are nobody's: the weights are measured
// on them after each round.
const testShare = 5

// Data are the rows of a simulation.
type Data struct {
	Name        string
	Train, Test table.Table
	Fixed       bool    // the range of the columns is known beforehand
	Low, High   float64 // that range, the same in all columns
}

// Load reads the rows that a name stands for: digits, tumour, or a CSV file in
// the form that a site reads. A fifth of them, drawn by the seed, are test rows.
func Load(name string, seed uint64) (Data, error) {
	d := Data{Name: name}
	var all table.Table
	var err error
	switch name {
	case "digits":
		d.Fixed, d.Low, d.High = true, -16, 16 // counts up to 16; so wide, they are divided by 16 and a white pixel stays 0
		all, err = digits.Table()
	case "tumour":
		all = tumour.Table()
	default:
		d.Name = filepath.Base(name)
		all, err = table.ReadFile(name)
	}
	if err != nil {
		return Data{}, err
	}
	if all.Len() < testShare {
		return Data{}, fmt.Errorf("%w: %d are too few to test with", table.ErrNoRows, all.Len())
	}
	order := rand.New(rand.NewPCG(seed, 0x726f7773)).Perm(all.Len())
	cut := all.Len() - all.Len()/testShare
	d.Train, d.Test = pick(all, order[:cut]), pick(all, order[cut:])
	return d, nil
}

// Bounds returns what the columns are taken to lie between. Where it is not
// known beforehand it is read off all rows, which only a simulation may do.
func (d Data) Bounds() [][2]float64 {
	out := make([][2]float64, len(d.Train.Columns))
	for c := range out {
		out[c] = [2]float64{d.Low, d.High}
		if d.Fixed {
			continue
		}
		out[c] = [2]float64{math.Inf(1), math.Inf(-1)}
		for _, rows := range [][][]float64{d.Train.Rows, d.Test.Rows} {
			for _, row := range rows {
				out[c] = [2]float64{min(out[c][0], row[c]), max(out[c][1], row[c])}
			}
		}
		if out[c][0] == out[c][1] {
			out[c][1]++ // a column that says nothing
		}
	}
	return out
}

// rowsPerSite is how many rows a site has at most.
func (s Settings) rowsPerSite() int {
	return max(leastRows, (s.Data.Train.Len()+s.Sites-1)/s.Sites+2)
}

// deal returns the rows of each site, and says how they were dealt.
func (s Settings) deal() ([]table.Table, string) {
	rows := s.Data.Train
	random := rand.New(rand.NewPCG(s.Params.Seed, 0x6465616c))
	order := random.Perm(rows.Len())
	if s.Partition == Shards {
		slices.Sort(order)
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rows.Labels[a], rows.Labels[b]) })
	}
	sorted := pick(rows, order)
	pieces := s.Sites
	if s.Partition == Shards {
		pieces *= 2
	}
	parts := make([]table.Table, pieces)
	source := fmt.Sprintf("%d rows dealt to %d sites, each row to one", rows.Len(), s.Sites)
	if rows.Len() >= leastRows*s.Sites {
		for k := range parts {
			parts[k] = stretch(sorted, k*rows.Len()/pieces, (k+1)*rows.Len()/pieces)
		}
	} else {
		size := min(rows.Len(), leastRows*s.Sites/pieces)
		source = fmt.Sprintf("%d rows are too few for %d sites: each has %d, drawn with replacement, so rows are at several sites", rows.Len(), s.Sites, size*pieces/s.Sites)
		for k := range parts {
			if s.Partition == Shards {
				from := random.IntN(rows.Len() - size + 1)
				parts[k] = stretch(sorted, from, from+size)
				continue
			}
			places := make([]int, size)
			for i := range places {
				places[i] = random.IntN(rows.Len())
			}
			parts[k] = pick(rows, places)
		}
	}
	if s.Partition != Shards {
		return parts, source
	}
	hands := random.Perm(pieces)
	out := make([]table.Table, s.Sites)
	for k := range out {
		out[k] = table.Join(parts[hands[2*k]], parts[hands[2*k+1]])
	}
	return out, source + "; each has two stretches of the rows sorted by label"
}

func pick(rows table.Table, places []int) table.Table {
	out := table.Table{Columns: rows.Columns, Rows: make([][]float64, len(places)), Labels: make([]int, len(places))}
	for i, at := range places {
		out.Rows[i], out.Labels[i] = rows.Rows[at], rows.Labels[at]
	}
	return out
}

func stretch(rows table.Table, from, to int) table.Table {
	return table.Table{Columns: rows.Columns, Rows: rows.Rows[from:to:to], Labels: rows.Labels[from:to:to]}
}
