// Package tumour is the demonstration's data: the Wisconsin diagnostic
// breast-cancer table, dealt out to five made-up hospitals in three regions.
//
// Invariant: every row of the table is in exactly one hospital, and the same
// one in every build. See README.md for the source and the licence of the data.
package tumour

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"slices"
	"strconv"
	"strings"

	"github.com/atom-fabric/fabric/internal/site/table"
)

var (
	//go:embed schema.json
	schema []byte

	//go:embed breast_cancer.csv
	file string
)

// Classes are the meanings of the labels.
const (
	Malignant = 0
	Benign    = 1
)

// Inputs is the number of features of a row.
const Inputs = 30

// A Hospital is a tenant with one site and its private rows.
type Hospital struct {
	Tenant string
	Site   string
	Region string
	Rows   table.Table
}

// CSV returns the rows in the form that a site reads.
func (h Hospital) CSV() []byte {
	var out bytes.Buffer
	must(h.Rows.Write(&out))
	return out.Bytes()
}

// A share is how many rows of each class a hospital has. They add up to the
// table: 212 malignant, 357 benign.
type share struct {
	name, region      string
	malignant, benign int
}

// shares are skewed as hospitals are: a large referral centre sees mostly
// tumours, a small clinic with a screening programme hardly any.
func shares() []share {
	return []share{
		{"north", "eu", 94, 77},    // 171 rows, 55 % malignant
		{"harbour", "eu", 57, 85},  // 142 rows, 40 %
		{"lakeside", "us", 28, 86}, // 114 rows, 25 %
		{"summit", "us", 25, 60},   //  85 rows, 29 %
		{"coral", "apac", 8, 49},   //  57 rows, 14 %
	}
}

// Columns returns the names of the features, in order.
func Columns() []string {
	var out []string
	for _, kind := range []string{"mean", "error", "worst"} {
		for _, name := range []string{"radius", "texture", "perimeter", "area", "smoothness", "compactness",
			"concavity", "concave_points", "symmetry", "fractal_dimension"} {
			out = append(out, kind+"_"+name)
		}
	}
	return out
}

// Table returns all 569 rows in the order of the file.
func Table() table.Table {
	_, rows, _ := strings.Cut(file, "\n") // the first line holds counts and class names
	t, err := table.Read(strings.NewReader(strings.Join(Columns(), ",") + "," + table.LabelColumn + "\n" + rows))
	must(err)
	return t
}

// Split deals the rows out. Within a class the rows are dealt by ascending
// SHA-256 of their line in the file, which is as good as a shuffle and needs no
// random numbers; a hospital keeps its rows in that order too, classes mixed.
func Split() []Hospital {
	whole := Table()
	_, text, _ := strings.Cut(file, "\n")
	lines := strings.Split(strings.TrimSpace(text), "\n")
	order := make([]int, len(lines))
	hash := make([]string, len(lines))
	for i, line := range lines {
		sum := sha256.Sum256([]byte(strings.TrimSpace(line)))
		order[i], hash[i] = i, string(sum[:])
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(hash[a], hash[b]) })

	var out []Hospital
	given := [2]int{}
	for _, s := range shares() {
		h := Hospital{Tenant: "hosp-" + s.name, Site: s.name, Region: s.region}
		h.Rows.Columns = whole.Columns
		seen := [2]int{}
		for _, i := range order {
			class := whole.Labels[i]
			place := seen[class]
			seen[class]++
			if place < given[class] || place >= given[class]+[2]int{s.malignant, s.benign}[class] {
				continue
			}
			h.Rows.Rows = append(h.Rows.Rows, whole.Rows[i])
			h.Rows.Labels = append(h.Rows.Labels, class)
		}
		given[Malignant] += s.malignant
		given[Benign] += s.benign
		out = append(out, h)
	}
	return out
}

// Pooled returns what nobody in a federation can have: the training rows of all
// hospitals in one table, and the held-out rows of all. A demonstration compares
// with what is learnt from them.
func Pooled() (train, held table.Table) {
	var trains, helds []table.Table
	for _, h := range Split() {
		t, o := h.Rows.Split()
		trains, helds = append(trains, t), append(helds, o)
	}
	return table.Join(trains...), table.Join(helds...)
}

// Schema is the JSON Schema of the rows, as a catalog registers it.
func Schema() []byte { return bytes.Clone(schema) }

// must stops a build whose embedded file is broken; the tests load it.
func must(err error) {
	if err != nil {
		panic("examples/tumour: " + strconv.Quote(err.Error()))
	}
}
