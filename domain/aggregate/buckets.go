package aggregate

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/atom-fabric/fabric/domain/round"
)

// ErrBuckets says that sites cannot be put into buckets.
var ErrBuckets = errors.New("no buckets of that size can be made")

// Buckets deals sites into ⌊n/size⌋ buckets of at least size sites each, at
// random by the seed: a robust rule over the buckets' means holds out against
// as many liars as there are bad buckets, and within a bucket secure
// aggregation hides the single update.
//
// The sites are ranked by SHA-256 of the seed and the name (the seed, a line
// feed, the name) and dealt out in that order, so anybody who has the seed can
// check the buckets. It must not be known before the sites are; a site that
// chooses its name after the seed chooses its bucket.
// Order:  buckets by the deal, the sites of each by name; the order of the
// slice does not matter.
// Errors: [ErrBuckets] for a size below [round.MinBucket], fewer sites than
// one bucket takes, or a site that is there twice.
func Buckets(sites []string, size int, seed []byte) ([][]string, error) {
	if size < round.MinBucket || len(sites) < size {
		return nil, fmt.Errorf("%w: %d sites in buckets of %d", ErrBuckets, len(sites), size)
	}
	type ranked struct {
		site string
		rank [sha256.Size]byte
	}
	all := make([]ranked, len(sites))
	for i, site := range slices.Sorted(slices.Values(sites)) {
		if i > 0 && all[i-1].site == site {
			return nil, fmt.Errorf("%w: %s is there twice", ErrBuckets, site)
		}
		all[i] = ranked{site, sha256.Sum256(fmt.Appendf(nil, "%s\n%s", seed, site))}
	}
	slices.SortStableFunc(all, func(a, b ranked) int { return bytes.Compare(a.rank[:], b.rank[:]) })
	buckets := make([][]string, len(sites)/size)
	for i, r := range all {
		buckets[i%len(buckets)] = append(buckets[i%len(buckets)], r.site)
	}
	for _, b := range buckets {
		slices.Sort(b)
	}
	return buckets, nil
}
