package agent

import (
	"bytes"
	"cmp"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/compress"
	"github.com/atom-fabric/fabric/domain/round"
)

// What top-k leaves out of an update that was counted is in the next one, and
// of one that was not it is not; an answer that is repeated is the same.
func TestWhatTopKLeavesOutComesLater(t *testing.T) {
	order := func(number int, codec string) func(*round.Manifest) {
		return func(m *round.Manifest) {
			m.Number, m.Params.Compression = number, round.Compression{Codec: codec}
			m.Secured, m.Params.Secure.Mode = false, round.SecureOff
			if codec == round.CodecTopK {
				m.Params.Compression.ShareBP = 2000
			}
		}
	}
	g := newGroup(t, 3, round.Train, order(1, ""))
	last := func() []byte {
		list := g.sent["update "+g.sites[0].Site]
		return g.blobs[artifact.Digest(list[len(list)-1].Update.Digest)]
	}
	plain := map[int]compress.Flat{} // what the site learns in rounds 1 to 4
	for n := range 4 {
		g.order(round.Train, order(n+1, ""))
		require.NoError(t, g.ask(0, g.item(round.StageUpdate, nil)))
		tensors, err := artifact.ParseTensors(last())
		require.NoError(t, err)
		plain[n+1] = compress.FlatOf(tensors)
	}
	read := func() compress.Flat {
		wire, ok := compress.Of(g.manifest)
		require.True(t, ok)
		content, err := io.ReadAll(wire.Reader(bytes.NewReader(last())))
		require.NoError(t, err)
		tensors, err := artifact.ParseTensors(content)
		require.NoError(t, err)
		return compress.FlatOf(tensors)
	}
	// expect checks what was sent in a round against what was learnt and what was
	// left before, and returns what is left now.
	expect := func(n int, before compress.Flat) compress.Flat {
		got, left, sent := read(), make(compress.Flat, len(plain[n])), 0
		for i, x := range plain[n] {
			if left[i] = x; before != nil {
				left[i] += before[i]
			}
			if got[i] != 0 {
				require.Equal(t, left[i], got[i], "round %d, element %d", n, i)
				left[i], sent = 0, sent+1
			}
		}
		require.Equal(t, (len(got)+4)/5, sent)
		for i, x := range left {
			for j, y := range got {
				if y != 0 {
					require.LessOrEqual(t, max(x, -x), max(y, -y), "round %d: %d is larger than %d", n, i, j)
				}
			}
		}
		return left
	}
	refuse := func(call string) {
		g.fail = func(_ round.Stage, c string) (error, error) {
			if c == call {
				return nil, problem(409, "stage_closed")
			}
			return nil, nil
		}
	}

	g.order(round.Train, order(1, round.CodecTopK))
	refuse("submit")
	require.Error(t, g.ask(0, g.item(round.StageUpdate, nil)))
	first := last()
	refuse("")
	require.NoError(t, g.ask(0, g.item(round.StageUpdate, nil)))
	require.Equal(t, first, last(), "the same again")
	left := expect(1, nil)
	require.NoError(t, g.ask(0, g.item(round.StageUpdate, nil)))
	require.Equal(t, first, last(), "and after it was counted")

	g.order(round.Train, order(2, round.CodecTopK))
	refuse("submit")
	require.Error(t, g.ask(0, g.item(round.StageUpdate, nil)))
	expect(2, left)
	refuse("")
	g.order(round.Train, order(3, round.CodecTopK))
	require.NoError(t, g.ask(0, g.item(round.StageUpdate, nil)))
	left = expect(3, left) // of round 2, which did not count, nothing is left
	g.order(round.Train, order(4, round.CodecTopK))
	require.NoError(t, g.ask(0, g.item(round.StageUpdate, nil)))
	expect(4, left)
}

// Every codec sends what the site has learnt, as the fabric will read it.
func TestASiteSendsByTheRunsCodec(t *testing.T) {
	g := newGroup(t, 3, round.Train, func(m *round.Manifest) { m.Secured, m.Params.Secure.Mode = false, round.SecureOff })
	whole := int64(0)
	for _, codec := range []string{"", round.CodecF16, round.CodecBF16, round.CodecInt8, round.CodecRandK} {
		g.order(round.Train, func(m *round.Manifest) {
			m.Secured, m.Params.Secure.Mode, m.Params.Compression = false, round.SecureOff, round.Compression{Codec: codec}
			if codec == round.CodecRandK {
				m.Params.Compression.ShareBP = 1000
			}
		})
		require.NoError(t, g.ask(0, g.item(round.StageUpdate, nil)))
		list := g.sent["update "+g.sites[0].Site]
		update := list[len(list)-1].Update
		if codec == "" {
			whole = update.SizeBytes
			continue
		}
		require.Less(t, update.SizeBytes, whole)
		want := map[string]string{round.CodecInt8: "application/vnd.fabric.update.int8.v1", round.CodecRandK: "application/vnd.fabric.update.randk.v1"}[codec]
		require.Equal(t, cmp.Or(want, artifact.MediaTypeWeights), update.MediaType, codec)
		wire, _ := compress.Of(g.manifest)
		require.NoError(t, g.manifest.Params.Strategy.CheckUpdate(g.manifest.Params.Model, round.Train, wire.Reader(bytes.NewReader(g.blobs[artifact.Digest(update.Digest)]))), codec)
	}
}
