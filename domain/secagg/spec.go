// Package secagg adds the vectors of many sites so that nobody, the
// coordinator included, sees less than the sum of a whole group. It is the
// protocol of Bonawitz et al. (CCS 2017, malicious variant) on the sparse graph
// of Bell et al. (CCS 2020) for large groups, in five stages: advertise, share,
// mask, check, unmask. Everything here is a function of its arguments; storing,
// sending and waiting are done elsewhere. docs/protocol/secagg.md is the
// specification.
//
// Invariant: a site gives shares of a peer's self-mask or of its mask key,
// never of both, and only for the one set of survivors that a quorum has
// signed. Whatever a site sends is a function of one round secret and of the
// messages that its [State] names, so that a restart repeats and never varies.
package secagg

import (
	"fmt"
	"math/bits"

	"github.com/atom-fabric/fabric/domain/artifact"
)

// Protocol is the name and version that every message carries and every key is
// derived under.
const Protocol = "fabric-secagg/1"

// A Stage is one exchange: the coordinator's message opens it, the sites'
// messages fill it.
type Stage string

// The stages in their order.
const (
	StageAdvertise Stage = "advertise" // a site's public keys
	StageShare     Stage = "share"     // roster -> encrypted shares
	StageMask      Stage = "mask"      // shares of the others -> masked vector
	StageCheck     Stage = "check"     // survivors -> signature over them
	StageUnmask    Stage = "unmask"    // signatures of a quorum -> shares in the clear
)

// A Ring is the number of bits of an element: sums are taken modulo 2^Ring.
type Ring int

// The rings.
const (
	Z32 Ring = 32
	Z64 Ring = 64
)

// Bytes returns the size of an element on the wire.
func (r Ring) Bytes() int { return int(r) / 8 }

// Bounds of a group. A complete graph is used up to CompleteSites.
const (
	MinSites      = 3
	CompleteSites = 100
	MaxSites      = 10_000
	MaxLength     = 1<<31 - 1 // elements of a vector
	maxName       = 256       // bytes of run, group, tenant and site
)

// A Spec is what all parties of one aggregation agree on before it starts. A
// site takes it from the signed plan, never from the coordinator's messages.
type Spec struct {
	Run       string          `json:"run"`
	Round     int             `json:"round"`
	Plan      artifact.Digest `json:"plan"`  // of the signed manifest
	Group     string          `json:"group"` // region, or bucket of one
	Ring      Ring            `json:"ring"`
	Length    int             `json:"length"`    // elements of the vector
	CorruptBP int             `json:"corruptBp"` // sites that may conspire with the coordinator, in 1/10000; above CompleteSites only
	DroppedBP int             `json:"droppedBp"` // sites that may drop out, in 1/10000; above CompleteSites only

	// graph replaces the formula in tests and benchmarks of this package.
	graph *Graph
}

// Validate returns [ErrSpec] unless the spec is possible.
func (s Spec) Validate() error {
	switch {
	case s.Run == "" || len(s.Run) > maxName || s.Group == "" || len(s.Group) > maxName:
		return fmt.Errorf("%w: run and group have 1 to %d bytes", ErrSpec, maxName)
	case s.Round < 0:
		return fmt.Errorf("%w: round %d", ErrSpec, s.Round)
	case s.Plan == "":
		return fmt.Errorf("%w: no plan", ErrSpec)
	case s.Ring != Z32 && s.Ring != Z64:
		return fmt.Errorf("%w: ring of %d bits", ErrSpec, s.Ring)
	case s.Length < 1 || s.Length > MaxLength:
		return fmt.Errorf("%w: vector of %d elements", ErrSpec, s.Length)
	case s.CorruptBP < 0 || s.CorruptBP >= 10_000 || s.DroppedBP < 0 || s.DroppedBP >= 10_000:
		return fmt.Errorf("%w: rates are 0..9999", ErrSpec)
	}
	if _, err := artifact.ParseDigest(string(s.Plan)); err != nil {
		return fmt.Errorf("%w: plan: %w", ErrSpec, err)
	}
	return nil
}

// digest binds everything of the spec; all keys and signatures start from it.
func (s Spec) digest() sum {
	h := newHash("spec")
	h.text(s.Run)
	h.number(s.Round)
	h.text(string(s.Plan))
	h.text(s.Group)
	h.number(int(s.Ring))
	h.number(s.Length)
	h.number(s.CorruptBP)
	h.number(s.DroppedBP)
	return h.sum()
}

// SizeBytes returns the size of a masked vector.
func (s Spec) SizeBytes() int64 { return int64(s.Length) * int64(s.Ring.Bytes()) }

// CheckRange returns [ErrRange] unless the sum of as many elements as there are
// sites, each of 0..levels-1, fits the ring: sites x levels may be 2^Ring at most.
func CheckRange(sites int, levels uint64, ring Ring) error {
	if sites < 1 || levels < 1 || (ring != Z32 && ring != Z64) {
		return fmt.Errorf("%w: %d sites, %d levels, %d bits", ErrRange, sites, levels, ring)
	}
	hi, lo := bits.Mul64(uint64(sites), levels)
	if ring == Z32 {
		hi, lo = hi<<32|lo>>32, lo<<32
	}
	if hi > 1 || (hi == 1 && lo > 0) {
		return fmt.Errorf("%w: %d sites x %d levels, %d bits", ErrRange, sites, levels, ring)
	}
	return nil
}
