package aggregate_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// manyShapes has tensors smaller and larger than a chunk, and a scalar.
func manyShapes(dtype artifact.DType) []round.TensorSpec {
	return []round.TensorSpec{
		{Name: "a", DType: dtype, Shape: nil},
		{Name: "b", DType: dtype, Shape: []int{3}},
		{Name: "c", DType: dtype, Shape: []int{77, 1001}},
		{Name: "d", DType: dtype, Shape: []int{32768}},
	}
}

func randomUpdates(random *rand.Rand, want []round.TensorSpec, sites int) []aggregate.Update {
	var out []aggregate.Update
	for k := range sites {
		u := aggregate.Update{Tenant: "t" + strconv.Itoa(10+k/3), Site: "s" + strconv.Itoa(k%3), Examples: 1 + random.Int64N(1000)}
		for _, w := range want {
			n := 1
			for _, d := range w.Shape {
				n *= d
			}
			t := artifact.Tensor{Name: w.Name, DType: w.DType, Shape: w.Shape}
			for range n {
				if v := random.NormFloat64(); w.DType == artifact.F64 {
					t.F64 = append(t.F64, v)
				} else {
					t.F32 = append(t.F32, float32(v))
				}
			}
			u.Tensors = append(u.Tensors, t)
		}
		out = append(out, u)
	}
	return out
}

func encoded(t require.TestingT, tensors artifact.Tensors) []byte {
	content, err := tensors.Encode()
	require.NoError(t, err)
	return content
}

func sources(t require.TestingT, updates []aggregate.Update) []aggregate.Source {
	var out []aggregate.Source
	for _, u := range updates {
		content := encoded(t, u.Tensors)
		reader := artifact.Expect(bytes.NewReader(content), artifact.DigestOf(content))
		out = append(out, aggregate.Source{Tenant: u.Tenant, Site: u.Site, Examples: u.Examples, Content: reader})
	}
	return out
}

// The streamed sum is the sum in memory, to the byte, and so is the mean.
func TestMergeIsTheSumInMemory(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 8))
	for _, dtype := range []artifact.DType{artifact.F32, artifact.F64} {
		for _, sites := range []int{1, 2, 7, 40} {
			want := manyShapes(dtype)
			updates := randomUpdates(random, want, sites)
			sum := aggregate.SumOf(want)
			require.NoError(t, sum.Add(updates...))
			p, err := sum.Partial("eu")
			require.NoError(t, err)
			for _, slow := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.HalfReader, iotest.DataErrReader} {
				src := sources(t, updates)
				for k := range src {
					src[k].Content = slow(src[k].Content)
				}
				var got bytes.Buffer
				examples, err := aggregate.Merge(&got, want, nil, src)
				require.NoError(t, err)
				require.Equal(t, p.Examples, examples)
				require.Equal(t, artifact.DigestOf(encoded(t, p.Sum)), artifact.DigestOf(got.Bytes()), "%s of %d sites", dtype, sites)
			}
		}
	}
}

// In several passes, each on what the one before has written, it is that too.
func TestMergeInPasses(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 9))
	want := manyShapes(artifact.F32)
	updates := randomUpdates(random, want, 40)
	var once bytes.Buffer
	_, err := aggregate.Merge(&once, want, nil, sources(t, updates))
	require.NoError(t, err)
	for _, pass := range []int{1, 7, 39} {
		var before io.Reader
		var got bytes.Buffer
		for part := range slices.Chunk(updates, pass) {
			got = bytes.Buffer{}
			_, err := aggregate.Merge(&got, want, before, sources(t, part))
			require.NoError(t, err)
			before = artifact.Expect(bytes.NewReader(got.Bytes()), artifact.DigestOf(got.Bytes()))
		}
		require.Equal(t, artifact.DigestOf(once.Bytes()), artifact.DigestOf(got.Bytes()), "%d at a time", pass)
	}
	last := updates[39:]
	_, err = aggregate.Merge(io.Discard, want, artifact.Expect(bytes.NewReader(once.Bytes()), artifact.DigestOf(nil)), sources(t, last))
	require.ErrorIs(t, err, artifact.ErrContent, "what it says at its end is heard")
	_, err = aggregate.Merge(io.Discard, want, bytes.NewReader(encoded(t, updates[0].Tensors)), sources(t, last))
	require.ErrorIs(t, err, round.ErrTensors, "a sum is in F64")
}

