package router

import "sync"

// mostKept is the largest working memory that is kept for the next request.
const mostKept = 256 << 10

// memory is working memory for texts that live as long as one request.
type memory struct{ pool sync.Pool }

// A page is a text that grows. A nil page may be put back.
type page struct{ b []byte }

func (m *memory) get() *page {
	if p, ok := m.pool.Get().(*page); ok {
		p.b = p.b[:0]
		return p
	}
	return &page{b: make([]byte, 0, 4<<10)}
}

func (m *memory) put(p *page) {
	if p != nil && cap(p.b) <= mostKept {
		m.pool.Put(p)
	}
}
