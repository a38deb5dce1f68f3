package round

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/atom-fabric/fabric/domain/site"
)

// SampleSeed is what a round's draws are made with: of the sites that it asks,
// and of the buckets that they are summed in. It follows from the run's seed
// and the round's number, and the manifest records it, so that anybody who
// knows who was enrolled can check who was asked.
func SampleSeed(runSeed uint64, number int) uint64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "fabric/sample\n%d\n%d", runSeed, number))
	return binary.BigEndian.Uint64(sum[:8])
}

// Sampled says whether a round of that kind asks only some of the sites. The
// statistics of a run and its last evaluation are of all of them.
func (p Params) Sampled(kind Kind) bool {
	return kind == Train && p.SampleBP > 0 && p.SampleBP < 10_000
}

// Sample returns the sites that a train round asks: SampleBP of those that are
// there, rounded up, and OverBP of that number on top, rounded up too. Never
// fewer than the quorum asks for, nor, unless secure aggregation is off, than
// [MinBucket]: a small draw must not end the hiding.
//
// The sites are ranked by SHA-256 of the seed and the name (the seed, a line
// feed, "tenant/site"), and the first are taken; the first of a region go
// before the others until the quorum of regions is there.
// Order: the sites come back as they were given, and their order does not
// change who is drawn.
func Sample(sites []site.Site, p Params, seed uint64) []site.Site {
	n := p.answers(len(sites))
	n += part(n, p.OverBP)
	if n >= len(sites) {
		return slices.Clone(sites)
	}
	type ranked struct {
		at   int
		rank [sha256.Size]byte
	}
	draw := make([]ranked, len(sites))
	for i, s := range sites {
		draw[i] = ranked{i, sha256.Sum256(fmt.Appendf(nil, "%d\n%s/%s", seed, s.Tenant, s.ID))}
	}
	slices.SortFunc(draw, func(a, b ranked) int { return bytes.Compare(a.rank[:], b.rank[:]) })

	regions, asked := map[string]bool{}, map[int]bool{}
	for _, d := range draw {
		if region := sites[d.at].Region; len(regions) < p.QuorumRegions && !regions[region] {
			regions[region], asked[d.at] = true, true
		}
	}
	for _, d := range draw {
		if len(asked) >= n {
			break
		}
		asked[d.at] = true
	}
	var out []site.Site
	for i, s := range sites {
		if asked[i] {
			out = append(out, s)
		}
	}
	return out
}

// answers is how many answers a sampled round over so many sites wants.
func (p Params) answers(sites int) int {
	n := max(part(sites, p.SampleBP), p.Quorum, 1)
	if p.Secure.Mode != SecureOff {
		n = max(n, MinBucket)
	}
	return min(n, sites)
}

// Enough returns how many answers of a group's asked sites end the wait for
// the others, and 0 when all are waited for: a round that asks more than it
// needs takes the first that answer. Over the groups these are at least the
// share that was asked for.
func (p Params) Enough(kind Kind, asked int) int {
	if !p.Sampled(kind) || p.OverBP == 0 {
		return 0
	}
	n := (asked*10_000 + 9_999 + p.OverBP) / (10_000 + p.OverBP) // rounded up
	if p.Secure.Mode != SecureOff {
		n = max(n, MinBucket)
	}
	if n >= asked {
		return 0
	}
	return n
}

// part returns so many basis points of n, rounded up.
func part(n, bp int) int { return (n*bp + 9_999) / 10_000 }
