// Package table reads a site's rows.
//
// Invariant: a [Table] that exists is rectangular, finite and labelled. No error
// and no log line of this package holds a value of a row, only where it is.
package table

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
)

// Why a file is not a table.
var (
	ErrHeader  = errors.New("header is not feature names and then \"label\"")
	ErrColumns = errors.New("row has another number of columns than the header")
	ErrNumber  = errors.New("not a finite number")
	ErrLabel   = errors.New("label is not a class index")
	ErrNoRows  = errors.New("there is no row")
	ErrCSV     = errors.New("not well-formed CSV")
)

// LabelColumn is the name of the last column.
const LabelColumn = "label"

// maxLabel bounds class indexes; the model's own bound is checked against it.
const maxLabel = 1 << 20

// heldOut: every fifth row of the file is held out, by its place in it, so that
// nobody needs to store or agree on a split.
const heldOut = 5

// A CellError says which cell is at fault, and why. It never holds the cell.
type CellError struct {
	Line   int // of the file, counted from 1
	Column int // counted from 1; 0 for the line as a whole
	Err    error
}

func (e *CellError) Error() string {
	if e.Column == 0 {
		return fmt.Sprintf("line %d: %v", e.Line, e.Err)
	}
	return fmt.Sprintf("line %d, column %d: %v", e.Line, e.Column, e.Err)
}
func (e *CellError) Unwrap() error { return e.Err }

// A Table is features and class indexes, row by row.
type Table struct {
	Columns []string    // of the features
	Rows    [][]float64 // [rows][columns], as in the file, not standardised
	Labels  []int       // [rows]
}

// Len returns the number of rows.
func (t Table) Len() int { return len(t.Rows) }

// Classes returns one more than the highest label.
func (t Table) Classes() int {
	top := -1
	for _, label := range t.Labels {
		top = max(top, label)
	}
	return top + 1
}

// Split returns the rows to train on and the held-out ones: those whose place
// in the file, counted from 0, is 4 modulo 5. The order is the file's.
func (t Table) Split() (train, held Table) {
	train.Columns, held.Columns = t.Columns, t.Columns
	for i, row := range t.Rows {
		part := &train
		if i%heldOut == heldOut-1 {
			part = &held
		}
		part.Rows = append(part.Rows, row)
		part.Labels = append(part.Labels, t.Labels[i])
	}
	return train, held
}

// Join returns the rows of all tables, in order. The columns are the first's.
func Join(tables ...Table) Table {
	var out Table
	for i, t := range tables {
		if i == 0 {
			out.Columns = t.Columns
		}
		out.Rows = append(out.Rows, t.Rows...)
		out.Labels = append(out.Labels, t.Labels...)
	}
	return out
}

// ReadFile reads the table in a file.
func ReadFile(path string) (Table, error) {
	f, err := os.Open(path)
	if err != nil {
		return Table{}, err
	}
	defer f.Close()
	return Read(f)
}

// Read reads CSV: a header line whose last name is "label", then a row a line,
// finite decimals and a class index.
// Errors: [ErrHeader], [ErrNoRows], [*CellError] with the others.
func Read(src io.Reader) (Table, error) {
	r := csv.NewReader(bufio.NewReader(src))
	r.FieldsPerRecord = -1 // counted below, so that the error is ours
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil || len(header) < 2 || header[len(header)-1] != LabelColumn {
		return Table{}, ErrHeader
	}
	t := Table{Columns: append([]string(nil), header[:len(header)-1]...)}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		var malformed *csv.ParseError
		if errors.As(err, &malformed) {
			return Table{}, &CellError{Line: malformed.Line, Err: ErrCSV}
		}
		if err != nil {
			return Table{}, err
		}
		line, _ := r.FieldPos(0)
		if len(record) != len(t.Columns)+1 {
			return Table{}, &CellError{Line: line, Err: ErrColumns}
		}
		row := make([]float64, len(t.Columns))
		for c := range row {
			v, err := strconv.ParseFloat(record[c], 64)
			if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
				return Table{}, &CellError{Line: line, Column: c + 1, Err: ErrNumber}
			}
			row[c] = v
		}
		label, err := strconv.Atoi(record[len(row)])
		if err != nil || label < 0 || label > maxLabel {
			return Table{}, &CellError{Line: line, Column: len(row) + 1, Err: ErrLabel}
		}
		t.Rows = append(t.Rows, row)
		t.Labels = append(t.Labels, label)
	}
	if t.Len() == 0 {
		return Table{}, ErrNoRows
	}
	return t, nil
}

// Write writes the table in the form that [Read] reads, every value in the
// shortest form that reads back the same.
func (t Table) Write(dst io.Writer) error {
	w := csv.NewWriter(dst)
	if err := w.Write(append(append([]string(nil), t.Columns...), LabelColumn)); err != nil {
		return err
	}
	record := make([]string, len(t.Columns)+1)
	for i, row := range t.Rows {
		for c, v := range row {
			record[c] = strconv.FormatFloat(v, 'g', -1, 64)
		}
		record[len(row)] = strconv.Itoa(t.Labels[i])
		if err := w.Write(record); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}
