// Package digits is a ten-class table for tests: images of handwritten digits.
//
// Invariant: the rows are those of the file, in its order. See README.md for
// the source and the licence of the data.
package digits

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"strings"

	"github.com/atom-fabric/fabric/internal/site/table"
)

var (
	//go:embed digits.csv.gz
	file []byte
)

// Inputs is the number of pixels of an image.
const Inputs = 64

// Table returns all 1,797 rows; pixels are counts from 0 to 16.
func Table() (table.Table, error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return table.Table{}, err
	}
	var header strings.Builder
	for i := range Inputs {
		fmt.Fprintf(&header, "pixel_%d_%d,", i/8, i%8)
	}
	header.WriteString(table.LabelColumn + "\n")
	return table.Read(io.MultiReader(strings.NewReader(header.String()), unzipped))
}
