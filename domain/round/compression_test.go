package round_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
)

func TestCompressionsThatAreRefused(t *testing.T) {
	open := func(c round.Compression) round.Params {
		return round.Params{Model: round.ModelSpec{Inputs: 3}, Features: []string{"f"}, Secure: round.Secure{Mode: round.SecureOff}, Compression: c}
	}
	masked := func(c round.Compression) round.Params {
		p := open(c)
		p.Secure.Mode = ""
		return p
	}
	scaffold, median := open(round.Compression{Codec: round.CodecF16}), open(round.Compression{Codec: round.CodecTopK})
	scaffold.Strategy.Name, median.Strategy.Rule = round.Scaffold, round.RuleMedian
	private := masked(round.Compression{Codec: round.CodecInt8})
	private.Bounds = [][2]float64{{0, 1}, {0, 1}, {0, 1}}
	private.Privacy = round.Privacy{Mechanism: round.PrivacyCentral, NoiseMultiplier: 1}
	tests := []struct {
		name  string
		p     round.Params
		param string
		want  error
	}{
		{"no codec", open(round.Compression{Codec: "gzip"}), "compression.codec", round.ErrCodec},
		{"a share of everything", open(round.Compression{Codec: round.CodecF16, ShareBP: 10}), "compression.shareBP", round.ErrUncompressed},
		{"more than everything", open(round.Compression{Codec: round.CodecTopK, ShareBP: 10_001}), "compression.shareBP", round.ErrOutOfRange},
		{"less than nothing", open(round.Compression{Codec: round.CodecRandK, ShareBP: -1}), "compression.shareBP", round.ErrOutOfRange},
		{"seven bits", masked(round.Compression{Bits: 7}), "compression.bits", round.ErrBits},
		{"bits without masks", open(round.Compression{Bits: 8}), "compression.bits", round.ErrOnlyMasked},
		{"scaffold", scaffold, "compression.codec", round.ErrLossyControl},
		{"votes for zero", median, "compression.codec", round.ErrMostlyZeros},
		{"top-k behind masks", masked(round.Compression{Codec: round.CodecTopK}), "compression.codec", round.ErrNotSummable},
		{"scales behind masks", masked(round.Compression{Codec: round.CodecInt8}), "compression.codec", round.ErrNotSummable},
		{"halves behind masks", masked(round.Compression{Codec: round.CodecF16}), "compression.codec", round.ErrNotSummable},
		{"the other halves", masked(round.Compression{Codec: round.CodecBF16}), "compression.codec", round.ErrNotSummable},
		{"noise is for masked vectors", private, "compression.codec", round.ErrNotSummable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.p.Validate()
			require.ErrorIs(t, err, tt.want)
			var param *round.ParamError
			require.ErrorAs(t, err, &param)
			require.Equal(t, tt.param, param.Param)
		})
	}
	for _, p := range []round.Params{
		open(round.Compression{Codec: round.CodecTopK}), open(round.Compression{Codec: round.CodecInt8}), open(round.Compression{Codec: round.CodecRandK}),
		masked(round.Compression{Codec: round.CodecRandK, Bits: 8}), masked(round.Compression{Bits: 16}),
	} {
		got, err := p.Validate()
		require.NoError(t, err)
		require.Equal(t, p.Compression.Sparse(), got.Compression.ShareBP == 1000)
	}
}

func TestSent(t *testing.T) {
	for _, tt := range []struct{ share, dim, want int }{
		{1000, 100, 10}, {1000, 101, 11}, {1, 5, 1}, {10_000, 7, 7}, {3333, 10_000, 3333}, {1, 1 << 40, 109951163}, // 2^40/10^4 = 109951162.78
	} {
		require.Equal(t, tt.want, round.Compression{Codec: round.CodecTopK, ShareBP: tt.share}.Sent(tt.dim))
	}
	require.Equal(t, 9, round.Compression{Codec: round.CodecInt8}.Sent(9))
}

func TestAdaptiveClippingThatIsRefused(t *testing.T) {
	base := func(change func(*round.Params)) round.Params {
		p := round.Params{Model: round.ModelSpec{Inputs: 1}, Features: []string{"f"}, Bounds: [][2]float64{{0, 1}}}
		p.Privacy = round.Privacy{Mechanism: round.PrivacyDiscrete, NoiseMultiplier: 2, Adaptive: round.Adaptive{Quantile: 0.5}}
		change(&p)
		return p
	}
	tests := []struct {
		name   string
		change func(*round.Params)
		want   error
	}{
		{"of rows", func(p *round.Params) { p.Privacy.Unit = round.UnitExample }, round.ErrAdaptiveUnit},
		{"no quantile", func(p *round.Params) { p.Privacy.Adaptive = round.Adaptive{Rate: 0.1} }, round.ErrUnadapted},
		{"no noise at all", func(p *round.Params) { p.Privacy.Mechanism = "" }, round.ErrUnnoised},
		{"all of them", func(p *round.Params) { p.Privacy.Adaptive.Quantile = 1 }, round.ErrOutOfRange},
		{"backwards", func(p *round.Params) { p.Privacy.Adaptive.Rate = -1 }, round.ErrOutOfRange},
		{"a count that costs too much", func(p *round.Params) { p.Privacy.Adaptive.CountNoise = 1.1 }, round.ErrCountNoise},
		{"late updates", func(p *round.Params) { p.Strategy.Name = round.FedBuff }, round.ErrBufferedClip},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := base(tt.change).Validate()
			require.ErrorIs(t, err, tt.want)
		})
	}
	got, err := base(func(*round.Params) {}).Validate()
	require.NoError(t, err)
	require.Equal(t, round.UnitSite, got.Privacy.Unit)
	require.Equal(t, 0.1, got.Privacy.ClipNorm, "as published")
	require.Equal(t, 0.2, got.Privacy.Adaptive.Rate)
	require.Equal(t, 2.0, got.Privacy.CountStddev(10), "the noise multiplier: a twentieth of ten sites would cost all there is")
	require.Equal(t, 5.0, got.Privacy.CountStddev(100))
	m := round.Manifest{Params: got}
	require.Equal(t, 0.1, m.ClipNorm())
	m.Clip = 0.3
	require.Equal(t, 0.3, m.ClipNorm())
}
