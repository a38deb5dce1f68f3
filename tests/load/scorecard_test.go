//go:build bench

package load

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/calibration"
	"github.com/atom-fabric/fabric/domain/drift"
	"github.com/atom-fabric/fabric/domain/fairness"
	"github.com/atom-fabric/fabric/domain/measure"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/scorecard"
	"github.com/atom-fabric/fabric/domain/statistics"
	"github.com/atom-fabric/fabric/tests/harness"
)

// What the product promises on two cores.
const (
	cardRows    = 1_000_000
	cardColumns = 50
	cardWorkers = 2
	cardSeconds = 5.0
	cardKiB     = 512 << 10
	cardSeed    = 20266
	cardRuns    = 3
)

// TestScorecard measures a card over a table on disk: the columns one after the
// other, as float32, then scores, truths and groups of a byte each. The limit
// beside it, in the same run, is reading the same bytes, and for the exact
// distances sorting the same columns with nothing done to them.
func TestScorecard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "predictions")
	writePredictions(t, path)
	size := int64(4*cardRows*(cardColumns+1) + 2*cardRows)
	reference := referenceSketches(t)
	read, binned, sorting, exact := math.Inf(1), math.Inf(1), math.Inf(1), math.Inf(1)
	var card scorecard.Card
	var kib int
	for range cardRuns {
		read = min(read, timed(t, func() { require.EqualValues(t, size, readAll(t, path)) }))
		resetPeak(t)
		binned = min(binned, timed(t, func() { card = cardOf(t, path, reference) }))
		kib = max(kib, peakKiB(t))
	}
	sorting = min(sorting, timed(t, func() { eachColumn(t, path, func(_ int, x []float32) { sorted(x) }) }))
	resetPeak(t)
	exact = min(exact, timed(t, func() { exactOf(t, path) }))
	exactKiB := peakKiB(t)
	require.Equal(t, scorecard.Pass, card.Dimensions[2].Status, "%+v", card.Dimensions[2])
	text, err := json.Marshal(card)
	require.NoError(t, err)

	var b strings.Builder
	fmt.Fprintf(&b, "# Scorecard\n\nA card over %d predictions and %d columns in a file of %d MiB: fairness of three groups, calibration in 15 bins, drift of\n"+
		"every column in deciles of a reference with false discovery control, performance. Two goroutines, one column each at a time.\n"+
		"Exact distances (Kolmogorov-Smirnov, Wasserstein, energy) need sorted columns and are measured apart, with the sorting alone beside them.\n\n", cardRows, cardColumns, size>>20)
	fmt.Fprintf(&b, "- command: `go test -tags bench -count=1 -run TestScorecard ./tests/load`, seed %d, the least of %d runs (sorting: one)\n- machine: %s\n\n", cardSeed, cardRuns, harness.Describe(t))
	fmt.Fprintf(&b, "| what | seconds | beside its limit | peak, MiB | promised |\n|---|---|---|---|---|\n")
	fmt.Fprintf(&b, "| limit: reading the bytes | %.3f | 1 | - | - |\n", read)
	fmt.Fprintf(&b, "| the card | %.3f | %.1f | %d | %.0f s, %d MiB |\n", binned, binned/read, kib>>10, cardSeconds, cardKiB>>10)
	fmt.Fprintf(&b, "| limit: reading and sorting every column | %.3f | 1 | - | - |\n", sorting)
	fmt.Fprintf(&b, "| exact distances of every column | %.3f | %.2f | %d | - |\n", exact, exact/sorting, exactKiB>>10)
	fmt.Fprintf(&b, "\nThe card is %d bytes of JSON.\n", len(text))
	write(t, "scorecard.md", b.String())
	require.Less(t, binned, cardSeconds)
	require.Less(t, kib, cardKiB)
}

func timed(t *testing.T, f func()) float64 {
	t.Helper()
	begin := time.Now()
	f()
	return time.Since(begin).Seconds()
}

// resetPeak makes the kernel forget the greatest memory so far.
func resetPeak(t *testing.T) {
	t.Helper()
	require.NoError(t, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o200))
}

func peakKiB(t *testing.T) (kib int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if n, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 && err == nil {
			return kib
		}
	}
	t.Fatal("the kernel does not say how much memory was used")
	return 0
}

// value is of a column: a shape of its own, moved a little in every tenth.
func value(r *rand.Rand, column int) float32 {
	v := r.NormFloat64()
	switch column % 3 {
	case 1:
		v = math.Exp(v)
	case 2:
		v = float64(r.IntN(40))
	}
	if column%10 == 0 {
		v += 0.05
	}
	return float32(v)
}