func TestMergeMeanIsTheMeanInMemory(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9))
	want := manyShapes(artifact.F32)
	var partials []aggregate.Partial
	var src []aggregate.RegionSource
	for _, region := range []string{"asia", "eu", "us"} {
		sum := aggregate.SumOf(want)
		require.NoError(t, sum.Add(randomUpdates(random, want, 4)...))
		p, err := sum.Partial(region)
		require.NoError(t, err)
		partials = append(partials, p)
		src = append(src, aggregate.RegionSource{Region: region, Examples: p.Examples, Content: bytes.NewReader(encoded(t, p.Sum))})
	}
	mean, err := aggregate.MeanOf(want, partials)
	require.NoError(t, err)
	var got bytes.Buffer
	_, err = aggregate.MergeMean(&got, want, src)
	require.NoError(t, err)
	require.Equal(t, artifact.DigestOf(encoded(t, mean)), artifact.DigestOf(got.Bytes()))

	for name, change := range map[string]func(s []aggregate.RegionSource){
		"a region twice": func(s []aggregate.RegionSource) { s[1].Region = "asia" },
		"another order":  func(s []aggregate.RegionSource) { s[1].Region = "a" },
		"no examples":    func(s []aggregate.RegionSource) { s[1].Examples = 0 },
		"too many":       func(s []aggregate.RegionSource) { s[1].Examples = math.MaxInt64/3 + 1 },
		"not a sum": func(s []aggregate.RegionSource) {
			s[1].Content = bytes.NewReader(encoded(t, randomUpdates(random, want, 1)[0].Tensors))
		},
		"a failing store": func(s []aggregate.RegionSource) { s[1].Content = iotest.ErrReader(io.ErrClosedPipe) },
	} {
		bad := append([]aggregate.RegionSource(nil), src...)
		for k, p := range partials {
			bad[k].Content = bytes.NewReader(encoded(t, p.Sum))
		}
		change(bad)
		_, err := aggregate.MergeMean(io.Discard, want, bad)
		var at *aggregate.RegionError
		require.ErrorAs(t, err, &at, name)
		require.Equal(t, bad[1].Region, at.Region)
	}
	_, err = aggregate.MergeMean(io.Discard, want, nil)
	require.ErrorIs(t, err, aggregate.ErrNoUpdates)
}

func TestMergeNamesTheSourceAtFault(t *testing.T) {
	random := rand.New(rand.NewPCG(10, 10))
	want := manyShapes(artifact.F32)
	updates := randomUpdates(random, want, 23) // more than are added in one go
	const bad = 20
	broken := errors.New("the store is away")
	content := func(change func(tensors artifact.Tensors) artifact.Tensors) io.Reader {
		u := randomUpdates(random, want, 1)[0]
		return bytes.NewReader(encoded(t, change(u.Tensors)))
	}
	same := func(tensors artifact.Tensors) artifact.Tensors { return tensors }
	whole, err := io.ReadAll(content(same))
	require.NoError(t, err)
	tests := []struct {
		name   string
		change func(s *aggregate.Source)
		want   error
	}{
		{"NaN in the last element", func(s *aggregate.Source) {
			s.Content = content(func(x artifact.Tensors) artifact.Tensors { x[3].F32[32767] = float32(math.NaN()); return x })
		}, round.ErrNotFinite},
		{"an infinity", func(s *aggregate.Source) {
			s.Content = content(func(x artifact.Tensors) artifact.Tensors { x[0].F32[0] = float32(math.Inf(1)); return x })
		}, round.ErrNotFinite},
		{"another shape", func(s *aggregate.Source) {
			s.Content = content(func(x artifact.Tensors) artifact.Tensors { x[2].Shape = []int{1001, 77}; return x })
		}, aggregate.ErrShape},
		{"another type", func(s *aggregate.Source) {
			s.Content = bytes.NewReader(encoded(t, randomUpdates(random, manyShapes(artifact.F64), 1)[0].Tensors))
		}, aggregate.ErrShape},
		{"a tensor is missing", func(s *aggregate.Source) {
			s.Content = content(func(x artifact.Tensors) artifact.Tensors { return x[:3] })
		}, aggregate.ErrShape},
		{"no safetensors", func(s *aggregate.Source) { s.Content = bytes.NewReader([]byte("hello, world")) }, artifact.ErrHeaderLength},
		{"cut off", func(s *aggregate.Source) { s.Content = bytes.NewReader(whole[:len(whole)-1]) }, artifact.ErrTruncated},
		{"goes on", func(s *aggregate.Source) {
			s.Content = io.MultiReader(bytes.NewReader(whole), bytes.NewReader([]byte{0}))
		}, artifact.ErrTail},
		{"another digest", func(s *aggregate.Source) {
			s.Content = artifact.Expect(bytes.NewReader(whole), artifact.DigestOf([]byte("something else")))
		}, artifact.ErrContent},
		{"the store fails in the middle", func(s *aggregate.Source) {
			s.Content = io.MultiReader(bytes.NewReader(whole[:200_000]), iotest.ErrReader(broken))
		}, broken},
		{"no examples", func(s *aggregate.Source) { s.Examples = 0 }, aggregate.ErrExamples},
		{"too many examples", func(s *aggregate.Source) { s.Examples = aggregate.MaxExamples + 1 }, aggregate.ErrExamples},
		{"a site twice", func(s *aggregate.Source) { s.Site = "s1" }, aggregate.ErrDuplicate},
		{"another order", func(s *aggregate.Source) { s.Site = "s0" }, aggregate.ErrOrder},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := sources(t, updates)
			tt.change(&src[bad])
			var dst bytes.Buffer
			_, err := aggregate.Merge(&dst, want, nil, src)
			require.ErrorIs(t, err, tt.want)
			var at *aggregate.UpdateError
			require.ErrorAs(t, err, &at)
			require.Equal(t, src[bad].Tenant+src[bad].Site, at.Tenant+at.Site)
		})
	}
	_, err = aggregate.Merge(io.Discard, want, nil, nil)
	require.ErrorIs(t, err, aggregate.ErrNoUpdates)
	_, err = aggregate.Merge(io.Discard, []round.TensorSpec{{Name: "a", DType: artifact.BF16}}, nil, sources(t, updates))
	require.ErrorIs(t, err, artifact.ErrDType)
	_, err = aggregate.Merge(full{}, want, nil, sources(t, updates))
	require.ErrorIs(t, err, io.ErrShortWrite)
}

