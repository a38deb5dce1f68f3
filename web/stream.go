package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/atom-fabric/fabric/api/v1"
)

// A partial makes the part of a page that changes by itself.
type partial func(v *visit) (part, error)

// A part is a template of a page and its data. Where State is another than the
// page began with, the page is told so by an event of its own: it then loads the
// buttons anew, which no part holds, since whoever fills in a form is not to be
// interrupted by every number that moves.
type part struct {
	Page, Template string
	Body           any
	State          string
}

// How live parts are kept.
const (
	lookEvery   = 400 * time.Millisecond // an event is seen within a second
	lookAtMost  = 5 * time.Second        // while the API does not answer
	beatEvery   = 15 * time.Second       // so that a proxy keeps a quiet stream
	mostStreams = 512                    // of this process
	mostPerUser = 16
	sendWithin  = 10 * time.Second
)

// A hub looks at live parts for everybody who looks at them: who may see the
// same, by tenant and roles, shares one look.
type hub struct {
	mu     sync.Mutex
	lives  map[string]*live
	total  int
	users  map[string]int
	closed bool
}

// A live is one part of one page for those of one tenant with the same roles.
type live struct {
	part    partial
	viewers map[*viewer]bool
	last    shown
	stop    context.CancelFunc
}

// A shown is a part as it was last seen.
type shown struct {
	text  []byte
	state string
}

// A viewer is one open stream.
type viewer struct {
	visit *visit
	user  string
	text  chan shown // the newest part; an older one that was not sent is dropped
	gone  chan struct{}
	once  sync.Once
}

func newHub() *hub { return &hub{lives: map[string]*live{}, users: map[string]int{}} }

func (w *viewer) leave() { w.once.Do(func() { close(w.gone) }) }

// offer puts a part where the stream takes it from.
func (w *viewer) offer(text shown) {
	select {
	case <-w.text:
	default:
	}
	select {
	case w.text <- text:
	default:
	}
}

// join opens a stream, or says why there is none.
func (h *hub) join(v *visit, part partial) (*viewer, func(), error) {
	roles := slices.Clone(v.who.Roles)
	slices.Sort(roles)
	query := v.r.URL.Query()
	query.Del("state")
	key := strings.Join(append([]string{v.r.URL.Path, query.Encode(), v.who.Tenant}, roles...), "\x00")
	w := &viewer{visit: v, user: v.who.Tenant + "\x00" + v.who.Subject, text: make(chan shown, 1), gone: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.total >= mostStreams || h.users[w.user] >= mostPerUser {
		return nil, nil, &refusal{http.StatusServiceUnavailable, "Too many pages are open", "This page does not follow changes by itself. Load it anew to see them."}
	}
	h.total++
	h.users[w.user]++
	l, ok := h.lives[key]
	if !ok {
		// It outlives the stream that it began with, and ends with the last one.
		ctx, stop := context.WithCancel(context.WithoutCancel(v.ctx()))
		l = &live{part: part, viewers: map[*viewer]bool{}, stop: stop}
		h.lives[key] = l
		go h.look(ctx, l)
	}
	l.viewers[w] = true
	if l.last.text != nil {
		w.offer(l.last)
	}
	return w, func() { h.part(key, l, w) }, nil
}

// part ends a stream.
func (h *hub) part(key string, l *live, w *viewer) {
	w.leave()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.total--
	if h.users[w.user]--; h.users[w.user] == 0 {
		delete(h.users, w.user)
	}
	delete(l.viewers, w)
	if len(l.viewers) == 0 {
		l.stop()
		if h.lives[key] == l {
			delete(h.lives, key)
		}
	}
}

// look asks for the part again and again, with the token of one of those who
// look, and tells all of them what changed.
func (h *hub) look(ctx context.Context, l *live) {
	pause := lookEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		w := h.one(l)
		if w == nil {
			continue // its last viewer is leaving
		}
		text, err := w.visit.again(ctx, l.part)
		var said *v1.ProblemError
		switch {
		case err == nil:
			pause = lookEvery
			h.tell(l, text)
		case errors.As(err, &said) && said.Status < http.StatusInternalServerError && said.Status != http.StatusTooManyRequests:
			w.leave() // this one may not look any more; the others are asked in turn
			pause = lookEvery
		default:
			pause = min(2*pause, lookAtMost)
		}
	}
}

