package simulate

import (
	"math"
	"math/rand/v2"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Attacks: what a liar sends in the place of its update d.
const (
	SignFlip = "sign-flip" // -s·d, against where the others go
	Scale    = "scale"     // s·d, to be the only one that counts
	Noise    = "noise"     // s·rms(d) times normal numbers
)

// strengthOf returns the strength of an attack of which nothing was said, and
// 0 for what is none.
func strengthOf(attack string) float64 {
	switch attack {
	case SignFlip:
		return 1
	case Scale, Noise:
		return 10
	}
	return 0
}

// lie changes an update in place.
func lie(attack string, strength float64, update artifact.Tensors, random *rand.Rand) {
	rms, n := 0.0, 0
	for _, t := range update {
		for _, d := range t.F32 {
			rms += float64(d) * float64(d)
		}
		n += len(t.F32)
	}
	rms = math.Sqrt(rms / float64(max(1, n)))
	for _, t := range update {
		for i, d := range t.F32 {
			switch attack {
			case SignFlip:
				t.F32[i] = float32(-strength * float64(d))
			case Scale:
				t.F32[i] = float32(strength * float64(d))
			case Noise:
				t.F32[i] = float32(strength * rms * random.NormFloat64())
			}
		}
	}
}
