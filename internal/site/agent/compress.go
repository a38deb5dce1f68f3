package agent

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"

	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/compress"
	"github.com/atom-fabric/fabric/domain/round"
)

// packed returns an update as it travels in an open round: as it is, or by the
// run's codec. What top-k leaves out is stored before anything is sent, and
// added to the next update. Memory is for a few chunks; what a codec writes is
// in a file without a name.
func (a *Agent) packed(o order, update *content) (packed *content, err error) {
	wire, ok := compress.Of(o.Manifest)
	if !ok {
		return update, nil
	}
	own, err := coordinatesOf(update, update.SizeBytes)
	if err != nil {
		return nil, err
	}
	var values compress.Values = own
	if o.Params.Compression.Codec == round.CodecTopK {
		carry, err := a.carry(o, own, own.len)
		if err != nil {
			return nil, err
		}
		defer carry.Close()
		values = carry
		// If we crash after this line, the round is answered anew, from what was
		// left before it.
		if err := a.keepRest(o, carry, wire); err != nil {
			return nil, err
		}
	}
	file, err := os.CreateTemp(a.opts.StateDir, "packed-*")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	if err := os.Remove(file.Name()); err != nil {
		return nil, err
	}
	if err := wire.Encode(file, values); err != nil {
		return nil, err
	}
	size, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	digest, err := digestOf(file, size)
	if err != nil {
		return nil, err
	}
	d := artifact.Descriptor{Digest: digest, SizeBytes: size, MediaType: wire.MediaType()}
	return &content{Descriptor: d, ReaderAt: file, close: file.Close}, nil
}

// Ends of the names of the files with what a run's top-k has left out: which of
// the two is which, and the two.
const restFile = ".rest"

func restSlot(slot int) string { return fmt.Sprintf("%s%d", restFile, slot) }

// A rest is what this site's updates of one run have not sent, before and after
// the last round that it answered. Like a control variate it moves only with an
// answer that was taken, so that a round that is answered again sends the same.
type rest struct {
	Number  int  `json:"number"` // of that round; 0 is none
	Counted bool `json:"counted"`
	After   int  `json:"after"`  // slot of what was left after it; what was before is in the other
	Before  bool `json:"before"` // there was something before
}

// A carry is an update with what was left out of those before it. It is a
// [compress.Values].
type carry struct {
	own  compress.Values
	left *sealedFile // nil when nothing was left
	slot int         // of what will be left after it
	raw  []byte
}

// carry opens what was left before the order's round.
func (a *Agent) carry(o order, own compress.Values, n int) (*carry, error) {
	kept, err := a.rest(o)
	if err != nil {
		return nil, err
	}
	c := &carry{own: own, slot: kept.After}
	before := kept.Before
	if kept.Counted && kept.Number != o.Number {
		c.slot, before = 1-kept.After, true
	}
	if !before {
		return c, nil
	}
	if c.left, err = a.id.records.unseal(variateName(o), restSlot(1-c.slot)); err != nil {
		return nil, fmt.Errorf("what top-k has left out: %w", err)
	}
	if c.left.Size() != int64(4*n) {
		return nil, errors.Join(fmt.Errorf("what top-k has left out: %w", ErrRecord), c.Close())
	}
	return c, nil
}

// At implements [compress.Values].
func (c *carry) At(dst []float32, first int) error {
	if err := c.own.At(dst, first); err != nil || c.left == nil {
		return err
	}
	if cap(c.raw) < 4*len(dst) {
		c.raw = make([]byte, 4*len(dst))
	}
	raw := c.raw[:4*len(dst)]
	if n, err := c.left.ReadAt(raw, 4*int64(first)); n < len(raw) {
		return errors.Join(err, ErrRecord)
	}
	for i := range dst {
		dst[i] += math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return nil
}

func (c *carry) Close() error {
	if c.left == nil {
		return nil
	}
	return c.left.Close()
}

// keepRest stores what is left after an update, in the place of what no round
// needs any more, and then says so.
func (a *Agent) keepRest(o order, c *carry, wire compress.Wire) error {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(wire.WriteRest(w, c))
	}()
	err := a.id.records.seal(variateName(o), restSlot(c.slot), r)
	err = errors.Join(err, r.Close())
	<-done // nobody else reads the values any more
	if err != nil {
		return err
	}
	return a.putRest(o, rest{Number: o.Number, After: c.slot, Before: c.left != nil})
}

// restCounted says that what the site answered to this round was taken.
func (a *Agent) restCounted(o order) error {
	if o.Secured || o.Kind != round.Train || o.Params.Compression.Codec != round.CodecTopK {
		return nil
	}
	kept, err := a.rest(o)
	if err != nil || kept.Number != o.Number || kept.Counted {
		return err
	}
	kept.Counted = true
	return a.putRest(o, kept)
}

func (a *Agent) rest(o order) (rest, error) {
	var kept rest
	text, err := a.id.records.load(variateName(o), restFile)
	if errors.Is(err, fs.ErrNotExist) {
		return kept, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		return kept, fmt.Errorf("what top-k has left out: %w", err)
	}
	return kept, nil
}

func (a *Agent) putRest(o order, kept rest) error {
	text, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	return a.id.records.put(variateName(o), restFile, text)
}
