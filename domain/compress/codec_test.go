package compress_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/compress"
	"github.com/atom-fabric/fabric/domain/round"
)

// wire is the form of an update of 2·inputs+2 elements: a bias of 2, and weights.
func wire(t require.TestingT, codec string, share, inputs int) compress.Wire {
	p := round.Params{
		Model: round.ModelSpec{Inputs: inputs}, Features: []string{"f"}, Secure: round.Secure{Mode: round.SecureOff},
		Compression: round.Compression{Codec: codec, ShareBP: share}, Seed: 5,
	}
	p, err := p.Validate()
	require.NoError(t, err)
	w, ok := compress.Of(round.Manifest{Kind: round.Train, Number: 3, Params: p})
	require.True(t, ok)
	return w
}

func encode(t require.TestingT, w compress.Wire, x compress.Flat) []byte {
	var b bytes.Buffer
	require.NoError(t, w.Encode(&b, x))
	return b.Bytes()
}

// decode reads an update back, through a reader of one byte at a time if asked.
func decode(t require.TestingT, w compress.Wire, content []byte, slow bool) compress.Flat {
	var src io.Reader = bytes.NewReader(content)
	if slow {
		src = iotest.OneByteReader(src)
	}
	got, err := io.ReadAll(w.Reader(src))
	require.NoError(t, err)
	tensors, err := artifact.ParseTensors(got)
	require.NoError(t, err)
	again, err := tensors.Encode()
	require.NoError(t, err)
	require.Equal(t, again, got, "the canonical form")
	require.Equal(t, []string{"linear.bias", "linear.weight"}, []string{tensors[0].Name, tensors[1].Name})
	return compress.FlatOf(tensors)
}

var codecs = []string{round.CodecF16, round.CodecBF16, round.CodecInt8, round.CodecTopK, round.CodecRandK}

// A media type says whether what travels is safetensors, as docs/protocol/weights.md
// has it; what is none begins with a mark of its own.
func TestTheMediaTypeSaysWhatTravels(t *testing.T) {
	own := map[string]string{round.CodecInt8: "FABRIC8\n", round.CodecTopK: "FABRICK\n", round.CodecRandK: "FABRICR\n"}
	seen := map[string]bool{}
	for _, codec := range codecs {
		share := 0
		if codec == round.CodecTopK || codec == round.CodecRandK {
			share = 5000
		}
		w := wire(t, codec, share, 3)
		content := encode(t, w, make(compress.Flat, 8))
		_, err := artifact.NewTensorReader(bytes.NewReader(content))
		if own[codec] == "" {
			require.Equal(t, artifact.MediaTypeWeights, w.MediaType(), codec)
			require.NoError(t, err, codec)
			continue
		}
		require.Error(t, err, codec)
		require.Equal(t, own[codec], string(content[:8]))
		require.Equal(t, "application/vnd.fabric.update."+codec+".v1", w.MediaType())
		require.False(t, seen[w.MediaType()])
		seen[w.MediaType()] = true
	}
	whole := round.Manifest{Kind: round.Train}
	require.Equal(t, artifact.MediaTypeWeights, compress.MediaType(whole))
	whole.Params.Compression.Codec = round.CodecInt8
	require.Equal(t, compress.MediaTypeInt8, compress.MediaType(whole))
	whole.Kind = round.Evaluate
	require.Equal(t, artifact.MediaTypeWeights, compress.MediaType(whole), "only training is compressed")
}

