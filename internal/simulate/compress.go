package simulate

import (
	"bytes"
	"io"

	"github.com/atom-fabric/fabric/domain/aggregate"
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/compress"
	"github.com/atom-fabric/fabric/domain/payload"
	"github.com/atom-fabric/fabric/domain/round"
)

// sent makes of open updates what arrives of them, and counts their bytes.
func (s *simulation) sent(o order, updates []aggregate.Update) (bytes int64, err error) {
	wire, packed := compress.Of(o.Manifest)
	for i, u := range updates {
		if !packed {
			content, err := u.Tensors.Encode()
			return int64(len(content) * len(updates)), err // all are of one size
		}
		tensors, n, err := s.sites[s.known[u.Tenant+"/"+u.Site]].pack(wire, o.Params.Compression, u.Tensors)
		if err != nil {
			return 0, err
		}
		updates[i].Tensors, bytes = tensors, bytes+n
	}
	return bytes, nil
}

// pack sends an update by the run's codec, with what was left out before.
func (v *virtual) pack(wire compress.Wire, c round.Compression, update artifact.Tensors) (artifact.Tensors, int64, error) {
	values := compress.FlatOf(update)
	for i, left := range v.rest {
		values[i] += left
	}
	var content, rest bytes.Buffer
	if err := wire.Encode(&content, values); err != nil {
		return nil, 0, err
	}
	n := int64(content.Len())
	if c.Codec == round.CodecTopK {
		if err := wire.WriteRest(&rest, values); err != nil {
			return nil, 0, err
		}
		if _, err := compress.ReadFlat(&rest, values); err != nil {
			return nil, 0, err
		}
		v.rest = values
	}
	plain, err := io.ReadAll(wire.Reader(&content))
	if err != nil {
		return nil, 0, err
	}
	tensors, err := artifact.ParseTensors(plain)
	return tensors, n, err
}

// adapt moves the clipping norm to what the groups have counted.
func (s *simulation) adapt(o outcome) (err error) {
	if s.set.Params.Privacy.Adaptive.On() {
		s.clip, err = payload.NextClip(s.set.Params.Privacy, s.clip, o.counts)
	}
	return err
}
