// Package simulation is the evidence that the federated engine converges as it
// was measured to elsewhere, and holds out against those who lie.
//
// Invariant: figures that are expected come from an independent program, see
// tests/vectors; a seed is in the name of what fails. What takes minutes is in
// the bench target.
package simulation

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/examples/digits"
	"github.com/atom-fabric/fabric/examples/tumour"
	"github.com/atom-fabric/fabric/internal/simulate"
	"github.com/atom-fabric/fabric/internal/site/table"
)

// vector reads a file of tests/vectors.
func vector(t testing.TB, name string, into any) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("../vectors", name))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, into))
}

// data returns a table with the split that the figures were measured on.
func data(t testing.TB, name string) simulate.Data {
	t.Helper()
	var splits map[string]json.RawMessage
	vector(t, "fedavg/splits.json", &splits)
	var split struct {
		Train int
		Order []int
	}
	require.NoError(t, json.Unmarshal(splits[name], &split))
	d := simulate.Data{Name: name}
	all := tumour.Table()
	if name == "digits" {
		var err error
		all, err = digits.Table()
		require.NoError(t, err)
		d.Fixed, d.Low, d.High = true, -16, 16 // so wide that pixels are divided by 16 and not moved
	}
	require.Len(t, split.Order, all.Len())
	d.Train, d.Test = pick(all, split.Order[:split.Train]), pick(all, split.Order[split.Train:])
	return d
}

func pick(rows table.Table, places []int) table.Table {
	out := table.Table{Columns: rows.Columns}
	for _, i := range places {
		out.Rows = append(out.Rows, rows.Rows[i])
		out.Labels = append(out.Labels, rows.Labels[i])
	}
	return out
}

// run simulates; a run that fails is an error here.
func run(t testing.TB, s simulate.Settings) simulate.Result {
	t.Helper()
	r, err := simulate.Run(t.Context(), s)
	require.NoError(t, err)
	require.True(t, r.Simulated)
	require.NotEqual(t, "failed", r.Status, "seed %d: %s", s.Params.Seed, r.Cause)
	return r
}

// digitsOf are the settings of the digits' figures.
func digitsOf(t testing.TB, seed uint64) simulate.Settings {
	return simulate.Settings{Data: data(t, "digits"), Partition: simulate.IID, Sites: 20, Params: round.Params{
		Rounds: 60, LocalEpochs: 1, BatchSize: 10, LearningRate: 0.5, SampleBP: 5000, Seed: seed, Secure: round.Secure{Mode: round.SecureOff},
	}}
}

func tumourOf(t testing.TB, seed uint64) simulate.Settings {
	return simulate.Settings{Data: data(t, "tumour"), Partition: simulate.IID, Sites: 5, Params: round.Params{
		Rounds: 30, LocalEpochs: 1, BatchSize: 16, LearningRate: 0.1, Seed: seed, Secure: round.Secure{Mode: round.SecureOff},
	}}
}

func median[T int | float64](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}