// Half is numpy's float16, for the bits in testdata; see float16.py there.
func TestHalfIsNumpys(t *testing.T) {
	f, err := os.Open("testdata/float16.txt")
	require.NoError(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	n := 0
	for ; lines.Scan(); n++ {
		var bits uint32
		var want uint16
		_, err := fmt.Sscanf(lines.Text(), "%x %x", &bits, &want)
		require.NoError(t, err)
		got, ok := compress.Half(math.Float32frombits(bits))
		if want&0x7c00 == 0x7c00 {
			require.False(t, ok, "%08x is an infinity there", bits)
			continue
		}
		require.True(t, ok, "%08x", bits)
		require.Equal(t, want, got, "%08x", bits)
	}
	require.Greater(t, n, 2000)
	_, ok := compress.Half(float32(math.NaN()))
	require.False(t, ok)
}

// Worked out by hand: bits 15..0 of the F32 are cut, and what is above half of
// bit 16, or just half of it beside an odd bit 16, rounds up.
func TestBFloatByHand(t *testing.T) {
	tests := []struct {
		in   uint32
		want uint16
		ok   bool
	}{
		{0x00000000, 0x0000, true},
		{0x80000000, 0x8000, true},
		{0x3f800000, 0x3f80, true}, // 1
		{0x3f807fff, 0x3f80, true}, // below the middle
		{0x3f808000, 0x3f80, true}, // the middle, to even
		{0x3f808001, 0x3f81, true}, // above it
		{0x3f818000, 0x3f82, true}, // the middle beside an odd one
		{0x3fffffff, 0x4000, true}, // into the next power of two
		{0xc0490fdb, 0xc049, true}, // -π
		{0x00008000, 0x0000, true}, // half of the smallest, to even
		{0x00008001, 0x0001, true}, // above it
		{0x7f7f7fff, 0x7f7f, true}, // the largest that stays
		{0x7f7f8000, 0, false},     // would be an infinity
		{0x7f800000, 0, false},     // is one
		{0xff7fffff, 0, false},     // would be -infinity
		{0x7fc00000, 0, false},     // NaN
		{0x00800000, 0x0080, true}, // the smallest normal one
		{0x42f6e979, 0x42f7, true}, // 123.456: e979 is above 8000
	}
	for _, tt := range tests {
		got, ok := compress.BFloat(math.Float32frombits(tt.in))
		require.Equal(t, tt.ok, ok, "%08x", tt.in)
		if tt.ok {
			require.Equal(t, tt.want, got, "%08x", tt.in)
		}
	}
}

// values draws updates with elements of very different sizes.
func values(t *rapid.T, n int, most float64) compress.Flat {
	element := rapid.OneOf(
		rapid.Float32Range(-float32(most), float32(most)),
		rapid.Float32Range(-1e-3, 1e-3),
		rapid.SampledFrom([]float32{0, 1, -1, float32(most), 1e-45, -3e-39, 6e-8, -6e-5}),
	)
	return rapid.SliceOfN(element, n, n).Draw(t, "values")
}

// What is read back is within the bound that each codec's documentation states.
func TestErrorsAreWithinTheirBounds(t *testing.T) {
	pow := func(e int) float64 { return math.Ldexp(1, e) }
	tests := []struct {
		codec string
		most  float64
		bound func(x float32, block []float32) float64
	}{
		{round.CodecF16, 65504, func(x float32, _ []float32) float64 { return max(pow(-11)*math.Abs(float64(x)), pow(-25)) }},
		{round.CodecBF16, 3e38, func(x float32, _ []float32) float64 { return max(pow(-8)*math.Abs(float64(x)), pow(-134)) }},
		{round.CodecInt8, math.MaxFloat32, func(_ float32, block []float32) float64 {
			m := 0.0
			for _, x := range block {
				m = max(m, math.Abs(float64(x)))
			}
			return m/254*(1+pow(-14)) + pow(-142)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.codec, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				inputs := rapid.IntRange(1, 400).Draw(rt, "inputs")
				x := values(rt, 2*inputs+2, tt.most)
				w := wire(rt, tt.codec, 0, inputs)
				y := decode(rt, w, encode(rt, w, x), rapid.Bool().Draw(rt, "slow"))
				require.Len(rt, y, len(x))
				for i := range x {
					block := x[:2] // the bias
					if i >= 2 {
						from := 2 + (i-2)/compress.Block*compress.Block
						block = x[from:min(from+compress.Block, len(x))]
					}
					require.LessOrEqual(rt, math.Abs(float64(x[i])-float64(y[i])), tt.bound(x[i], block), "element %d: %g became %g", i, x[i], y[i])
				}
			})
		})
	}
}

