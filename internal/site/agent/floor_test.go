package agent

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/internal/site/program"
)

// Rounds below the site's own floor, each next to one that is just above it.
func TestFloors(t *testing.T) {
	script := filepath.Join(t.TempDir(), "train.py")
	require.NoError(t, os.WriteFile(script, []byte("print()"), 0o600))
	digest := string(artifact.DigestOf([]byte("print()")))
	plain := func(m *round.Manifest) { m.Secured, m.Params.Secure.Mode = false, round.SecureOff }
	exec := func(m *round.Manifest) { m.Params.Model.Trainer = round.TrainerExec }
	private := func(z float64, unit string) func(*round.Manifest) {
		return func(m *round.Manifest) {
			m.Params.Privacy = round.Privacy{Mechanism: round.PrivacyCentral, Unit: unit, NoiseMultiplier: z, Delta: 1e-5}
			m.Params.Secure.Ring = 64 // so fine that rounding adds next to nothing
			m.Params.Bounds = slices.Repeat([][2]float64{{0, 1}}, m.Params.Model.Inputs)
		}
	}
	tests := []struct {
		name  string
		floor Floor
		round func(*round.Manifest)
		want  error
	}{
		{"no floor", Floor{}, nil, nil},
		{"as many sites as asked for", Floor{MinCohort: 4}, nil, nil},
		{"one site too few", Floor{MinCohort: 5}, nil, ErrNotAllowed},
		{"masked", Floor{RequireSecure: true}, nil, nil},
		{"in the clear, by the run's choice", Floor{}, plain, nil},
		{"in the clear", Floor{RequireSecure: true}, plain, ErrNotAllowed},
		{"in the clear, against the run's choice", Floor{}, func(m *round.Manifest) { m.Secured, m.Params.Secure.Mode = false, round.SecureOn }, ErrDowngraded},
		{"in the clear, with two sites and noise", Floor{}, func(m *round.Manifest) {
			private(1, round.UnitSite)(m)
			m.Secured, m.Cohort[0].Sites = false, 2
		}, ErrDowngraded},
		{"in the clear, with two sites", Floor{}, func(m *round.Manifest) { m.Secured, m.Cohort[0].Sites = false, 2 }, nil},
		{"in the clear, with sites enough", Floor{}, func(m *round.Manifest) { m.Secured = false }, ErrDowngraded},
		{"in the clear, in production", Floor{}, func(m *round.Manifest) {
			m.Secured, m.Params.Production, m.Params.Secure.Mode = false, true, ""
		}, ErrDowngraded},
		// One Gaussian answer with multiplier 1 has Renyi divergence a/2 of order a
		// (Mironov 2017); the least of a/2 + log((a-1)/a) - (log delta + log a)/(a-1)
		// (Canonne, Kamath, Steinke 2020) at delta 1e-5 is 4.7284, near a = 5.4.
		{"epsilon above what it costs", Floor{MaxEpsilon: 4.75}, private(1, round.UnitSite), nil},
		{"epsilon below what it costs", Floor{MaxEpsilon: 4.72}, private(1, round.UnitSite), ErrNotAllowed},
		{"twice the noise", Floor{MaxEpsilon: 4.72}, private(2, round.UnitExample), nil},
		{"no noise", Floor{MaxEpsilon: 100}, nil, ErrNotAllowed},
		{"moments of columns", Floor{MaxEpsilon: 100}, func(m *round.Manifest) { m.Kind = round.Statistics }, ErrNotAllowed},
		{"counts", Floor{MaxEpsilon: 1}, func(m *round.Manifest) { m.Kind = round.Evaluate }, nil},
		{"the trainer that is listed", Floor{Trainers: []string{"mlp", "logistic"}}, nil, nil},
		{"a trainer that is not listed", Floor{Trainers: []string{"mlp"}}, nil, ErrNotAllowed},
		{"a trainer that is not listed, where nobody trains", Floor{Trainers: []string{"mlp"}}, func(m *round.Manifest) { m.Kind = round.Evaluate }, nil},
		{"a program, by its kind", Floor{Trainers: []string{"exec"}}, exec, nil},
		{"a program, by its digest", Floor{Trainers: []string{digest}}, exec, nil},
		{"a program of another digest", Floor{Trainers: []string{string(artifact.DigestOf(nil))}}, exec, ErrNotAllowed},
		{"a group that is not there", Floor{}, func(m *round.Manifest) { m.Cohort[0].Group = "eu.1" }, ErrNotAllowed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.NoError(t, tt.floor.check())
			g := newGroup(t, 4, round.Train, nil)
			w := &world{key: g.key, blobs: g.blobs}
			base := g.manifest
			item := w.order(t, 1, round.Train, func(m *round.Manifest) {
				*m = base
				m.Cohort = slices.Clone(m.Cohort)
				if tt.round != nil {
					tt.round(m)
				}
			})
			item.Stage = "advertise"
			var m round.Manifest
			require.NoError(t, artifact.DecodeStrict([]byte(item.Manifest), &m))
			if !m.Secured {
				item.Stage = "update"
			}
			o := g.sites[0]
			o.Floor = tt.floor
			o.Program = &program.Program{Command: "python3 '" + script + "'", Limit: time.Minute, Dir: t.TempDir()}
			_, err := o.read(item, o.Trust)
			require.ErrorIs(t, err, tt.want)
		})
	}
	for _, bad := range []Floor{{MinCohort: -1}, {MaxEpsilon: -1}, {Trainers: []string{"sha256:12"}}} {
		require.ErrorIs(t, bad.check(), ErrOptions)
	}
}

func TestFloorsBindTheProtocolToo(t *testing.T) {
	g := newGroup(t, 4, round.Statistics, nil)
	g.sites[0].Floor.MinCohort = 4
	g.until(round.StageShare, 0, 1, 2) // the fourth never comes
	require.Error(t, g.ask(0, g.item(round.StageShare, g.roster)))
	require.NoError(t, g.ask(1, g.item(round.StageShare, g.roster)))
	require.ErrorIs(t, g.ask(0, g.item(round.StageShare, g.roster)), ErrClosed)
}
