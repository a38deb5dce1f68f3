package upstream

import "sync"

// Sizes of the buffers that are kept for the next request. Larger ones are left
// to the garbage collector, so that one large answer does not stay in memory.
const (
	smallSize = 8 << 10
	largeSize = 72 << 10
	hugeSize  = 320 << 10
)

// A buffer is working memory of one exchange. A nil one may be freed.
type buffer struct {
	b    []byte
	pool *sync.Pool
}

func (b *buffer) free() {
	if b != nil && b.pool != nil {
		b.pool.Put(b)
	}
}

// pools are the buffers of a client that nobody uses.
type pools struct{ small, large, huge sync.Pool }

// get returns a buffer of at least size bytes.
func (p *pools) get(size int) *buffer {
	pool, class := &p.small, smallSize
	switch {
	case size > hugeSize:
		return &buffer{b: make([]byte, size)}
	case size > largeSize:
		pool, class = &p.huge, hugeSize
	case size > smallSize:
		pool, class = &p.large, largeSize
	}
	if b, ok := pool.Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, class), pool: pool}
}