func restOf(t require.TestingT, w compress.Wire, x compress.Flat) compress.Flat {
	var b bytes.Buffer
	require.NoError(t, w.WriteRest(&b, x))
	rest := make(compress.Flat, len(x))
	require.NoError(t, binary.Read(&b, binary.LittleEndian, rest))
	require.Zero(t, b.Len())
	return rest
}

// Top-k sends just the k largest, as they are; what it leaves and what it sends
// are the update, with nothing lost and nothing twice.
func TestTopKSendsTheLargest(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		inputs := rapid.IntRange(1, 400).Draw(rt, "inputs")
		share := rapid.IntRange(1, 10_000).Draw(rt, "share")
		x := values(rt, 2*inputs+2, 100)
		w := wire(rt, round.CodecTopK, share, inputs)
		k, n := w.Sent()
		require.Equal(rt, (n*share+9999)/10_000, k)
		y := decode(rt, w, encode(rt, w, x), false)
		rest := restOf(rt, w, x)
		var sent, kept []float64
		for i := range x {
			if y[i] != 0 {
				require.Equal(rt, x[i], y[i])
				require.Zero(rt, rest[i])
				sent = append(sent, math.Abs(float64(x[i])))
				continue
			}
			require.Equal(rt, x[i], rest[i]+y[i])
			kept = append(kept, math.Abs(float64(rest[i])))
		}
		require.LessOrEqual(rt, len(sent), k)
		if len(sent) > 0 && len(kept) > 0 {
			require.GreaterOrEqual(rt, slices.Min(sent), slices.Max(kept))
		}
		sorted := slices.Clone(x)
		slices.SortFunc(sorted, func(a, b float32) int { return -int(math.Copysign(1, math.Abs(float64(a))-math.Abs(float64(b)))) })
		nonzero := 0
		for _, v := range x {
			if v != 0 {
				nonzero++
			}
		}
		require.Equal(rt, min(k, nonzero), len(sent))
	})
}

// What top-k leaves comes with a later update: over rounds of one and the same
// update the mean of what was sent comes to it, at the speed of 1/rounds.
func TestErrorFeedbackLosesNothing(t *testing.T) {
	w := wire(t, round.CodecTopK, 1000, 49) // 10 of 100
	x := make(compress.Flat, 100)
	for i := range x {
		x[i] = float32(i%13+1) / 16
	}
	rest, sum := make(compress.Flat, 100), make([]float64, 100)
	const rounds = 200
	for range rounds {
		for i := range rest {
			rest[i] += x[i]
		}
		for i, y := range decode(t, w, encode(t, w, rest), false) {
			sum[i] += float64(y)
		}
		rest = restOf(t, w, rest)
	}
	for i := range x {
		require.InDelta(t, float64(x[i])*rounds, sum[i]+float64(rest[i]), 1e-3, "sent and kept are all there was")
		require.InDelta(t, x[i], sum[i]/rounds, 0.1)
	}
}