func writePredictions(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	require.NoError(t, err)
	w := bufio.NewWriterSize(file, 1<<20)
	var raw [4]byte
	for c := range cardColumns {
		r := rand.New(rand.NewPCG(cardSeed, uint64(c)))
		for range cardRows {
			binary.LittleEndian.PutUint32(raw[:], math.Float32bits(value(r, c)))
			w.Write(raw[:]) // Flush tells
		}
	}
	r := rand.New(rand.NewPCG(cardSeed, cardColumns))
	truth := make([]byte, cardRows)
	for i := range truth {
		p := r.Float32()
		if r.Float32() < p {
			truth[i] = 1
		}
		binary.LittleEndian.PutUint32(raw[:], math.Float32bits(p))
		w.Write(raw[:])
	}
	w.Write(truth)
	for range cardRows {
		w.WriteByte(byte(r.IntN(3)))
	}
	require.NoError(t, w.Flush())
	require.NoError(t, file.Close())
}

func readAll(t *testing.T, path string) int64 {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{file}, make([]byte, 1<<20))
	require.NoError(t, err)
	return n
}

// referenceSketches are deciles and counts of 100,000 rows that did not move.
func referenceSketches(t *testing.T) []measure.Feature {
	t.Helper()
	out := make([]measure.Feature, cardColumns)
	for c := range out {
		r := rand.New(rand.NewPCG(cardSeed+1, uint64(c)))
		values := make([]float64, 100_000)
		for i := range values {
			values[i] = float64(value(r, c))
		}
		slices.Sort(values)
		bins, err := drift.EqualMass(values, 10)
		require.NoError(t, err)
		out[c] = measure.Feature{Column: fmt.Sprintf("column%02d", c), Bins: bins, Sketch: drift.Count(bins, values)}
	}
	return out
}

// eachColumn reads the columns, two at a time.
func eachColumn(t *testing.T, path string, use func(column int, values []float32)) {
	t.Helper()
	var all sync.WaitGroup
	for worker := range cardWorkers {
		all.Go(func() {
			file, err := os.Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			defer file.Close()
			raw, values := make([]byte, 4*cardRows), make([]float32, cardRows)
			for c := worker; c < cardColumns; c += cardWorkers {
				if _, err := file.ReadAt(raw, int64(c)*int64(len(raw))); err != nil {
					t.Error(err)
					return
				}
				floats(values, raw)
				use(c, values)
			}
		})
	}
	all.Wait()
}

func floats(dst []float32, raw []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
}

func sorted(x []float32) []float64 {
	values := make([]float64, len(x))
	for i, v := range x {
		values[i] = float64(v)
	}
	slices.Sort(values)
	return values
}

// cardOf computes the card of the file.
func cardOf(t *testing.T, path string, reference []measure.Feature) scorecard.Card {
	t.Helper()
	now := measure.Measured{Features: slices.Clone(reference)}
	eachColumn(t, path, func(c int, values []float32) { now.Features[c].Sketch = drift.Count(reference[c].Bins, values) })

	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	_, err = file.Seek(4*cardRows*cardColumns, io.SeekStart)
	require.NoError(t, err)
	rest, err := io.ReadAll(file)
	require.NoError(t, err)
	scores, truth := make([]float32, cardRows), make([]bool, cardRows)
	floats(scores, rest)
	answers, members := rest[4*cardRows:5*cardRows], rest[5*cardRows:]
	var cells [3][4]int64
	var metrics round.Metrics
	var loss float64
	for i, p := range scores {
		y, said := answers[i], 0
		truth[i] = y == 1
		if p > 0.5 {
			said = 1
		}
		cells[members[i]][2*int(y)+said]++
		if said == int(y) {
			metrics.Correct++
		}
		loss -= math.Log(float64(max(1e-7, 1-float32(math.Abs(float64(p)-float64(y))))))
	}
	metrics.Evaluated, metrics.LossMicros = cardRows, int64(loss*1e6)
	now.Bins, err = calibration.Count(scores, truth, calibration.Width)
	require.NoError(t, err)
	for g, n := range cells {
		now.Groups = append(now.Groups, fairness.Group{Name: string(rune('a' + g)), TN: n[0], FP: n[1], FN: n[2], TP: n[3]})
	}
	return scorecard.Judge(scorecard.Evidence{
		Trials:   []scorecard.Trial{{Run: "bench", Status: "completed", Metrics: metrics}},
		Measured: &now, Reference: &measure.Measured{Features: reference}, Operation: scorecard.Operation{DrillAge: -1},
	})
}

// exactOf sorts every column and compares it with one that did not move.
func exactOf(t *testing.T, path string) {
	t.Helper()
	references := make([][]float64, 3)
	for c := range references {
		r := rand.New(rand.NewPCG(cardSeed+1, uint64(c+1)))
		values := make([]float64, 100_000)
		for i := range values {
			values[i] = float64(value(r, c+1))
		}
		slices.Sort(values)
		references[c] = values
	}
	eachColumn(t, path, func(c int, x []float32) {
		values := sorted(x)
		against := references[(c+2)%3]
		if _, err := drift.Compare(against, values); err != nil {
			t.Error(err)
		}
		if _, err := statistics.KolmogorovSmirnov(against, values, statistics.TwoSided); err != nil {
			t.Error(err)
		}
	})
}