// full is a disk with no place left.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// The first source at fault is named, whichever fails first in time.
func TestMergeNamesTheFirstOfSeveral(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := []round.TensorSpec{{Name: "w", DType: artifact.F32, Shape: []int{64}}}
		src := sources(t, randomUpdates(rand.New(rand.NewPCG(1, 1)), want, 9))
		first := len(src)
		for _, k := range rapid.SliceOfNDistinct(rapid.IntRange(0, 8), 1, 4, rapid.ID).Draw(t, "broken") {
			first = min(first, k)
			raw, err := io.ReadAll(src[k].Content)
			require.NoError(t, err)
			src[k].Content = io.MultiReader(bytes.NewReader(raw[:100]), iotest.ErrReader(io.ErrClosedPipe))
		}
		_, err := aggregate.Merge(io.Discard, want, nil, src)
		var at *aggregate.UpdateError
		require.ErrorAs(t, err, &at)
		require.Equal(t, src[first].Tenant+src[first].Site, at.Tenant+at.Site)
	})
}

// When Merge has returned, nobody reads any more: the caller may close. One
// source fails at once while the others are being read, slowly.
func TestMergeLeavesNobodyReading(t *testing.T) {
	want := []round.TensorSpec{{Name: "w", DType: artifact.F32, Shape: []int{1 << 18}}}
	before := runtime.NumGoroutine()
	src := sources(t, randomUpdates(rand.New(rand.NewPCG(1, 1)), want, 6))
	var reading atomic.Int32
	for k := range src {
		src[k].Content = &slow{r: src[k].Content, reading: &reading}
	}
	src[0].Content = io.MultiReader(io.LimitReader(src[0].Content.(*slow).r, 1000), iotest.ErrReader(io.ErrClosedPipe)) // behind the header
	_, err := aggregate.Merge(io.Discard, want, nil, src)
	require.Zero(t, reading.Load(), "a source is being read")
	require.ErrorIs(t, err, io.ErrClosedPipe)
	require.LessOrEqual(t, runtime.NumGoroutine(), before)
}

// slow counts who is reading.
type slow struct {
	r       io.Reader
	reading *atomic.Int32
}

func (s *slow) Read(p []byte) (int, error) {
	s.reading.Add(1)
	defer s.reading.Add(-1)
	time.Sleep(5 * time.Millisecond)
	return s.r.Read(p)
}

// elementsOf gives n elements, the same ones again and again, without holding them.
type elementsOf struct{ left int }

func (e *elementsOf) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), e.left)
	clear(p[:n])
	e.left -= n
	return n, nil
}

// What is held follows neither the size of the model nor, but for the headers,
// the number of sources.
func TestMergeMemoryIsBounded(t *testing.T) {
	held := func(sites, elements int) uint64 {
		want := []round.TensorSpec{{Name: "w", DType: artifact.F32, Shape: []int{elements}}}
		var src []aggregate.Source
		for k := range sites {
			var head bytes.Buffer
			_, err := artifact.NewTensorWriter(&head, []artifact.TensorInfo{{Name: "w", DType: artifact.F32, Shape: []int{elements}}})
			require.NoError(t, err)
			src = append(src, aggregate.Source{Site: strconv.Itoa(100_000 + k), Examples: 1, Content: io.MultiReader(&head, &elementsOf{4 * elements})})
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := aggregate.Merge(io.Discard, want, nil, src)
		require.NoError(t, err)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	few := held(20, 1_000_000)
	require.Less(t, few, uint64(16<<20))
	require.Less(t, held(20, 8_000_000), few+few/4)
	require.Less(t, held(10_000, 2000), few+10_000*4<<10)
}
