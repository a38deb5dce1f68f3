package agent

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/round"
	"github.com/atom-fabric/fabric/domain/secagg"
)

var errCut = errors.New("the disk ended")

// A cut reader ends in the midst of what is asked, as a disk does that fails.
type cut struct {
	io.ReaderAt
	at int64
}

func (c cut) ReadAt(p []byte, off int64) (int, error) {
	if left := max(c.at-off, 0); int64(len(p)) > left {
		n, _ := c.ReaderAt.ReadAt(p[:left], off)
		return n, errCut
	}
	return c.ReaderAt.ReadAt(p, off)
}

// What a coordinates has read of an update is not masked. Nothing of it stays,
// wherever the reading ends.
func TestCoordinatesForgetWhatTheyRead(t *testing.T) {
	const size = copied/4 + 3 // more than is read at once
	values := make([]float32, size)
	for i := range values {
		values[i] = float32(i%97) + 1 // none is 0
	}
	text, err := artifact.Tensors{{Name: "w", DType: artifact.F32, Shape: []int{size}, F32: values}}.Encode()
	require.NoError(t, err)
	begin := int64(len(text) - 4*size)
	for _, at := range []int64{begin, begin + 3, begin + 4, begin + 402, begin + copied, begin + copied + 5, int64(len(text))} {
		for _, step := range []struct {
			name string
			do   func(c *coordinates) error
		}{
			{"read", func(c *coordinates) error { return c.At(make([]float32, size), 0) }},
			{"clipped", func(c *coordinates) error { _, err := c.clip(1); return err }},
			{"read after it was clipped", func(c *coordinates) error {
				if _, err := c.clip(1); err != nil {
					return err
				}
				return c.At(make([]float32, 5), 7)
			}},
		} {
			c, err := coordinatesOf(bytes.NewReader(text), int64(len(text)))
			require.NoError(t, err)
			c.src = cut{bytes.NewReader(text), at}
			if err = step.do(c); at < int64(len(text)) {
				require.ErrorIs(t, err, errCut, step.name)
				require.ErrorIs(t, err, artifact.ErrTruncated, step.name)
			} else {
				require.NoError(t, err, step.name)
			}
			if at > begin {
				require.NotEqual(t, make([]byte, len(c.raw)), c.raw, "%s to %d: the test looks where values were", step.name, at-begin)
			}
			raw := c.raw[:cap(c.raw)]
			c.erase()
			require.Equal(t, make([]byte, len(raw)), raw, "%s to %d", step.name, at-begin)
			c.erase() // again is nothing
		}
	}
	(&coordinates{}).erase() // of nothing that was read
}

// An update that cannot be clipped is forgotten before the error is told.
func TestACoordinatesThatCannotBeClippedIsForgotten(t *testing.T) {
	text, err := artifact.Tensors{{Name: "w", DType: artifact.F32, Shape: []int{8}, F32: []float32{1, 2, 3, 4, 5, 6, 7, 8}}}.Encode()
	require.NoError(t, err)
	o := order{Manifest: round.Manifest{Kind: round.Train, Params: round.Params{Privacy: round.Privacy{Mechanism: round.PrivacyCentral, Unit: round.UnitSite, ClipNorm: 1}}}}
	require.True(t, o.clips())
	var in payload.Input
	require.ErrorIs(t, o.coordinates(&in, cut{bytes.NewReader(text), int64(len(text)) - 4}, int64(len(text))), errCut)
	c := in.Values.(*coordinates)
	require.NotEmpty(t, c.raw)
	require.Equal(t, make([]byte, len(c.raw)), c.raw)
}

// A site that cannot encode what it has to say refuses the stage, and keeps
// neither the values nor the masks; it is asked again, and says the same.
func TestAVectorThatCannotBeEncodedIsForgotten(t *testing.T) {
	g := newGroup(t, 3, round.Train, nil)
	g.until(round.StageMask, 0, 1, 2)
	id, err := openIdentity(g.sites[0])
	require.NoError(t, err)
	slot := roundOf{Tenant: g.manifest.Tenant, Run: g.manifest.Run, Number: 1, Manifest: artifact.DigestOf([]byte(g.text)), Group: "eu"}
	rec, err := id.records.open(slot, time.Now().Add(time.Hour))
	require.NoError(t, err)
	counts := rec.Counts
	rec.Counts.Examples = -1
	require.NoError(t, id.records.save(rec))
	id.close()
	item := g.item(round.StageMask, g.routing.Inbox(g.index(0)))
	require.ErrorIs(t, g.ask(0, item), payload.ErrWeight)

	id, err = openIdentity(g.sites[0])
	require.NoError(t, err)
	rec, err = id.records.open(slot, time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Empty(t, rec.State.Vector)
	rec.Counts = counts
	require.NoError(t, id.records.save(rec))
	id.close()
	answers[secagg.Masked](g, round.StageMask, func(i int) any { return g.routing.Inbox(g.index(i)) }, 0)
}
