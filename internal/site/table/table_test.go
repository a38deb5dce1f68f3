package table_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/internal/site/table"
)

func TestRead(t *testing.T) {
	got, err := table.Read(strings.NewReader("age,\"size, mm\",label\n61,1.5e-3,0\r\n-0.25,7,1\n"))
	require.NoError(t, err)
	require.Equal(t, table.Table{
		Columns: []string{"age", "size, mm"},
		Rows:    [][]float64{{61, 0.0015}, {-0.25, 7}},
		Labels:  []int{0, 1},
	}, got)
	require.Equal(t, 2, got.Classes())

	var out bytes.Buffer
	require.NoError(t, got.Write(&out))
	again, err := table.Read(&out)
	require.NoError(t, err)
	require.Equal(t, got, again)
}

func TestReadRefuses(t *testing.T) {
	tests := []struct {
		name         string
		give         string
		want         error
		line, column int
	}{
		{"an empty file", "", table.ErrHeader, 0, 0},
		{"no label column", "a,b\n1,2\n", table.ErrHeader, 0, 0},
		{"a label that is not last", "label,a\n1,2\n", table.ErrHeader, 0, 0},
		{"nothing but labels", "label\n1\n", table.ErrHeader, 0, 0},
		{"no rows", "a,label\n", table.ErrNoRows, 0, 0},
		{"a row that is too short", "a,b,label\n1,2,0\n1,0\n", table.ErrColumns, 3, 0},
		{"a row that is too long", "a,label\n1,0,0\n", table.ErrColumns, 2, 0},
		{"an empty cell", "a,b,label\n1,,0\n", table.ErrNumber, 2, 2},
		{"text", "a,b,label\n1,2,0\nsecret,2,0\n", table.ErrNumber, 3, 1},
		{"a NaN", "a,label\nNaN,0\n", table.ErrNumber, 2, 1},
		{"an infinity", "a,label\n1e999,0\n", table.ErrNumber, 2, 1},
		{"a negative label", "a,label\n1,-1\n", table.ErrLabel, 2, 2},
		{"a label that is no integer", "a,label\n1,0.0\n", table.ErrLabel, 2, 2},
		{"a stray quote", "a,label\n1\"2,0\n", table.ErrCSV, 2, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := table.Read(strings.NewReader(tt.give))
			require.ErrorIs(t, err, tt.want)
			require.NotContains(t, err.Error(), "secret", "no value of a row is in an error")
			if tt.line > 0 {
				var at *table.CellError
				require.ErrorAs(t, err, &at)
				require.Equal(t, []int{tt.line, tt.column}, []int{at.Line, at.Column})
			}
		})
	}
	broken := errors.New("disk error")
	_, err := table.Read(iotest.ErrReader(broken))
	require.Error(t, err)
	_, err = table.ReadFile(filepath.Join(t.TempDir(), "none.csv"))
	require.Error(t, err)
}

func TestSplitHoldsOutEveryFifthRow(t *testing.T) {
	full := table.Table{Columns: []string{"a"}}
	for i := range 12 {
		full.Rows = append(full.Rows, []float64{float64(i)})
		full.Labels = append(full.Labels, i)
	}
	train, held := full.Split()
	require.Equal(t, []int{4, 9}, held.Labels)
	require.Equal(t, []int{0, 1, 2, 3, 5, 6, 7, 8, 10, 11}, train.Labels)
	require.Equal(t, 12, table.Join(train, held).Len())
}