// Drawn coordinates are the same for equal seeds, others in another round, and
// their mean over rounds is the update.
func TestRandKIsUnbiased(t *testing.T) {
	x := make(compress.Flat, 42)
	norm := 0.0
	for i := range x {
		x[i] = float32(i-20) / 8
		norm += float64(x[i]) * float64(x[i])
	}
	p, err := round.Params{
		Model: round.ModelSpec{Inputs: 20}, Features: []string{"f"}, Secure: round.Secure{Mode: round.SecureOff},
		Compression: round.Compression{Codec: round.CodecRandK, ShareBP: 2500},
	}.Validate()
	require.NoError(t, err)
	mean, squares := make([]float64, 42), 0.0
	const rounds = 20_000
	for n := range rounds {
		w, _ := compress.Of(round.Manifest{Kind: round.Train, Number: n, Params: p})
		y := decode(t, w, encode(t, w, x), false)
		zeros := 0
		for i := range y {
			mean[i] += float64(y[i]) / rounds
			squares += math.Pow(float64(x[i])-float64(y[i]), 2) / rounds
			if y[i] == 0 {
				zeros++
			} else {
				require.InEpsilon(t, x[i]*42/11, y[i], 1e-6) // 11 = ⌈42/4⌉
			}
		}
		require.GreaterOrEqual(t, zeros, 31)
	}
	for i := range x {
		stddev := math.Abs(float64(x[i])) * math.Sqrt(42./11-1)
		require.InDelta(t, x[i], mean[i], 5*stddev/math.Sqrt(rounds)+1e-9, "coordinate %d", i)
	}
	require.InEpsilon(t, (42./11-1)*norm, squares, 0.02, "E‖x-y‖² = (n/k-1)‖x‖²")
}

// Sizes are what the documentation says: of 20,002 elements.
func TestSizes(t *testing.T) {
	const n = 20_002
	x := make(compress.Flat, n)
	for i := range x {
		x[i] = float32(i)
	}
	blocks := 1 + (n-2+255)/256
	header := 8 + len(`{"linear.bias":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"linear.weight":{"dtype":"F16","shape":[10000,2],"data_offsets":[4,40004]}}`)
	header += (8 - header%8) % 8
	require.Len(t, encode(t, wire(t, round.CodecF16, 0, 10_000), x), header+2*n)
	require.Len(t, encode(t, wire(t, round.CodecInt8, 0, 10_000), x), 16+n+4*blocks)
	require.Len(t, encode(t, wire(t, round.CodecTopK, 100, 10_000), x), 16+4+6*201)
	require.Len(t, encode(t, wire(t, round.CodecRandK, 100, 10_000), x), 16+4*201)
}

// Updates of several chunks and stretches, whatever the reader's steps.
func TestLongUpdates(t *testing.T) {
	const inputs = 80_000
	x := make(compress.Flat, 2*inputs+2)
	for i := range x {
		x[i] = float32(i%251-125) / 64
	}
	for _, codec := range codecs {
		w := wire(t, codec, 0, inputs)
		y := decode(t, w, encode(t, w, x), false)
		far := 0.0
		for i := range x {
			if y[i] != 0 || codec == round.CodecF16 || codec == round.CodecBF16 || codec == round.CodecInt8 {
				want := float64(x[i])
				if codec == round.CodecRandK {
					k, n := w.Sent()
					want *= float64(n) / float64(k)
				}
				far = max(far, math.Abs(want-float64(y[i])))
			}
		}
		require.LessOrEqual(t, far, 2./254, codec)
	}
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	x := make(compress.Flat, 10)
	for _, codec := range codecs {
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(-1))} {
			x[7] = bad
			require.ErrorIs(t, wire(t, codec, 0, 4).Encode(io.Discard, x), round.ErrNotFinite, codec)
		}
		x[7] = 0
		require.ErrorIs(t, wire(t, codec, 0, 5).Encode(io.Discard, x), artifact.ErrTruncated, codec)
	}
	x[7] = 65520
	require.ErrorIs(t, wire(t, round.CodecF16, 0, 4).Encode(io.Discard, x), compress.ErrRange)
	x[7] = math.MaxFloat32
	require.ErrorIs(t, wire(t, round.CodecBF16, 0, 4).Encode(io.Discard, x), compress.ErrRange)
	for i := range x {
		x[i] = math.MaxFloat32
	}
	require.ErrorIs(t, wire(t, round.CodecRandK, 1000, 4).Encode(io.Discard, x), compress.ErrRange)
}