// one is any viewer that has not left.
func (h *hub) one(l *live) *viewer {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range l.viewers {
		select {
		case <-w.gone:
		default:
			return w
		}
	}
	return nil
}

func (h *hub) tell(l *live, text shown) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if bytes.Equal(text.text, l.last.text) && text.state == l.last.state {
		return
	}
	l.last = text
	for w := range l.viewers {
		w.offer(text)
	}
}

// end closes the streams of which that holds.
func (h *hub) end(of func(session) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.lives {
		for w := range l.viewers {
			if of(w.visit.who) {
				w.leave()
			}
		}
	}
}

// Close ends every stream and opens no more: a server that stops waits for its
// requests, and a stream is one.
func (c *Console) Close() {
	c.hub.mu.Lock()
	c.hub.closed = true
	c.hub.mu.Unlock()
	c.hub.end(func(session) bool { return true })
}

// again makes the part once more.
func (v *visit) again(ctx context.Context, make partial) (shown, error) {
	ctx, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	look := *v
	look.r = v.r.WithContext(ctx)
	p, err := make(&look)
	if err != nil {
		return shown{}, err
	}
	set, ok := v.c.pages[p.Page]
	if !ok {
		return shown{}, fmt.Errorf("no page %q", p.Page)
	}
	var out bytes.Buffer
	if err := set.ExecuteTemplate(&out, p.Template, p.Body); err != nil {
		return shown{}, fmt.Errorf("page %s: %w", p.Page, err)
	}
	return shown{out.Bytes(), p.State}, nil
}

// stream serves a live part as server-sent events named "part".
func stream(make partial) func(*visit) error {
	return func(v *visit) error {
		w, leave, err := v.c.hub.join(v, make)
		if err != nil {
			return err
		}
		defer leave()
		head := v.w.Header()
		head.Set("Content-Type", "text/event-stream")
		head.Set("X-Accel-Buffering", "no")
		v.w.WriteHeader(http.StatusOK)
		to := http.NewResponseController(v.w)
		send := func(text []byte) bool {
			_ = to.SetWriteDeadline(time.Now().Add(sendWithin)) // a test's writer knows none
			_, err := v.w.Write(text)
			return err == nil && to.Flush() == nil
		}
		if !send([]byte("retry: 2000\n\n")) {
			return nil
		}
		over := time.NewTimer(v.who.Ends.Sub(v.now()))
		defer over.Stop()
		beat := time.NewTicker(beatEvery)
		defer beat.Stop()
		state := v.query("state")
		for {
			var text []byte
			select {
			case <-v.ctx().Done():
				return nil
			case <-w.gone:
				return nil
			case <-over.C:
				return nil
			case <-beat.C:
				text = []byte(": still here\n\n")
			case now := <-w.text:
				text = event("part", now.text)
				if now.state != state {
					state = now.state
					text = append(text, event("state", []byte(state))...)
				}
			}
			if !send(text) {
				return nil // the reader left
			}
		}
	}
}

// event writes a text as an event; each of its lines is one of data.
func event(name string, part []byte) []byte {
	var out bytes.Buffer
	out.WriteString("event: " + name + "\n")
	for line := range bytes.SplitSeq(bytes.ReplaceAll(part, []byte("\r"), nil), []byte("\n")) {
		out.WriteString("data: ")
		out.Write(line)
		out.WriteByte('\n')
	}
	out.WriteByte('\n')
	return out.Bytes()
}
