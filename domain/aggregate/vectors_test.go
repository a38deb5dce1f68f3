package aggregate_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// vectors are what numpy makes of the papers' formulas; see generate.py.
type vectors struct {
	Source string
	Steps  struct {
		Base  []float64
		Means [][]float64
		Runs  []struct {
			Strategy round.Strategy
			Rounds   []struct {
				Weights []float64
				State   map[string][]float64
			}
		}
	}
	Scaffold struct {
		Sites, Steps     int
		Rate, ServerRate float64
		Centres          [][]float64
		Rounds           []struct {
			Chosen           []int
			Weights, Control []float64
			Own              [][]float64
		}
	}
	Robust []struct {
		Updates [][]float64
		Rules   []struct {
			Strategy round.Strategy
			Kept     []int
			Mean     []float64
		}
	}
	Fedbuff struct {
		Updates   [][]float64
		Staleness []int
		Mean      []float64
	}
	Buckets []struct {
		Sites   []string
		Size    int
		Seed    string
		Buckets [][]string
	}
}

func load(t *testing.T) vectors {
	t.Helper()
	content, err := os.ReadFile("../../tests/vectors/strategy/strategy.json")
	require.NoError(t, err)
	var v vectors
	require.NoError(t, json.Unmarshal(content, &v))
	require.NotEmpty(t, v.Source)
	return v
}

// small is a model of 8 weights: 2 of the bias, 3 by 2 of the layer.
var small = round.ModelSpec{Trainer: round.TrainerLogistic, Inputs: 3, Classes: 2}

// named puts 8 values into the trainable tensors of small, behind a prefix.
func named(prefix string, v []float64) artifact.Tensors {
	return artifact.Tensors{
		{Name: prefix + "linear.bias", DType: artifact.F64, Shape: []int{2}, F64: v[:2]},
		{Name: prefix + "linear.weight", DType: artifact.F64, Shape: []int{3, 2}, F64: v[2:]},
	}
}

// smallWeights are the weights of small.
func smallWeights(v []float64) artifact.Tensors {
	out := named("", v)
	for i, t := range out {
		out[i].DType, out[i].F64 = artifact.F32, nil
		for _, x := range t.F64 {
			out[i].F32 = append(out[i].F32, float32(x))
		}
	}
	return append(out,
		artifact.Tensor{Name: "normalise.mean", DType: artifact.F32, Shape: []int{3}, F32: []float32{7, 8, 9}},
		artifact.Tensor{Name: "normalise.scale", DType: artifact.F32, Shape: []int{3}, F32: []float32{1, 2, 3}})
}

// values are the elements of the tensors with a prefix, one after the other.
func values(tensors artifact.Tensors, names ...string) []float64 {
	var out []float64
	for _, name := range names {
		t, _ := tensors.Get(name)
		for i := range t.Len() {
			out = append(out, t.At(i))
		}
	}
	return out
}

func layer(prefix string) []string { return []string{prefix + "linear.bias", prefix + "linear.weight"} }

func near(t *testing.T, want, got []float64, relative float64, about ...any) {
	t.Helper()
	require.Len(t, got, len(want), about...)
	for i := range want {
		require.InDelta(t, want[i], got[i], relative*(1+abs(want[i])), about...)
	}
}

func abs(v float64) float64 { return max(v, -v) }

func TestStepsAreThePapers(t *testing.T) {
	v := load(t).Steps
	seen := map[string]bool{}
	for _, run := range v.Runs {
		seen[run.Strategy.Name] = true
		weights, state := smallWeights(v.Base), artifact.Tensors(nil)
		for r, want := range run.Rounds {
			before, err := weights.Encode()
			require.NoError(t, err)
			next, after, err := aggregate.Step(small, run.Strategy, aggregate.StepInput{Base: weights, Mean: named("", v.Means[r]), State: state})
			require.NoError(t, err)
			untouched, err := weights.Encode()
			require.NoError(t, err)
			require.Equal(t, before, untouched, "the base is not changed")
			near(t, want.Weights, values(next, layer("")...), 1e-7, "%v round %d", run.Strategy, r)
			for name, moment := range want.State {
				near(t, moment, values(after, layer("optimiser."+name+"/")...), 1e-12, "%v round %d %s", run.Strategy, r, name)
			}
			require.Len(t, after, 2*len(want.State))
			require.Equal(t, weights[2:], next[2:], "what is not trained does not move")

			// A checkpoint in between changes nothing.
			if after != nil {
				stored, err := after.Encode()
				require.NoError(t, err)
				after, err = artifact.ParseTensors(stored)
				require.NoError(t, err)
			}
			weights, state = next, after
		}
	}
	require.Len(t, seen, 6)
}