// Anything but the whole update of this round is an error, never values.
func TestBadContentIsRefused(t *testing.T) {
	x := make(compress.Flat, 600)
	for i := range x {
		x[i] = float32(i + 1)
	}
	read := func(codec string, content []byte) error {
		_, err := io.Copy(io.Discard, wire(t, codec, 0, 299).Reader(bytes.NewReader(content)))
		return err
	}
	for _, codec := range codecs {
		good := encode(t, wire(t, codec, 0, 299), x)
		require.NoError(t, read(codec, good))
		for _, n := range []int{0, 7, 15, 17, len(good) / 2, len(good) - 1} {
			require.Error(t, read(codec, good[:n]), "%s, %d bytes", codec, n)
		}
		require.ErrorIs(t, read(codec, append(slices.Clone(good), 0)), artifact.ErrTail, codec)
		require.Error(t, read(codec, encode(t, wire(t, codec, 0, 298), x[:598])), "%s of another model", codec)
		for _, other := range codecs {
			if other != codec {
				require.Error(t, read(other, good), "%s as %s", codec, other)
			}
		}
		broken := fmt.Errorf("the store is away")
		_, err := io.Copy(io.Discard, wire(t, codec, 0, 299).Reader(io.MultiReader(bytes.NewReader(good[:len(good)/2]), iotest.ErrReader(broken))))
		require.ErrorIs(t, err, broken, codec)
	}
	nan := math.Float32bits(float32(math.NaN()))
	spoiled := func(codec string, at int, value uint32) []byte {
		content := encode(t, wire(t, codec, 0, 299), x)
		binary.LittleEndian.PutUint32(content[at:], value)
		return content
	}
	require.ErrorIs(t, read(round.CodecInt8, spoiled(round.CodecInt8, 16, nan)), round.ErrNotFinite)
	require.ErrorIs(t, read(round.CodecInt8, spoiled(round.CodecInt8, 16, math.Float32bits(-1))), compress.ErrForm)
	require.ErrorIs(t, read(round.CodecInt8, spoiled(round.CodecInt8, 26, 0x80)), compress.ErrForm, "-128, which no encoder says")
	require.ErrorIs(t, read(round.CodecRandK, spoiled(round.CodecRandK, 16, nan)), round.ErrNotFinite)
	// 60 of 600 are sent: 16 bytes of header, their number, 120 bytes of places.
	require.ErrorIs(t, read(round.CodecTopK, spoiled(round.CodecTopK, 16, 61)), compress.ErrForm)
	require.ErrorIs(t, read(round.CodecTopK, spoiled(round.CodecTopK, 16, 1<<31)), compress.ErrForm)
	require.ErrorIs(t, read(round.CodecTopK, spoiled(round.CodecTopK, 20, 5<<16|5)), compress.ErrForm, "a place twice")
	require.ErrorIs(t, read(round.CodecTopK, spoiled(round.CodecTopK, 136, 600<<16|599)), compress.ErrForm, "a place behind the end")
	require.ErrorIs(t, read(round.CodecTopK, spoiled(round.CodecTopK, 140, nan)), round.ErrNotFinite)
	fewer := encode(t, wire(t, round.CodecTopK, 900, 299), x)
	require.ErrorIs(t, read(round.CodecTopK, fewer), compress.ErrForm, "54 entries, not 60")
	half := encode(t, wire(t, round.CodecF16, 0, 299), x)
	binary.LittleEndian.PutUint16(half[len(half)-2:], 0x7c00)
	require.ErrorIs(t, read(round.CodecF16, half), round.ErrNotFinite)
}

func TestWhereNothingIsCompressed(t *testing.T) {
	p, err := round.Params{Model: round.ModelSpec{Inputs: 2}, Features: []string{"f"}, Secure: round.Secure{Mode: round.SecureOff}, Compression: round.Compression{Codec: round.CodecF16}}.Validate()
	require.NoError(t, err)
	for _, kind := range []round.Kind{round.Statistics, round.Evaluate} {
		_, ok := compress.Of(round.Manifest{Kind: kind, Params: p})
		require.False(t, ok)
	}
	p.Compression = round.Compression{}
	_, ok := compress.Of(round.Manifest{Kind: round.Train, Params: p})
	require.False(t, ok)
}
