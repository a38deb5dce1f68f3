package web

import (
	"net/http"
	"sync"
)

// A lockedAPI is a fakeAPI that is asked from several sides.
type lockedAPI struct {
	fakeAPI
	mu sync.Mutex
}

func (l *lockedAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fakeAPI.ServeHTTP(w, r)
}

func (l *lockedAPI) put(name string, answer any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[name] = answer
}

func (l *lockedAPI) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.asked)
}
