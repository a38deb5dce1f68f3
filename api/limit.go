package api

import (
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// maxLimited bounds how many callers are remembered: one that was forgotten
// starts with a full bucket, so forgetting never refuses anybody.
const maxLimited = 10_000

// A limiter gives each key a token bucket. Safe for concurrent use.
type limiter struct {
	perSecond rate.Limit
	burst     int
	buckets   *lru.Cache[string, *rate.Limiter]
}

func newLimiter(perSecond, burst int) (*limiter, error) {
	buckets, err := lru.New[string, *rate.Limiter](maxLimited)
	if err != nil || perSecond <= 0 || burst <= 0 {
		return nil, fmt.Errorf("a rate of %d/s with bursts of %d limits nothing usefully", perSecond, burst)
	}
	return &limiter{perSecond: rate.Limit(perSecond), burst: burst, buckets: buckets}, nil
}

// allow takes a token from the key's bucket.
func (l *limiter) allow(key string) bool {
	bucket, ok := l.buckets.Get(key)
	if !ok {
		bucket = rate.NewLimiter(l.perSecond, l.burst)
		if earlier, found, _ := l.buckets.PeekOrAdd(key, bucket); found {
			bucket = earlier
		}
	}
	return bucket.Allow()
}