// Five sites descend quadratics with control variates; three answer a round.
func TestScaffoldIsThePapers(t *testing.T) {
	v := load(t).Scaffold
	strategy := round.Strategy{Name: round.Scaffold, ServerRate: v.ServerRate}
	zero := make([]float64, 8)
	weights, state := smallWeights(zero), artifact.Tensors(nil)
	own := make([][]float64, v.Sites)
	for i := range own {
		own[i] = zero
	}
	for _, want := range v.Rounds {
		start, server := values(weights, layer("")...), zero
		if state != nil {
			server = values(state, layer("control/")...)
		}
		var updates []aggregate.Update
		for _, i := range want.Chosen {
			local := slices.Clone(start)
			for range v.Steps {
				gradient := make([]float64, 8)
				for j := range gradient {
					gradient[j] = local[j] - v.Centres[i][j]
				}
				aggregate.Corrected(gradient, server, own[i])
				for j := range local {
					local[j] -= v.Rate * gradient[j]
				}
			}
			next := aggregate.NextControl(own[i], server, start, local, v.Steps, v.Rate)
			dy, dc := make([]float64, 8), make([]float64, 8)
			for j := range dy {
				dy[j], dc[j] = local[j]-start[j], next[j]-own[i][j]
			}
			own[i] = next
			updates = append(updates, aggregate.Update{Tenant: "t", Site: strconv.Itoa(i), Examples: 7, Tensors: append(named("control/", dc), named("", dy)...)})
		}
		mean, err := aggregate.FedAvg(updates)
		require.NoError(t, err)
		weights, state, err = aggregate.Step(small, strategy, aggregate.StepInput{
			Base: weights, Mean: mean, State: state, Answered: int64(len(want.Chosen)), All: int64(v.Sites),
		})
		require.NoError(t, err)
		near(t, want.Weights, values(weights, layer("")...), 1e-6)
		near(t, want.Control, values(state, layer("control/")...), 1e-6)
		for i := range own {
			near(t, want.Own[i], own[i], 1e-6)
		}
	}
}

func TestRobustRulesAreThePapers(t *testing.T) {
	seen := map[string]int{}
	for _, c := range load(t).Robust {
		for _, rule := range c.Rules {
			seen[rule.Strategy.Rule]++
			for _, dtype := range []artifact.DType{artifact.F32, artifact.F64} {
				got, err := aggregate.Robust(rule.Strategy, flat(c.Updates, dtype))
				require.NoError(t, err)
				tolerance := 1e-12
				if rule.Strategy.Rule == round.RuleGeometricMedian {
					tolerance = 1e-7 // an iteration, held against another
				}
				near(t, rule.Mean, values(got.Mean, "a", "b"), tolerance, "%+v of %d as %s", rule.Strategy, len(c.Updates), dtype)
				var kept []string
				for _, k := range rule.Kept {
					kept = append(kept, "t/"+strconv.Itoa(100+k))
				}
				require.Equal(t, kept, got.Kept, "%+v", rule.Strategy)
			}
		}
	}
	require.Len(t, seen, 7)
}

// flat makes updates of two tensors from rows.
func flat(rows [][]float64, dtype artifact.DType) []aggregate.Update {
	var out []aggregate.Update
	for k, row := range rows {
		u := aggregate.Update{Tenant: "t", Site: strconv.Itoa(100 + k), Examples: int64(1 + k)}
		for name, part := range map[string][]float64{"a": row[:1], "b": row[1:]} {
			tensor := artifact.Tensor{Name: name, DType: dtype, Shape: []int{len(part)}}
			if dtype == artifact.F64 {
				tensor.F64 = part
			} else {
				for _, x := range part {
					tensor.F32 = append(tensor.F32, float32(x))
				}
			}
			u.Tensors = append(u.Tensors, tensor)
		}
		slices.SortFunc(u.Tensors, func(a, b artifact.Tensor) int { return int(a.Name[0]) - int(b.Name[0]) })
		out = append(out, u)
	}
	return out
}

func TestFedBuffIsThePapers(t *testing.T) {
	v := load(t).Fedbuff
	var updates []aggregate.Late
	for k, u := range v.Updates {
		updates = append(updates, aggregate.Late{Update: aggregate.Update{Tenant: "t", Site: strconv.Itoa(k), Examples: int64(k), Tensors: named("", u)}, Staleness: v.Staleness[k]})
	}
	slices.Reverse(updates)
	got, err := aggregate.Buffered(small, round.Strategy{Name: round.FedBuff}, updates)
	require.NoError(t, err)
	near(t, v.Mean, values(got, layer("")...), 1e-14)

	// What regions and the control plane do with the same updates gives these bits.
	var sources []aggregate.Source
	slices.Reverse(updates)
	for _, u := range updates {
		content, err := u.Tensors.Encode()
		require.NoError(t, err)
		sources = append(sources, aggregate.Source{Tenant: u.Tenant, Site: u.Site, Examples: round.StaleWeight(u.Staleness), Content: bytes.NewReader(content)})
	}
	var sum, mean bytes.Buffer
	want := round.Strategy{Name: round.FedBuff}.Update(small, round.Train)
	for i := range want {
		want[i].DType = artifact.F64 // as the vectors are
	}
	_, err = aggregate.Merge(&sum, want, nil, sources)
	require.NoError(t, err)
	_, err = aggregate.MergeMean(&mean, want, []aggregate.RegionSource{{Region: "eu", Examples: 1000 * int64(len(sources)), Content: &sum}})
	require.NoError(t, err)
	all, err := got.Encode()
	require.NoError(t, err)
	require.Equal(t, all, mean.Bytes())
}

func TestBucketsAreRankedByTheirHash(t *testing.T) {
	for _, c := range load(t).Buckets {
		slices.Reverse(c.Sites)
		got, err := aggregate.Buckets(c.Sites, c.Size, []byte(c.Seed))
		require.NoError(t, err)
		require.Equal(t, c.Buckets, got)
	}
}
