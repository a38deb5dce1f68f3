package compress

import (
	"github.com/atom-fabric/fabric/domain/artifact"
	"github.com/atom-fabric/fabric/domain/round"
)

// Media types of updates that are no safetensors.
const (
	MediaTypeInt8  = "application/vnd.fabric.update.int8.v1"
	MediaTypeTopK  = "application/vnd.fabric.update.topk.v1"
	MediaTypeRandK = "application/vnd.fabric.update.randk.v1"
)

// MediaType returns the media type of the updates in a round of the manifest.
// Halves are safetensors, as whole updates are.
func MediaType(m round.Manifest) string {
	if w, ok := Of(m); ok {
		return w.MediaType()
	}
	return artifact.MediaTypeWeights
}

// MediaType returns the media type of what [Wire.Encode] writes.
func (w Wire) MediaType() string {
	switch w.params.Compression.Codec {
	case round.CodecInt8:
		return MediaTypeInt8
	case round.CodecTopK:
		return MediaTypeTopK
	case round.CodecRandK:
		return MediaTypeRandK
	}
	return artifact.MediaTypeWeights
}
