package aggregate_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// a blob counts its readers.
type blob struct {
	content  []byte
	digest   artifact.Digest
	opened   int
	closed   int
	failing  error // of Close
	changing func(io.Reader) io.Reader
}

func (b *blob) open() (io.ReadCloser, error) {
	b.opened++
	r := artifact.Expect(bytes.NewReader(b.content), b.digest)
	if b.changing != nil {
		r = b.changing(r)
	}
	return struct {
		io.Reader
		io.Closer
	}{r, b}, nil
}

func (b *blob) Close() error { b.closed++; return b.failing }

func blobOf(t require.TestingT, tensors artifact.Tensors) *blob {
	content := encoded(t, tensors)
	return &blob{content: content, digest: artifact.DigestOf(content)}
}

// mlp has tensors of less and of more than a stretch.
var mlp = round.ModelSpec{Trainer: round.TrainerMLP, Inputs: 300, Hidden: 17, Classes: 3}

func random(specs []round.TensorSpec, seed uint64) artifact.Tensors {
	return randomUpdates(rand.New(rand.NewPCG(seed, 0)), specs, 1)[0].Tensors
}

func f64(specs []round.TensorSpec) []round.TensorSpec {
	for i := range specs {
		specs[i].DType = artifact.F64
	}
	return specs
}

// Three rounds of every strategy: what is streamed is what is in memory.
func TestStreamedStepsAreTheStep(t *testing.T) {
	for _, name := range []string{round.FedAvg, round.FedProx, round.FedAvgM, round.FedAdagrad, round.FedAdam, round.FedYogi, round.Scaffold, round.FedBuff} {
		s := round.Strategy{Name: name}
		base, state := random(mlp.Tensors(), 1), artifact.Tensors(nil)
		for r := range 3 {
			mean := random(f64(s.Update(mlp, round.Train)), uint64(10+r))
			weights, next, err := aggregate.Step(mlp, s, aggregate.StepInput{Base: base, Mean: mean, State: state, Answered: 2, All: 7})
			require.NoError(t, err)
			blobs := []*blob{blobOf(t, base), blobOf(t, mean)}
			in := aggregate.StepSources{Base: blobs[0].open, Mean: blobs[1].open, Answered: 2, All: 7}
			if state != nil {
				blobs = append(blobs, blobOf(t, state))
				in.State = blobs[2].open
			}
			var got bytes.Buffer
			require.NoError(t, aggregate.StepWeights(&got, mlp, s, in))
			require.Equal(t, encoded(t, weights), got.Bytes(), "%s round %d", name, r)
			got.Reset()
			err = aggregate.StepState(&got, mlp, s, in)
			if next == nil {
				require.ErrorIs(t, err, aggregate.ErrState)
			} else {
				require.NoError(t, err)
				require.Equal(t, encoded(t, next), got.Bytes(), "%s round %d", name, r)
			}
			for i, b := range blobs {
				require.Positive(t, b.opened+i, name)
				require.Equal(t, b.opened, b.closed, name)
			}
			base, state = weights, next
		}
	}
}

func TestStreamedStepsRefuse(t *testing.T) {
	away := errors.New("the store is away")
	adam := round.Strategy{Name: round.FedAdam}
	base, mean := random(mlp.Tensors(), 1), random(f64(mlp.Trainable()), 2)
	_, state, err := aggregate.Step(mlp, adam, aggregate.StepInput{Base: base, Mean: mean})
	require.NoError(t, err)
	type given struct{ base, mean, state *blob }
	cut := func(r io.Reader) io.Reader { return io.LimitReader(r, 5000) }
	tests := []struct {
		name    string
		change  func(g *given)
		want    error
		weights bool // whether the fault is in what StepWeights reads
		state   bool
	}{
		{"another base", func(g *given) { g.base = blobOf(t, base[1:]) }, round.ErrTensors, true, false},
		{"another mean", func(g *given) { g.mean = blobOf(t, mean[1:]) }, aggregate.ErrShape, true, true},
		{"another state", func(g *given) { g.state = blobOf(t, state[1:]) }, aggregate.ErrState, true, true},
		{"another digest of the base", func(g *given) { g.base.digest = g.mean.digest }, artifact.ErrContent, true, false},
		{"another digest of the mean", func(g *given) { g.mean.digest = g.base.digest }, artifact.ErrContent, true, true},
		{"another digest of the state", func(g *given) { g.state.digest = g.base.digest }, artifact.ErrContent, true, true},
		{"a base that is cut off", func(g *given) { g.base.changing = cut }, artifact.ErrTruncated, true, false},
		{"a mean that is cut off", func(g *given) { g.mean.changing = cut }, artifact.ErrTruncated, true, true},
		{"a state that is cut off", func(g *given) { g.state.changing = cut }, artifact.ErrTruncated, true, true},
		{"a failing store", func(g *given) { g.mean.changing = func(io.Reader) io.Reader { return iotest.ErrReader(away) } }, away, true, true},
		{"a failing close", func(g *given) { g.mean.failing = away }, away, true, true},
		{"a mean that is not a number", func(g *given) {
			bad := random(f64(mlp.Trainable()), 2)
			bad[1].F64[4000] = math.NaN()
			g.mean = blobOf(t, bad)
		}, round.ErrNotFinite, true, true},
		{"weights beyond F32", func(g *given) {
			bad := random(mlp.Tensors(), 1)
			bad[3].F32[0] = math.MaxFloat32
			g.base = blobOf(t, bad)
			huge := random(f64(mlp.Trainable()), 2)
			huge[0].F64[0] = 1e300
			g.mean = blobOf(t, huge)
		}, round.ErrNotFinite, false, true}, // its square is beyond F64
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := given{blobOf(t, base), blobOf(t, mean), blobOf(t, state)}
			tt.change(&g)
			in := aggregate.StepSources{Base: g.base.open, Mean: g.mean.open, State: g.state.open}
			if tt.weights {
				require.ErrorIs(t, aggregate.StepWeights(io.Discard, mlp, adam, in), tt.want)
			}
			if tt.state {
				require.ErrorIs(t, aggregate.StepState(io.Discard, mlp, adam, in), tt.want)
			}
			for _, b := range []*blob{g.base, g.mean, g.state} {
				require.Equal(t, b.opened, b.closed)
			}
		})
	}
	huge := random(f64(mlp.Trainable()), 2)
	huge[0].F64[0] = 1e39
	in := aggregate.StepSources{Base: blobOf(t, base).open, Mean: blobOf(t, huge).open}
	require.ErrorIs(t, aggregate.StepWeights(io.Discard, mlp, round.Strategy{}, in), round.ErrNotFinite)
	in.Mean = blobOf(t, mean).open
	require.ErrorIs(t, aggregate.StepWeights(full{}, mlp, adam, in), io.ErrShortWrite)
	require.ErrorIs(t, aggregate.StepState(full{}, mlp, adam, in), io.ErrShortWrite)
	require.ErrorIs(t, aggregate.StepState(io.Discard, mlp, round.Strategy{Name: round.Scaffold}, in), aggregate.ErrShare)
	require.ErrorIs(t, aggregate.StepWeights(io.Discard, mlp, round.Strategy{Name: "sgd"}, in), round.ErrStrategy)
	in.Mean = func() (io.ReadCloser, error) { return nil, away }
	require.ErrorIs(t, aggregate.StepWeights(io.Discard, mlp, adam, in), away)
}
