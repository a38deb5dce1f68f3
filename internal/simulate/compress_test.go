package simulate

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/round"
)

func smallRun(t *testing.T, change func(*Settings)) Result {
	t.Helper()
	data, err := Load("tumour", 1)
	require.NoError(t, err)
	s := Settings{Data: data, Sites: 12, Params: round.Params{Rounds: 12, BatchSize: 10, LearningRate: 0.1, Seed: 1, Secure: round.Secure{Mode: round.SecureOff}}}
	s.Params.Bounds = data.Bounds()
	change(&s)
	r, err := Run(t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, "completed", r.Status, r.Cause)
	return r
}

func uploaded(r Result) (n int64) {
	for _, r := range r.Rounds {
		n += r.Uploaded
	}
	return n
}

// A codec saves the bytes that it says, and costs no more accuracy than 3
// points after 12 rounds of an easy problem.
func TestCodecsSaveBytes(t *testing.T) {
	hidden := func(s *Settings) {
		s.Data = Data{Name: s.Data.Name, Train: s.Data.Train, Test: s.Data.Test}
		s.Params.Model.Trainer, s.Params.Model.Hidden = round.TrainerMLP, 32 // enough elements to see past headers
	}
	whole := smallRun(t, hidden)
	for _, tt := range []struct {
		c    round.Compression
		most float64 // of the bytes without it
	}{
		{round.Compression{Codec: round.CodecF16}, 0.57},
		{round.Compression{Codec: round.CodecBF16}, 0.57},
		{round.Compression{Codec: round.CodecInt8}, 0.27},
		{round.Compression{Codec: round.CodecTopK, ShareBP: 1000}, 0.16},
		{round.Compression{Codec: round.CodecRandK, ShareBP: 5000}, 0.51},
	} {
		got := smallRun(t, func(s *Settings) { hidden(s); s.Params.Compression = tt.c })
		require.LessOrEqual(t, float64(uploaded(got)), tt.most*float64(uploaded(whole)), tt.c.Codec)
		require.GreaterOrEqual(t, got.Best, whole.Best-0.03, tt.c.Codec)
	}
}

// Under masks, a tenth of the coordinates in 16 bits.
func TestMaskedRunsSendLess(t *testing.T) {
	secure := func(s *Settings) {
		s.Sites, s.Params.Secure.Mode, s.Params.Rounds = 5, round.SecureOn, 2
		s.Params.Model.Trainer = round.TrainerMLP
		s.Params.Model.Hidden = 1000
	}
	whole := smallRun(t, secure)
	less := smallRun(t, func(s *Settings) {
		secure(s)
		s.Params.Compression = round.Compression{Codec: round.CodecRandK, ShareBP: 1000, Bits: 16}
	})
	// 33,002 of 132 KB a site and round are 6.6 KB then, beside the protocol's messages.
	saved := uploaded(whole) - uploaded(less)
	require.InEpsilon(t, 2*5*(4*33_002-2*3301), saved, 0.01)
}

// The norm comes from far off to where half of the updates are within it.
func TestTheNormFollows(t *testing.T) {
	got := smallRun(t, func(s *Settings) {
		s.Sites, s.Params.Secure.Mode, s.Params.Rounds = 12, round.SecureOn, 12
		s.Params.Privacy = round.Privacy{
			Mechanism: round.PrivacyDiscrete, Unit: round.UnitSite, NoiseMultiplier: 0.1, ClipNorm: 0.01,
			Adaptive: round.Adaptive{Quantile: 0.5, Rate: 1},
		}
	})
	require.Equal(t, 0.01, got.Rounds[0].Clip)
	for i := range 5 {
		require.Greater(t, got.Rounds[i+1].Clip, got.Rounds[i].Clip, "nobody is within it yet")
	}
	require.Greater(t, got.Rounds[11].Clip, 0.1)
}
