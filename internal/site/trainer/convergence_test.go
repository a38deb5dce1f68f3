package trainer_test

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/model"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/examples/digits"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/site/table"
	"github.com/atom-fabric/fabric/internal/site/trainer"
)

// A federation is FedAvg over tables in memory. It prints no seed because it
// has none but its name: two runs are the same.
type federation struct {
	spec   round.ModelSpec
	set    trainer.Settings
	sites  []table.Table
	test   table.Table
	sample int // sites a round
	base   artifact.Tensors
}

// until returns the round in which the best accuracy on the test rows so far
// reaches target, and the best accuracy of all rounds.
func (f federation) until(t testing.TB, name string, rounds int, target float64) (reached int, best float64) {
	weights := f.base
	draws := draw(name)
	for n := 1; n <= rounds; n++ {
		var updates []aggregate.Update
		for _, k := range draws.Perm(len(f.sites))[:f.sample] {
			site := fmt.Sprintf("%03d", k)
			delta, err := trainer.Train(t.Context(), f.spec, weights, f.sites[k], f.set,
				draw(fmt.Sprint(name, n, site)))
			require.NoError(t, err)
			updates = append(updates, aggregate.Update{Site: site, Examples: int64(f.sites[k].Len()), Tensors: delta})
		}
		weights = apply(t, f.spec, round.Train, weights, updates)
		m, err := trainer.Evaluate(f.spec, weights, f.test)
		require.NoError(t, err)
		best = max(best, float64(m.Correct)/float64(m.Evaluated))
		if reached == 0 && best >= target {
			reached = n
		}
	}
	return reached, best
}

// split returns the training and the test rows of a measured split; see
// tests/vectors/fedavg/generate.py.
func split(t testing.TB, name string, rows table.Table) (train, test table.Table) {
	content, err := os.ReadFile("../../../tests/vectors/fedavg/splits.json")
	require.NoError(t, err)
	var file map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(content, &file))
	var vector struct {
		Train int
		Order []int
	}
	require.NoError(t, json.Unmarshal(file[name], &vector))
	require.Len(t, vector.Order, rows.Len())
	return pick(rows, vector.Order[:vector.Train]), pick(rows, vector.Order[vector.Train:])
}

func pick(rows table.Table, places []int) table.Table {
	out := table.Table{Columns: rows.Columns}
	for _, i := range places {
		out.Rows = append(out.Rows, rows.Rows[i])
		out.Labels = append(out.Labels, rows.Labels[i])
	}
	return out
}

// cut returns n parts of rows, as equal as can be.
func cut(rows table.Table, n int) []table.Table {
	var out []table.Table
	for k := range n {
		from, to := k*rows.Len()/n, (k+1)*rows.Len()/n
		out = append(out, table.Table{Columns: rows.Columns, Rows: rows.Rows[from:to], Labels: rows.Labels[from:to]})
	}
	return out
}

// Source of the figures: tests/vectors/fedavg, five clients, all of them a
// round, one epoch, batches of 16, rate 0.1: 97 % in 5 or 6 rounds, best of 30
// rounds 97.37 % (111 of 114). One round more or less is noise.
func TestTumourConverges(t *testing.T) {
	train, test := split(t, "tumour", tumour.Table())
	f := federation{spec: logistic, set: settings, sites: cut(train, 5), test: test, sample: 5}
	f.base = standardised(t, logistic, f.sites...)
	for run := range 5 {
		n, best := f.until(t, fmt.Sprint("tumour", run), 30, 0.97)
		t.Logf("run %d: 97 %% in round %d, best of 30 rounds %.4f", run, n, best)
		require.GreaterOrEqual(t, n, 4)
		require.LessOrEqual(t, n, 7)
		require.InDelta(t, 111.0/114, best, 1.0/114)
	}
}

// The demonstration's own run: skewed hospitals, ten rounds, near what one
// table would give.
func TestHospitalsConverge(t *testing.T) {
	for _, spec := range []round.ModelSpec{logistic, mlp} {
		t.Run(spec.Trainer, func(t *testing.T) {
			f := federation{spec: spec, set: settings, sample: 5}
			for _, h := range tumour.Split() {
				rows, _ := h.Rows.Split()
				f.sites = append(f.sites, rows)
			}
			var pooled table.Table
			pooled, f.test = tumour.Pooled()
			f.base = standardised(t, spec, f.sites...)
			n, best := f.until(t, "hospitals", 10, 0.95)
			one := f
			one.sites, one.sample = []table.Table{pooled}, 1
			_, alone := one.until(t, "pooled", 10, 0.95)
			t.Logf("95 %% in round %d, best %.4f; pooled %.4f", n, best, alone)
			require.Positive(t, n)
			require.InDelta(t, alone, best, 0.02)
		})
	}
}

// draw returns the random numbers of a name: an experiment's own, so that its
// figures do not move when the way in which sites are seeded does.
func draw(name string) *rand.Rand {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\ntenant\nsite\n", artifact.DigestOf([]byte(name))))
	return rand.New(rand.NewPCG(binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])))
}

// Source of the figures: tests/vectors/fedavg, pixels / 16, 20 clients of which
// half take part in a round, one epoch, batches of 10, rate 0.5: 90 % in 5 to 8
// rounds when rows are dealt evenly, in 16 to 24 when a client has two shards of
// the rows sorted by digit; best of 60 rounds about 96.4 % and 95.6 %. ±20 % of
// the rounds is noise, so the median of five runs is held to that.
func TestDigitsConverge(t *testing.T) {
	all, err := digits.Table()
	require.NoError(t, err)
	train, test := split(t, "digits", all)

	spec := round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: digits.Inputs, Classes: 10}
	base := model.Initial(spec, 1)
	scale, _ := base.Get(round.TensorScale)
	for i := range scale.F32 {
		scale.F32[i] = 16
	}

	order := make([]int, train.Len())
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(train.Labels[a], train.Labels[b]) })
	shards := cut(pick(train, order), 40)

	tests := []struct {
		name        string
		sites       func(run int) []table.Table
		least, most int // of the median round
		best        float64
	}{
		{"dealt evenly", func(int) []table.Table { return cut(train, 20) }, 4, 10, 0.964},
		{"two shards each", func(run int) []table.Table {
			deal := rand.New(rand.NewPCG(2, uint64(run))).Perm(len(shards))
			var sites []table.Table
			for k := range 20 {
				sites = append(sites, table.Join(shards[deal[2*k]], shards[deal[2*k+1]]))
			}
			return sites
		}, 13, 29, 0.956},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var reached []int
			for run := range 5 {
				f := federation{spec: spec, set: trainer.Settings{Epochs: 1, Batch: 10, LearningRate: 0.5},
					sites: tt.sites(run), test: test, sample: 10, base: base}
				n, best := f.until(t, fmt.Sprint("digits", run), 60, 0.90)
				t.Logf("run %d: 90 %% in round %d, best of 60 rounds %.4f", run, n, best)
				require.InDelta(t, tt.best, best, 0.012)
				require.Positive(t, n)
				reached = append(reached, n)
			}
			slices.Sort(reached)
			require.GreaterOrEqual(t, reached[2], tt.least)
			require.LessOrEqual(t, reached[2], tt.most)
		})
	}
}
